"""What waits its turn in memory is not forgotten there."""

from __future__ import annotations

from relay.message.outcome import Action
from relay.schedule.retry import RetrySettings
from relay.schedule.settings import ScheduleSettings
from relay.schedule.window import WindowSettings
from tests.schedule.house import BUSY, DELIVERED, HANG, HOUR, MINUTE, House, times_tried

NARROW = ScheduleSettings(
    retry=RetrySettings(warn_after_s=HOUR, give_up_after_s=6 * HOUR), window=WindowSettings(initial=1, maximum=1)
)


def slow_house() -> House:
    """One attempt is under way for ever, and ten messages wait behind it."""
    house = House(NARROW)
    house.answers["slow.example"] = HANG
    for number in range(11):
        house.send(f"bob{number}@slow.example")
    return house


def test_it_is_warned_of_and_expires_on_time() -> None:
    """Scar: behind a destination that took minutes for each message, nobody was warned and nothing expired for as
    long as it waited in memory (simulation, seed 3177)."""
    house = slow_house()
    house.pass_time(HOUR + 20 * MINUTE)
    assert [action for [(_, action)] in house.reporter.actions()] == [Action.DELAYED] * 10
    house.pass_time(5 * HOUR)
    assert [action for [(_, action)] in house.reporter.actions()][10:] == [Action.FAILED] * 10
    assert len(house.store.messages) == 1


def test_it_is_tried_when_its_turn_comes_and_the_wait_counts_as_no_attempt() -> None:
    house = slow_house()
    house.pass_time(40 * MINUTE)
    house.answers["slow.example"] = BUSY
    house.answer(BUSY)
    house.clock.advance(1)
    assert set(times_tried(house).values()) == {1}
    assert all(one.attempts == 1 for stored in house.store.messages.values() for one in stored.recipients.values())
    house.answers["slow.example"] = DELIVERED
    house.pass_time(HOUR)
    assert not house.store.messages
    assert set(times_tried(house).values()) == {2}
