"""Words, charts, concerns, journeys: what is made of numbers and rows before a template sees them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.operate.web import words
from relay.operate.web.charts import HEIGHT, LEAST_HEIGHT, WIDTH, columns_of, lines_of, nice_top, shares_of
from relay.operate.web.concerns import concerns_of
from relay.operate.web.journey import journey_of
from relay.operate.web.pages.configuration import lines_of as configuration_lines
from tests.operate.web.scene import CONFIG, Row, Scene

NOW = 1_795_691_112.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (172_799, "47 h"), (172_800, "2 d")],
)
def test_ages(seconds: float, text: str) -> None:
    assert words.age(seconds) == text


def test_moments() -> None:
    assert words.away(NOW + 120, NOW) == "in 2 min" and words.away(NOW - 7200, NOW) == "2 h ago"
    assert words.away(NOW + 0.5, NOW) == "now" and words.away(None, NOW) == "–"
    assert words.moment(NOW) == "2026-11-26 11:05:12 UTC" and words.day(NOW) == "26 Nov 11:05"
    for broken in (-1e30, 1e30, float("inf")):
        assert words.iso(broken) and words.moment(broken)


def test_sizes_and_numbers() -> None:
    assert [words.size(n) for n in (0, 999, 1024, 5222, 48 << 20, 3 << 40)] == [
        "0 B",
        "999 B",
        "1.0 KiB",
        "5.1 KiB",
        "48 MiB",
        "3.0 TiB",
    ]
    assert words.number(1234567) == "1\u202f234\u202f567"
    assert words.count(1, "message") == "1 message" and words.count(2, "is", "are") == "2 are"


@given(st.text())
def test_what_a_peer_said_can_turn_and_hide_nothing(text: str) -> None:
    shown = words.printable(text)
    assert all(c.isprintable() or c == words.NARROW for c in shown)
    if text.isprintable():
        assert shown == text


def test_what_does_not_print_is_spelt_out() -> None:
    assert words.printable("a\x00b\x1b[31m\u202egnp.exe\u2066") == "a\\x00b\\x1b[31m\\u202egnp.exe\\u2066"
    assert words.lines("A: 1\r\n\tb\rC\n\x07") == "A: 1\n    b\nC\n\\x07"


# -- charts --------------------------------------------------------------------------------------


@given(st.integers(0, 10**9))
def test_a_scale_holds_what_it_is_for_and_can_be_halved(most: int) -> None:
    top = nice_top(most)
    assert most <= top and top % 2 == 0 and (most < 4 or top < 1.7 * most + 2)


@given(st.lists(st.lists(st.integers(0, 10**7), min_size=1, max_size=60), min_size=1, max_size=4))
def test_a_line_stays_within_its_box(rows: list[list[int]]) -> None:
    for line in lines_of([(str(n), row) for n, row in enumerate(rows)]).lines:
        numbers = [float(one.split(",")[1]) for one in line.path[1:].split("L")]
        assert all(0 <= y <= HEIGHT for y in numbers)
        assert set(line.area) <= set("MLZ.,0123456789")


@given(st.lists(st.tuples(*[st.integers(0, 10**6)] * 3), min_size=1, max_size=60))
def test_columns_stay_within_their_box_and_what_is_there_is_seen(rows: list[tuple[int, int, int]]) -> None:
    line, *parts = zip(*rows, strict=True)
    drawn = columns_of(("line", line), [(str(n), part) for n, part in enumerate(parts)])
    for part, numbers in zip(drawn.parts, parts, strict=True):
        pieces = re.findall(r"M([\d.]+),([\d.]+)V([-\d.]+)h([\d.]+)V([\d.]+)Z", part.path)
        assert len(pieces) == sum(map(bool, numbers)) and part.total == sum(numbers)
        for left, foot, head, wide, back in pieces:
            assert foot == back and float(foot) - float(head) >= LEAST_HEIGHT - 0.11
            assert float(head) >= -LEAST_HEIGHT and float(foot) <= HEIGHT and float(left) + float(wide) <= WIDTH + 0.2
    assert drawn.line.path.count("M") == sum(map(bool, line))
    assert max(map(sum, zip(*parts, strict=True))) <= drawn.top >= max(line)


@given(st.lists(st.integers(0, 10**9), max_size=6))
def test_shares_fill_the_bar_and_what_is_there_is_seen(numbers: list[int]) -> None:
    shares = shares_of(numbers, least=0.5)
    if any(numbers):
        assert sum(width for _, width in shares) == pytest.approx(100, abs=0.1)
    for number, (begins, width) in zip(numbers, shares, strict=True):
        assert (width > 0.4) is (number > 0) and begins + width <= 100.1


# -- concerns ------------------------------------------------------------------------------------


def test_one_destination_that_rests_is_named_with_its_reason() -> None:
    scene = Scene(NOW)
    status, health = next(iter(scene.status())), next(iter(scene.health()))
    del status["destinations"][3]
    (first, *_) = concerns_of(status, health, NOW)
    assert first.what == (
        "mx:shop.example rests: no connection to mx1.shop.example [203.0.113.25]: connection timed out. "
        "1\u202f480 recipients wait for it; it is tried again in 13 min."
    )
    assert first.where == "/destinations#d-mx%3Ashop.example"


def test_what_is_as_it_should_be_is_no_concern() -> None:
    scene = Scene(NOW)
    scene.rows.clear()
    assert concerns_of(next(iter(scene.status())), next(iter(scene.health())), NOW) == []


# -- journeys ------------------------------------------------------------------------------------


def entry(step: str, **fields: object) -> Row:
    return {"at": NOW, "step": step, **fields}


def test_attempts_are_numbered_and_named_by_what_became_of_them() -> None:
    made = [
        entry("attempted", began_at=NOW - 2, recipients=[{"recipient": "a@b", "step": step} for step in steps])
        for steps in (["deferred"], ["delivered", "failed"], ["failed"], [], ["discarded"])
    ]
    titles = [stop.title for stop in journey_of(made)]
    assert titles == [
        "Attempt 1: put off",
        "Attempt 2: not the same for all",
        "Attempt 3: failed",
        "Attempt 4: not the same for all",
        "Attempt 5: thrown away",
    ]


def test_a_dialogue_tells_who_said_what() -> None:
    (stop,) = journey_of(
        [
            entry(
                "attempted",
                recipients=[],
                dialogue=[{"hop": "mx [1]", "lines": [[0.0, "* connected"], [0.1, "< 220 hi"], [0.2, "> EHLO me"]]}],
            )
        ]
    )
    ((hop, lines),) = stop.talks
    assert hop == "mx [1]"
    assert [(line.by, line.text) for line in lines] == [("remark", "connected"), ("them", "220 hi"), ("us", "EHLO me")]


def test_a_recipient_is_shown_with_what_was_said_where_that_was_not_the_usual() -> None:
    client = {"rule": "accept.networks: 10.0.0.0/8", "place": "relay.yaml:22"}
    usual = {"named": "a@b", "reply": "250 2.1.5 OK", **client, "to": ["a@b"]}
    gone = {"named": "c@d", "reply": "550 5.1.1 No", "rule": "accept.recipients", "place": "list:1", "to": ["e@f"]}
    (stop,) = journey_of([entry("accepted", checks=[{"what": "client", **client}], recipients=[usual, gone])])
    assert stop.checks == ({"what": "The client may send here", "rule": "accept.networks: 10.0.0.0/8 (relay.yaml:22)"},)
    assert stop.recipients == (
        {"recipient": "a@b", "reply": "", "rule": "", "to": []},
        {"recipient": "c@d", "reply": "550 5.1.1 No", "rule": "accept.recipients (list:1)", "to": ["e@f"]},
    )


def test_the_kinds_of_entries_that_say_something_of_their_own() -> None:
    entries = [
        entry("refused", count=12, since=NOW - 60),
        entry("accepted", report_of="cr8zj93hxf00", recipients=[]),
        entry("reported", report="cr8zj93hxf00", to=["a@b", "c@d"], numbers=[0, 1]),
        entry("held", by="control", why="held by the operator", numbers=[0, 1]),
        entry("set_aside", why="broken"),
    ]
    stops = journey_of(entries)
    assert [stop.title for stop in stops] == [
        "12 more were refused, unnamed",
        "Written here: a report to a sender",
        "A report went to the sender",
        "Held by an operator, 2 recipients",
        "Set aside: its row was broken",
    ]
    assert stops[2].facts == (("Report", "cr8zj93hxf00"), ("To", "a@b, c@d"))


def test_what_is_not_known_yet_is_shown_with_its_fields() -> None:
    (stop,) = journey_of([entry("teleported", place="relay.yaml:3", numbers=[1])])
    assert stop.title == "Teleported" and stop.facts == (("Place", "relay.yaml:3"),)


@pytest.mark.parametrize("step", ["accepted", "refused", "attempted", "held", "released", "retried", "removed"])
def test_an_entry_with_nothing_but_its_time_is_no_fault(step: str) -> None:
    (stop,) = journey_of([entry(step)])
    assert stop.title and stop.at == NOW


# -- the configuration -----------------------------------------------------------------------------


def test_the_configuration_line_by_line() -> None:
    lines = list(configuration_lines(CONFIG["settings"], CONFIG["places"]))
    told = {(line.depth, line.key): (line.value, line.place) for line in lines}
    assert told[0, "hostname"] == ("gateway.example.org", "/etc/relay/relay.yaml:10")
    assert told[1, "– 1"] == ("", "…")  # routes: its own line is not named, one below it is
    assert told[1, "networks"][0] == "127.0.0.0/8, ::1/128, 192.168.0.0/16"
    assert told[0, "retry"] == ("", "") and told[1, "file"] == ("none", "")
