"""One timer for many wishes."""

from __future__ import annotations

from twisted.internet.task import Clock

from relay.schedule.alarm import Alarm


def test_it_rings_once_when_it_is_time_and_not_before() -> None:
    clock, rung = Clock(), []
    alarm = Alarm(clock, lambda: rung.append(clock.seconds()))
    alarm.at(200.0)
    for _ in range(300):
        clock.advance(1)
    assert rung == [200.0]
    assert clock.getDelayedCalls() == []


def test_the_earliest_of_several_wishes_counts() -> None:
    clock, rung = Clock(), []
    alarm = Alarm(clock, lambda: rung.append(clock.seconds()))
    for when in (50.0, 30.0, 40.0):
        alarm.at(when)
    clock.pump([1] * 100)
    assert rung == [30.0]


def test_it_sleeps_a_minute_at_most() -> None:
    """A clock that is set ahead is noticed within a minute, even where timers do not follow it."""
    clock = Clock()
    alarm = Alarm(clock, lambda: None)
    alarm.at(86400.0)
    (call,) = clock.getDelayedCalls()
    assert call.getTime() == 60.0


def test_what_is_past_rings_at_once_but_not_within_the_asking() -> None:
    clock, rung = Clock(), []
    alarm = Alarm(clock, lambda: rung.append(clock.seconds()))
    alarm.at(-5.0)
    assert rung == []
    clock.advance(0)
    assert rung == [0.0]


def test_cancelled_it_does_not_ring() -> None:
    clock, rung = Clock(), []
    alarm = Alarm(clock, lambda: rung.append(clock.seconds()))
    alarm.at(10.0)
    alarm.cancel()
    clock.advance(100)
    assert rung == []
    alarm.at(150.0)
    clock.pump([1] * 60)
    assert rung == [150.0]
