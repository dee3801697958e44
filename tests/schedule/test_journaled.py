"""What the scheduler journals: each attempt with what became of whom, in the transaction that settles it; and what a
report carries of it."""

from __future__ import annotations

import pytest

from relay.message.account import Account, Tried
from relay.message.address import parse_mailbox
from relay.message.envelope import Notify, Recipient
from relay.message.journey import Row, read
from relay.message.outcome import Deferred, Discarded, Held
from relay.message.reply import reply
from relay.queue.store import StoreUnavailable
from relay.schedule import journaled
from tests.schedule.house import BUSY, DAY, DEAD, DELIVERED, HANG, HOP, HOUR, MINUTE, START, UNKNOWN, House, lane_of


def journal(house: House, message_id: str = "") -> list[Row]:
    """The entries of a message, the first by default."""
    return [read(entry) for entry in house.store.journal[message_id or next(iter(house.store.journal))]]


def became(row: Row) -> list[tuple[int, str, str]]:
    return [(one["number"], one["recipient"], one["step"]) for one in row["recipients"]]


def test_an_attempt_is_journaled_with_its_outcome() -> None:
    house = House()
    house.send("bob@example.org")
    (row,) = journal(house)
    assert (row["step"], row["at"], row["destination"], row["rule"]) == ("attempted", START, "example.org", "the rule")
    assert became(row) == [(0, "bob@example.org", "delivered")]
    assert row["recipients"][0]["reply"] == "250 2.0.0 OK"
    assert row["recipients"][0]["hop"] == HOP
    assert [line for _, line in row["dialogue"][0]["lines"]] == ["> RCPT TO:<bob@example.org>", "< 250 2.0.0 OK"]


def test_each_of_many_attempts_tells_when_the_next_one_is() -> None:
    house = House()
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")
    house.pass_time(HOUR, step=1)
    rows = journal(house)
    assert len(rows) == len(house.tried) > 5
    for row, tried in zip(rows, house.tried[1:], strict=False):
        assert 0 <= tried.at - row["recipients"][0]["next_at"] <= 1


def test_recipients_that_are_tried_together_are_told_of_together() -> None:
    house = House()
    house.answers.update({"eve@example.org": BUSY, "far@else.example": UNKNOWN, "mal@example.org": UNKNOWN})
    house.send("bob@example.org", "eve@example.org", "far@else.example", "mal@example.org")
    attempted = [row for row in journal(house) if row["step"] == "attempted"]
    assert [became(row) for row in attempted] == [
        [(0, "bob@example.org", "delivered"), (1, "eve@example.org", "deferred"), (3, "mal@example.org", "failed")],
        [(2, "far@else.example", "failed")],
    ]


@pytest.mark.parametrize(
    ("outcome", "step", "words"),
    [
        (Held("a rule says so"), "held", "a rule says so"),
        (Discarded("routes[3]"), "discarded", "discarded by routes[3]"),
        (Deferred(reply(451, "4.4.2", "cut off"), HOP, in_doubt=True), "deferred", "451 4.4.2 cut off"),
    ],
)
def test_whatever_becomes_of_it(outcome: object, step: str, words: str) -> None:
    house = House()
    house.answers["example.org"] = outcome  # type: ignore[assignment]
    house.send("bob@example.org")
    (one,) = journal(house)[0]["recipients"]
    assert (one["step"], one["reply"]) == (step, words)
    assert one.get("in_doubt", False) is getattr(outcome, "in_doubt", False)


def test_ways_that_part_have_an_entry_each() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send(*(f"r{number}@example.org" for number in range(4)))
    one, other = Account(START, "one way"), Account(START, "another")
    tried = Tried([DELIVERED, BUSY, DELIVERED, BUSY], [(one, [0, 3]), (other, [2])])
    house.deliverer.hanging.pop().ending.callback(tried)
    rows = journal(house)
    assert [row["rule"] for row in rows] == ["one way", "another", ""]
    assert [[number for number, _, _ in became(row)] for row in rows] == [[0, 3], [2], [1]]


def test_a_defect_of_the_deliverer_is_told_of_too() -> None:
    house = House()
    house.answers["example.org"] = RuntimeError("a defect")
    house.send("bob@example.org")
    (row,) = journal(house)
    assert became(row) == [(0, "bob@example.org", "deferred")]
    assert row["dialogue"] == []


def test_a_defect_of_the_journal_keeps_nothing_from_being_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be delivered again and again."""

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(journaled, "attempted", broken)
    house = House()
    house.send("bob@example.org")
    assert house.store.messages == {}
    assert [step for step, _ in house.steps] == ["delivered", "trouble"]


def test_nothing_is_made_when_nobody_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    house.store.journals = False
    monkeypatch.setattr(journaled, "attempted", lambda *_: pytest.fail("made in vain"))
    house.send("bob@example.org")
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")
    assert house.store.journal == {}


def test_results_that_could_not_be_written_are_written_with_their_entries() -> None:
    house = House()
    house.store.trouble["record"] = StoreUnavailable("a broken disk")
    house.send("bob@example.org")
    assert house.store.journal == {}
    del house.store.trouble["record"]
    house.pass_time(MINUTE)
    assert [row["step"] for row in journal(house)] == ["attempted"]


# -- reports ----------------------------------------------------------------------------------------


def test_a_failure_a_report_and_what_was_said() -> None:
    """A bounce carries the tail of the journey."""
    house = House()
    house.answers["example.org"] = UNKNOWN
    house.send("bob@example.org")
    attempted, reported = journal(house)
    assert (attempted["step"], reported["step"]) == ("attempted", "reported")
    assert reported["numbers"] == [0]
    assert reported["to"] == ["ann@client.example"]
    (came, *_) = journal(house, reported["report"])
    assert (came["step"], came["report_of"]) == ("accepted", next(iter(house.store.journal)))
    assert house.reporter.said == [["> RCPT TO:<bob@example.org>", "< 550 5.1.1 No such user"]]


def test_a_delay_is_journaled_and_its_report_carries_what_was_said() -> None:
    house = House()
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")
    house.pass_time(5 * HOUR)
    (warned,) = [row for row in journal(house) if row["step"] == "warned"]
    assert [(one["recipient"], one["reply"]) for one in warned["recipients"]] == [
        ("bob@example.org", "450 4.2.1 Mailbox busy")
    ]
    assert house.reporter.said == [["> RCPT TO:<bob@example.org>", "< 450 4.2.1 Mailbox busy"]]


def test_what_expires_untried_has_its_tail_from_the_journal() -> None:
    """Behind the rest of a destination that is down, nobody is tried when the time runs out."""
    house = House()
    house.answers["dead.example"] = DEAD
    for _ in range(3):
        house.send("bob@dead.example")
    house.pass_time(6 * DAY, step=2 * MINUTE)
    expired = [row for one in house.store.journal for row in journal(house, one) if row["step"] == "expired"]
    assert expired
    assert expired[0]["recipients"][0]["reply"] == "451 4.4.1 Connection refused"
    tried = [said for said in house.reporter.said if said]
    assert tried
    assert all("< 451 4.4.1 Connection refused" in said for said in tried)


def test_what_a_crash_left_owing_has_its_tail_from_the_journal() -> None:
    house = House()
    house.answers.update({"example.org": UNKNOWN, "else.example": HANG})
    house.send("bob@example.org", "eve@else.example")
    assert house.reporter.said == []
    house.crash()
    house.answers["else.example"] = DELIVERED
    house.start()
    house.pass_time(HOUR)
    assert house.reporter.said == [["> RCPT TO:<bob@example.org>", "< 550 5.1.1 No such user"]]


def test_a_journal_that_cannot_be_read_keeps_nobody_from_hearing() -> None:
    house = House()
    house.answers.update({"example.org": UNKNOWN, "else.example": HANG})
    house.send("bob@example.org", "eve@else.example")
    house.crash()
    house.store.trouble["journey"] = StoreUnavailable("a broken disk")
    house.answers["else.example"] = DELIVERED
    house.start()
    house.pass_time(HOUR)
    assert house.reporter.said == [[]]
    assert any("journal cannot be read" in str(fields["error"]) for fields in house.told("trouble"))


def test_without_a_journal_a_report_carries_what_is_known_at_once() -> None:
    house = House()
    house.store.journals = False
    house.answers["example.org"] = UNKNOWN
    house.send("bob@example.org")
    assert house.reporter.said == [["> RCPT TO:<bob@example.org>", "< 550 5.1.1 No such user"]]


def test_success_that_is_reported_needs_nothing_from_the_journal() -> None:
    house = House()
    house.store.trouble["journey"] = StoreUnavailable("not to be asked")
    house.send("bob@example.org", notify=Notify.SUCCESS)
    house.send("list@example.org", expanded=[Recipient(parse_mailbox("list@example.org"), Notify.SUCCESS)])
    house.pass_time(HOUR)
    assert len(house.reporter.told) == 2
    assert house.told("trouble") == []


def test_a_report_that_cannot_be_delivered_is_held_and_it_is_said_why() -> None:
    house = House()
    house.answers["example.org"] = UNKNOWN
    house.send("bob@example.org", sender=None)
    held = journal(house)[-1]
    assert (held["step"], held["numbers"]) == ("held", [0])
    assert "cannot be told" in held["why"]


# -- held from the beginning ------------------------------------------------------------------------


def test_what_a_route_holds_is_journaled_with_its_message_once_for_each_reason() -> None:
    house = House()
    why = {"bob": "one route", "dan": "one route", "eve": "another"}
    house.runner.routes_changed(lane_of, lambda _, to: why.get(to.local, ""))
    house.send("ann@example.org", "bob@example.org", "eve@else.example", "dan@else.example")
    held = [row for row in journal(house) if row["step"] == "held"]
    assert [(row["by"], row["why"], row["numbers"]) for row in held] == [
        ("", "one route", [1, 3]),
        ("", "another", [2]),
    ]
    assert journal(house)[0]["step"] == "held", "before anything is tried"


def test_usual_mail_brings_no_entry_of_being_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journaled, "held", lambda *_: pytest.fail("asked in vain"))
    house = House()
    house.runner.routes_changed(lane_of, lambda *_: "")
    house.send("bob@example.org")
    assert [row["step"] for row in journal(house)] == ["attempted"]
