"""Several shards asked as one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from relay.operate import cli
from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.merging import status_of
from relay.operate.together import Together
from relay.queue.store import State
from relay.schedule.runner import DestinationStatus
from tests.operate.running import Running, running_relay


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[tuple[Running, Running]]:
    second = tmp_path / "shards" / "1"
    second.mkdir(parents=True)
    with ExitStack() as stack:
        yield stack.enter_context(running_relay(tmp_path)), stack.enter_context(running_relay(second))


def relay(capfd: pytest.CaptureFixture[str], spool: Path, *arguments: str) -> tuple[int, str, str]:
    capfd.readouterr()
    code = cli.exit_code([*arguments, "--spool", str(spool)])
    return code, *capfd.readouterr()


def test_the_list_has_the_rows_of_all_shards(shards: tuple[Running, Running], tmp_path: Path) -> None:
    first, second = shards
    mine = [first.put("ann@client.example", "bob@a.example"), second.put("ann@client.example", "eve@b.example")]
    with Together(tmp_path) as control:
        assert sorted(row["id"] for row in control.ask("queue.list")) == sorted(mine)


def test_the_newest_of_all_shards_come_first(
    shards: tuple[Running, Running], capfd: pytest.CaptureFixture[str]
) -> None:
    """The recipients of a message the other way round too, but never torn apart."""
    first, second = shards
    mine = []
    for number, (into, other) in enumerate(((first, second), (second, first), (second, first), (first, second))):
        mine.append(into.put("ann@client.example", f"x{number}@a.example", f"y{number}@a.example"))
        other.within(other.store.begin)  # takes an id, as no two shards have the same
    code, out, _ = relay(capfd, first.spool, "queue", "list", "--newest-first", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["id"] for row in rows] == [one for one in reversed(mine) for _ in "xy"]
    assert [row["recipient"][:2] for row in rows] == ["y3", "x3", "y2", "x2", "y1", "x1", "y0", "x0"]
    told = relay(capfd, first.spool, "queue", "list", "--newest-first")[1]
    assert [line.split("\t")[0] for line in told.splitlines()] == [row["id"] for row in rows]
    upwards = relay(capfd, first.spool, "queue", "list", "--json")[1]
    assert [json.loads(line) for line in upwards.splitlines()] == rows[::-1]


def test_numbers_are_sums(shards: tuple[Running, Running], capfd: pytest.CaptureFixture[str]) -> None:
    first, second = shards
    for shard in shards:
        shard.put("ann@client.example", "bob@a.example")
        shard.runner.known = [DestinationStatus("a.example", 5, 1, 1, None, 0, "busy")]
    second.put("ann@client.example", "bob@b.example")
    with Together(first.spool) as control:
        found = control.ask_one("status")
    assert found["queue"]["messages"] == 3
    assert found["queue"]["recipients"]["waiting"] == 3
    assert found["steps"]["accepted"] == 6
    a, b = found["destinations"]
    assert (a["destination"], a["waiting"], a["in_flight"], a["window"], a["error"]) == ("a.example", 2, 2, 10, "busy")
    assert (b["destination"], b["waiting"]) == ("b.example", 1)
    assert [worker["messages"] for worker in found["workers"]] == [1, 2]
    code, out, _ = relay(capfd, first.spool, "status")
    assert code == 0
    assert "queue: 3 messages" in out


def test_a_change_is_made_in_all_shards(shards: tuple[Running, Running], capfd: pytest.CaptureFixture[str]) -> None:
    for shard in shards:
        shard.put("ann@client.example", "bob@a.example")
    code, out, _ = relay(capfd, shards[0].spool, "queue", "hold", "--sender", "ann@client.example")
    assert (code, out) == (0, "2 recipients held\n")
    assert shards[0].states() == shards[1].states() == ["held"]


PLAIN, VERIFIED = "smtp:mail.a.example:25", "smtp:mail.a.example:25;tls=verify"


@pytest.fixture
def two_ways(shards: tuple[Running, Running]) -> tuple[Running, Running]:
    """Two ways to one host, each known to one shard alone, one of them only by what is held; and a third to another."""
    first, second = shards
    first.put("ann@client.example", "bob@a.example", lane=PLAIN)
    second.put("ann@client.example", "eve@a.example", lane=VERIFIED, state=State.HELD)
    second.put("ann@client.example", "dan@a.example", lane="a.example", state=State.HELD)
    return first, second


@pytest.mark.parametrize(
    ("name", "found", "meant"),
    [
        ("mail.a.example", ["bob@a.example", "eve@a.example"], [PLAIN, VERIFIED]),
        ("MAIL.A.example:25", ["bob@a.example", "eve@a.example"], [PLAIN, VERIFIED]),
        (PLAIN, ["bob@a.example"], []),
        (VERIFIED, ["eve@a.example"], []),
        ("a.example", ["dan@a.example"], []),
    ],
)
def test_a_destination_is_named_by_its_name_or_its_host(
    two_ways: tuple[Running, Running],
    capfd: pytest.CaptureFixture[str],
    name: str,
    found: list[str],
    meant: list[str],
) -> None:
    """Its exact name means it alone, though a host of that name has others too."""
    code, out, err = relay(capfd, two_ways[0].spool, "queue", "list", "--destination", name, "--json")
    assert (code, sorted(json.loads(line)["recipient"] for line in out.splitlines())) == (0, found)
    assert err.splitlines() == [f"relay: {name} means {lane}" for lane in meant]


@pytest.mark.parametrize(
    ("do", "changed", "states"),
    [
        ("hold", 1, {"eve@a.example": "held", "dan@a.example": "held", "bob@a.example": "held"}),
        ("release", 1, {"eve@a.example": "waiting", "dan@a.example": "held", "bob@a.example": "waiting"}),
        ("retry", 1, {"eve@a.example": "held", "dan@a.example": "held", "bob@a.example": "waiting"}),
        ("flush", 1, {"eve@a.example": "held", "dan@a.example": "held", "bob@a.example": "waiting"}),
        ("remove", 2, {"dan@a.example": "held"}),
    ],
)
def test_a_change_is_made_at_all_destinations_that_are_meant(
    two_ways: tuple[Running, Running],
    capfd: pytest.CaptureFixture[str],
    do: str,
    changed: int,
    states: dict[str, str],
) -> None:
    spool = two_ways[0].spool
    code, out, _ = relay(capfd, spool, "queue", do, "--destination", "mail.a.example", "--json")
    assert (code, json.loads(out)["changed"], json.loads(out)["destinations"]) == (0, changed, [PLAIN, VERIFIED])
    with Together(spool) as control:
        assert {row["recipient"]: row["state"] for row in control.ask("queue.list")} == states
    flushed = [PLAIN, VERIFIED] if do == "flush" else []
    assert [shard.runner.flushed for shard in two_ways] == [flushed, flushed]


def test_a_person_is_told_which_destinations_were_meant(
    two_ways: tuple[Running, Running], capfd: pytest.CaptureFixture[str]
) -> None:
    told = relay(capfd, two_ways[0].spool, "queue", "hold", "--destination", "mail.a.example")
    meant = f"relay: mail.a.example means {PLAIN}\nrelay: mail.a.example means {VERIFIED}\n"
    assert told == (0, "1 recipient held\n", meant)
    assert relay(capfd, two_ways[0].spool, "queue", "release", "--destination", PLAIN) == (
        0,
        "1 recipient released\n",
        "",
    )


def test_a_destination_at_work_is_known_when_nothing_is_in_the_queue_for_it(
    shards: tuple[Running, Running], capfd: pytest.CaptureFixture[str]
) -> None:
    shards[1].runner.known = [DestinationStatus(PLAIN, 0, 0, 5, time.time() + 60, 3, "busy")]
    assert relay(capfd, shards[0].spool, "queue", "list", "--destination", "mail.a.example")[:2] == (0, "")
    told = relay(capfd, shards[0].spool, "destination", "wake", "mail.a.example", "--json")
    assert (told[0], json.loads(told[1])["destinations"]) == (0, [PLAIN])


@pytest.mark.parametrize(
    "command",
    [
        *(("queue", do, "--destination") for do in ("list", "flush", "hold", "release", "retry", "remove", "export")),
        ("destination", "wake"),
    ],
)
def test_a_destination_that_nobody_knows_is_a_mistake(
    two_ways: tuple[Running, Running], capfd: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """A slip of the pen must not look as if there was nothing to do."""
    spool = two_ways[0].spool
    code, out, err = relay(capfd, spool, *command, "b.example", *(("--to", str(spool / "x")) * ("export" in command)))
    assert (code, out) == (65, "")
    assert "no mail is for a destination b.example" in err
    assert "relay status" in err
    assert [shard.runner.flushed for shard in two_ways] == [[], []]


def test_who_is_silent_may_know_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is changed then, and the name is not called unknown."""
    (tmp_path / "shards" / "1").mkdir(parents=True)
    with running_relay(tmp_path) as first:
        first.put("ann@client.example", "bob@a.example", lane=PLAIN)
        for name in (PLAIN, "b.example"):
            code, out, err = relay(capfd, tmp_path, "queue", "hold", "--destination", name)
            assert (code, out) == (69, "")
            assert "worker 1 does not answer just now; nothing was changed" in err
        assert first.states() == ["waiting"]


def test_a_message_is_found_in_whatever_shard_it_is(
    shards: tuple[Running, Running], capfd: pytest.CaptureFixture[str]
) -> None:
    message = shards[1].put("ann@client.example", "bob@a.example")
    code, out, _ = relay(capfd, shards[0].spool, "queue", "show", message, "--json")
    assert (code, json.loads(out)["id"]) == (0, message)
    code, out, _ = relay(capfd, shards[0].spool, "queue", "export", message)
    assert (code, "It works." in out) == (0, True)
    with Together(shards[0].spool) as control, pytest.raises(Refusal, match="there is no message"):
        control.ask_one("queue.show", id="0000000000zz")


def test_an_answer_that_was_not_read_to_its_end_is_not_taken_for_the_next_one(shards: tuple[Running, Running]) -> None:
    message = shards[1].put("ann@client.example", "bob@a.example", "eve@a.example")
    with Together(shards[0].spool) as control:
        assert next(iter(control.ask("queue.list")))["id"] == message
        assert next(iter(control.ask("queue.content", id=message)))["id"] == message
        assert control.ask_one("status")["queue"]["messages"] == 1


def test_nothing_is_changed_while_a_part_cannot_be_reached(tmp_path: Path) -> None:
    """A queue that is held by halves would surprise an operator."""
    (tmp_path / "shards" / "1").mkdir(parents=True)
    with running_relay(tmp_path) as first:
        first.put("ann@client.example", "bob@a.example")
        with Together(tmp_path) as control:
            assert [row["recipient"] for row in control.ask("queue.list")] == ["bob@a.example"]
            assert control.silent == [tmp_path / "shards" / "1"]
            with pytest.raises(CannotAsk, match="worker 1 does not answer"):
                control.ask_one("queue.hold", all=True)
        assert first.states() == ["waiting"]


def test_no_relay_is_none(tmp_path: Path) -> None:
    (tmp_path / "shards" / "1").mkdir(parents=True)
    with pytest.raises(NotRunning):
        Together(tmp_path)


def test_one_shard_answers_for_itself() -> None:
    row = {"pid": 7, "uptime_s": 1.0, "queue": {"messages": 3}, "destinations": []}
    worker = {"shard": 0, "pid": 7, "uptime_s": 1.0, "messages": 3}
    assert status_of([(0, row)]) == {**row, "workers": [worker]}


def test_a_forecast_is_that_of_all_shards(shards: tuple[Running, Running]) -> None:
    first, second = shards
    for shard in shards:
        shard.put("ann@client.example", "bob@a.example")
    second.put("ann@client.example", "bob@b.example")
    with Together(first.spool) as control:
        found = control.ask_one("forecast", now=time.time(), for_s=86400, down=["a.example"])
    assert sum(found["events"]["delivered"]) == 1
    assert (found["messages"][0], found["messages"][-1]) == (2, 2)
    a, b = found["destinations"]
    assert (a["destination"], a["stands"], a["recipients"]) == ("a.example", "down", 2)
    assert (b["destination"], b["stands"], b["recipients"], b["delivered"]) == ("b.example", "well", 1, 1)
