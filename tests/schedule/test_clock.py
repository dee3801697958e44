"""Clocks that leap, and the peace of a queue that sleeps."""

from __future__ import annotations

from twisted.internet.defer import succeed

from relay.message.outcome import Action
from tests.schedule.house import BUSY, DAY, DEAD, HOUR, MINUTE, House


def test_a_clock_set_ahead_by_a_week_expires_nothing() -> None:
    """It was a week for the clock and a minute for the mail."""
    house = House()
    house.answers["example.org"] = BUSY
    house.answers["dead.example"] = DEAD
    for number in range(10):
        house.send(f"u{number}@example.org")
        house.send(f"u{number}@dead.example")
    tried = len(house.tried)
    house.clock.advance(7 * DAY)
    house.pass_time(10 * MINUTE)
    assert house.reporter.told == []
    assert len(house.tried) - tried < 100  # nor is anybody hammered
    assert len(house.rows()) == 20
    house.answers.clear()
    house.pass_time(3 * HOUR)
    assert house.store.messages == {}
    assert house.reporter.told == []


def test_after_a_leap_of_the_clock_mail_still_expires_in_the_end() -> None:
    house = House()
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")
    house.clock.advance(7 * DAY)
    house.pass_time(4 * HOUR)
    assert house.reporter.actions()[-1] == [("bob@example.org", Action.FAILED)]
    assert house.store.messages == {}


def test_a_clock_set_back_by_a_year_does_not_keep_mail_for_a_year() -> None:
    house = House()
    house.answers["example.org"] = BUSY
    house.answers["dead.example"] = DEAD
    house.send("bob@example.org")
    for number in range(10):
        house.send(f"u{number}@dead.example")
    # The clock alone goes back; timers go on, as they do in a reactor that counts seconds since its start.
    seconds = house.clock.seconds
    house.runner._clock.seconds = lambda: seconds() - 365 * DAY
    house.answers.clear()
    for _ in range(180):
        house.clock.rightNow += MINUTE
        due = [call for call in house.clock.calls if call.time <= house.clock.rightNow]
        for call in due:
            house.clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)
    assert house.store.messages == {}


def test_when_nothing_is_due_the_store_is_not_asked() -> None:
    """A queue that sleeps until tomorrow must not keep a laptop awake."""
    house = House()
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")
    house.pass_time(4 * HOUR)
    asked = []
    lease, next_due = house.store.lease, house.store.next_due
    house.store.lease = lambda *args: (asked.append(args), lease(*args))[1]
    house.store.next_due = lambda *args: (asked.append(args), next_due(*args))[1]
    house.pass_time(20 * MINUTE, step=1)
    assert len(asked) <= 2
    house.answers.clear()
    house.pass_time(HOUR)
    asked.clear()
    house.pass_time(DAY)
    assert asked == []


def test_a_store_that_says_due_and_gives_nothing_is_not_asked_in_a_loop() -> None:
    house = House()
    asked: list[float] = []
    lease = house.store.lease
    house.store.lease = lambda *args: (asked.append(args[0]), lease(*args))[1]
    house.store.next_due = lambda *args: succeed(0.0)
    house.runner.look()
    house.pass_time(10, step=0.01)
    assert 5 <= len(asked) <= 12
