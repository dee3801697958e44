"""Whole lives of messages: from the commit until nothing of them is left."""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.defer import Deferred as Later

from relay.message.address import parse_mailbox
from relay.message.envelope import Notify, Recipient
from relay.message.outcome import Action, Deferred, Held
from relay.message.reply import reply
from relay.queue.store import Selection, State, StoreUnavailable
from tests.schedule.house import BUSY, DAY, DEAD, DELIVERED, HANG, HOP, HOUR, MINUTE, START, UNKNOWN, House


def test_fresh_mail_goes_to_delivery_without_being_read_back() -> None:
    house = House()
    fired = house.send("bob@example.org")
    (tried,) = house.tried
    assert isinstance(fired, Later) and fired.result is tried.message
    assert house.store.messages == {}
    assert [step for step, _ in house.steps] == ["delivered"]


def test_while_it_is_tried_it_is_leased() -> None:
    """The attempt is counted and the next one lies ahead before the network is touched."""
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    (row,) = house.rows()
    assert (row.state, row.attempts, row.due_at) == (State.WAITING, 1, START + 900)


def test_mail_deferred_is_tried_with_ever_longer_waits_until_it_gets_through() -> None:
    house = House()
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")
    house.pass_time(20 * MINUTE, step=1)
    waits = [later - sooner for sooner, later in pairwise(house.tries_of("bob@example.org"))]
    for wait, expected in zip(waits, (60, 120, 240, 480), strict=False):
        assert 0.8 * expected <= wait <= 1.2 * expected + 1
    house.answers["example.org"] = DELIVERED
    house.pass_time(HOUR)
    assert house.store.messages == {}
    assert house.told("delivered")[0]["attempts"] == len(house.tried)


def test_five_days_of_a_recipient_that_is_never_there() -> None:
    """Some hundred attempts, one warning after four hours, one report after five days, and it is gone."""
    house = House()
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")
    house.pass_time(6 * DAY)
    attempts = house.tries_of("bob@example.org")
    assert 110 < len(attempts) < 170
    assert 5 * DAY <= attempts[-1] <= 5 * DAY + 2 * MINUTE
    assert house.reporter.actions() == [[("bob@example.org", Action.DELAYED)], [("bob@example.org", Action.FAILED)]]
    (warned,) = house.told("warned")
    assert warned["recipient"] == "bob@example.org"
    assert len(house.told("expired")) == 1
    assert house.store.messages == {}  # both reports were delivered to the sender
    assert sum(tried.lane == "client.example" for tried in house.tried) == 2


def test_what_failed_is_reported_in_the_transaction_that_finishes_it() -> None:
    """From the failure to the report there is no moment at which a crash would lose both."""
    house = House()
    house.answers["example.org"] = UNKNOWN
    house.answers["client.example"] = HANG
    house.send("bob@example.org")
    assert house.reporter.actions() == [[("bob@example.org", Action.FAILED)]]
    (report,) = house.rows()
    assert str(report.recipient.address) == "ann@client.example"
    assert house.tried[-1].message.envelope.reverse_path is None


def test_a_failure_that_nobody_wants_to_hear_of_just_ends() -> None:
    house = House()
    house.answers["example.org"] = UNKNOWN
    house.send("bob@example.org", notify=Notify.NEVER)
    assert house.store.messages == {}
    assert house.reporter.told == []


def test_a_report_that_fails_causes_no_report_and_is_held() -> None:
    """RFC 5321 §6.1: never a bounce of a bounce; nor is it lost."""
    house = House()
    house.answers["example.org"] = UNKNOWN
    house.answers["client.example"] = UNKNOWN
    house.send("bob@example.org")
    (held,) = house.rows()
    assert held.state is State.HELD
    assert "cannot be told" in held.note
    house.pass_time(10 * DAY, step=HOUR / 6)
    assert len(house.reporter.told) == 1
    assert house.rows() == [held]


def test_a_report_that_fails_is_discarded_where_that_is_the_setting() -> None:
    house = House()
    house.reporter.double_bounce = "discard"
    house.answers["example.org"] = UNKNOWN
    house.answers["client.example"] = UNKNOWN
    house.send("bob@example.org")
    assert house.store.messages == {}


def test_what_is_held_by_a_rule_waits_for_an_operator_for_ever() -> None:
    """Held mail does not expire until it is released."""
    house = House()
    house.answers["example.org"] = Held("a rule")
    house.send("bob@example.org")
    house.pass_time(6 * DAY, step=HOUR / 6)
    assert len(house.tried) == 1
    house.answers["example.org"] = DELIVERED
    house.store.release(Selection(), house.clock.seconds())
    house.runner.wake()
    house.pass_time(1)
    assert house.store.messages == {}


def test_doubt_is_told_and_the_message_is_tried_again() -> None:
    """RFC 1047: sent whole, no reply: twice is better than never."""
    house = House()
    house.answers["example.org"] = Deferred(reply(451, "4.4.2", "Timed out"), HOP, in_doubt=True)
    house.send("bob@example.org")
    assert house.told("deferred")[0]["in_doubt"] is True
    assert "in doubt" in house.rows()[0].note
    house.pass_time(2 * MINUTE)
    assert len(house.tried) == 2


# -- several recipients ------------------------------------------------------------------------------


def test_recipients_at_one_destination_go_in_one_transaction() -> None:
    house = House()
    house.send("a@one.example", "b@two.example", "c@one.example")
    assert [(one.lane, one.to) for one in house.tried] == [
        ("one.example", ["a@one.example", "c@one.example"]),
        ("two.example", ["b@two.example"]),
    ]


def test_more_than_a_hundred_recipients_go_in_several_transactions() -> None:
    """RFC 5321 §4.5.3.1.8: more than 100 need not be taken by every host."""
    house = House()
    house.send(*(f"u{number}@example.org" for number in range(250)))
    assert [len(one.to) for one in house.tried] == [100, 100, 50]
    assert house.store.messages == {}


def test_each_recipient_has_its_own_outcome() -> None:
    house = House()
    house.answers["b@example.org"] = BUSY
    house.answers["c@example.org"] = UNKNOWN
    house.send("a@example.org", "b@example.org", "c@example.org")
    assert [row.recipient.address.local for row in house.rows()] == ["b"]
    assert house.reporter.actions() == [[("c@example.org", Action.FAILED)]]
    house.pass_time(2 * MINUTE)
    assert house.tried[-1].to == ["b@example.org"]


def test_what_fails_while_others_are_tried_is_owing_and_told_with_them() -> None:
    """One report per message, not one per recipient, where they fail together."""
    house = House()
    for lane in ("one.example", "two.example", "three.example"):
        house.answers[lane] = HANG
    house.send("a@one.example", "b@two.example", "c@three.example")
    house.answer(UNKNOWN, lane="one.example")
    assert [row.state for row in house.rows()] == [State.OWING, State.WAITING, State.WAITING]
    house.answer(DELIVERED, lane="two.example")
    assert house.reporter.told == []
    house.answer(UNKNOWN, lane="three.example")
    assert house.reporter.actions() == [[("a@one.example", Action.FAILED), ("c@three.example", Action.FAILED)]]
    assert house.store.messages == {}


def test_a_failure_does_not_wait_longer_than_the_gathering_for_a_slow_host() -> None:
    house = House()
    house.answers["slow.example"] = HANG
    house.answers["one.example"] = UNKNOWN
    house.send("a@one.example", "b@slow.example")
    assert house.reporter.told == []
    house.pass_time(61, step=1)
    assert house.reporter.actions() == [[("a@one.example", Action.FAILED)]]
    house.answer(UNKNOWN)
    assert house.reporter.actions()[1:] == [[("b@slow.example", Action.FAILED)]]


def test_recipients_that_wait_for_another_day_hold_no_report_up() -> None:
    house = House()
    house.answers["busy.example"] = BUSY
    house.answers["one.example"] = UNKNOWN
    house.send("a@one.example", "b@busy.example")
    assert house.reporter.actions() == [[("a@one.example", Action.FAILED)]]


def test_recipients_that_time_out_everywhere_are_given_up_in_one_report() -> None:
    """However far jitter drives them apart, they meet at the hour of the warning and of giving up."""
    house = House()
    lanes = [f"dead{number}.example" for number in range(10)]
    house.answers.update(dict.fromkeys(lanes, BUSY))
    house.send(*(f"bob@{lane}" for lane in lanes))
    house.pass_time(6 * DAY)
    assert [(len(told), {action for _, action in told}) for told in house.reporter.actions()] == [
        (10, {Action.DELAYED}),
        (10, {Action.FAILED}),
    ]
    assert house.store.messages == {}


def test_success_is_reported_as_relayed_when_asked_for() -> None:
    house = House()
    house.send("bob@example.org", notify=Notify.SUCCESS)
    assert house.reporter.actions() == [[("bob@example.org", Action.RELAYED)]]
    assert house.store.messages == {}


def test_expansion_is_reported_once_and_without_an_attempt() -> None:
    """RFC 3461 §5.2.7.3 c."""
    house = House()
    asked = Recipient(parse_mailbox("list@client.example"), Notify.SUCCESS)
    house.send("a@one.example", "b@two.example", expanded=[asked])
    assert house.reporter.actions() == [[("list@client.example", Action.EXPANDED)]]
    assert "list@client.example" not in [address for one in house.tried for address in one.to]
    assert house.store.messages == {}


# -- reports need the content ------------------------------------------------------------------------


def test_a_large_message_is_read_for_its_report_up_to_what_the_report_can_use() -> None:
    house = House()
    house.answers["example.org"] = UNKNOWN
    house.send("bob@example.org", content=b"Subject: big\r\n\r\n" + b"x" * 300_000)
    ((_, _, content),) = house.reporter.told
    assert content is not None
    assert len(content) == 100_000
    assert content.startswith(b"Subject: big\r\n")
    assert house.store.messages == {}


def test_a_body_that_cannot_be_read_keeps_nobody_from_hearing() -> None:
    house = House()
    house.answers["example.org"] = UNKNOWN
    house.store.trouble["open"] = StoreUnavailable("the file is gone")
    house.send("bob@example.org", content=b"x" * 300_000)
    ((_, _, content),) = house.reporter.told
    assert content is None
    assert house.store.messages == {}
    assert len(house.told("trouble")) == 1


def test_a_reporter_with_a_defect_leaves_it_owing_and_is_asked_again() -> None:
    house = House()
    house.answers["example.org"] = UNKNOWN
    house.reporter.broken = True
    house.send("bob@example.org")
    assert [row.state for row in house.rows()] == [State.OWING]
    assert house.told("trouble")
    house.reporter.broken = False
    house.pass_time(HOUR)
    assert house.reporter.actions() == [[("bob@example.org", Action.FAILED)]]
    assert len(house.tries_of("bob@example.org")) == 1
    assert house.store.messages == {}


def test_a_dead_destination_does_not_keep_mail_from_expiring() -> None:
    """Most of it is never tried, as the destination rests; warnings and expiry come on time all the same."""
    house = House()
    house.answers["dead.example"] = DEAD
    for number in range(50):
        house.send(f"u{number}@dead.example")
    house.pass_time(5 * DAY + 10 * MINUTE, step=5 * MINUTE)
    actions = [action for told in house.reporter.actions() for _, action in told]
    assert actions.count(Action.DELAYED) == 50
    assert actions.count(Action.FAILED) == 50
    assert house.store.messages == {}
    assert len([one for one in house.tried if one.lane == "dead.example"]) < 400
