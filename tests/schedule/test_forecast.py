"""The forecast: what it says will happen, happens, when nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from relay.message.envelope import Notify
from relay.queue.store import QueueRow, Selection, State
from relay.schedule.forecast import BOUNCES_SHOWN, OTHERS, Down, Forecast, Forecasted, span_for
from relay.schedule.retry import RetrySettings
from relay.schedule.window import WindowSettings
from tests.schedule.house import BUSY, DAY, DEAD, HANG, HOUR, MINUTE, House

NOW = 1_700_000_000.0
RETRY = RetrySettings(spread=0.0)


def row(
    lane: str = "example.org",
    id: str = "1",
    age_s: float = 0.0,
    due_s: float = 0.0,
    attempts: int = 0,
    sender: str = "ann@client.example",
    state: State = State.WAITING,
    warned: bool = False,
    notify: Notify | None = None,
    size: int = 1000,
) -> QueueRow:
    note = "450 Busy" if attempts else ""
    return QueueRow(
        id, sender, f"bob@{lane}", state, lane, NOW - age_s, NOW + due_s, attempts, size, note, warned, notify
    )


def forecast(
    *messages: list[QueueRow], until_s: float = 6 * DAY, down: Callable[[str], Down | None] = lambda _: None
) -> Forecasted:
    made = Forecast(NOW, NOW + until_s, RETRY, WindowSettings(rest=RETRY), down)
    for rows in messages:
        made.add(rows)
    return made.sum_up()


def totals(found: Forecasted) -> dict[str, int]:
    return {event: sum(numbers) for event, numbers in found.events.items() if any(numbers)}


def rows_of(house: House) -> list[list[QueueRow]]:
    async def read() -> list[list[QueueRow]]:
        messages: dict[str, list[QueueRow]] = {}
        async for one in house.store.list(Selection()):
            messages.setdefault(one.message_id, []).append(one)
        return list(messages.values())

    return asyncio.run(read())


def forecast_of(house: House, until_s: float) -> Forecasted:
    known = {one.lane: one for one in house.runner.destinations()}
    settings = house.settings

    def down(lane: str) -> Down | None:
        one = known.get(lane)
        return Down(one.rests, one.resting_until) if one is not None and one.failures else None

    now = house.clock.seconds()
    made = Forecast(now, now + until_s, settings.retry, settings.window, down)
    for rows in rows_of(house):
        made.add(rows)
    return made.sum_up()


def test_what_it_says_is_what_the_scheduler_does() -> None:
    """The same queue: foretold, and lived through."""
    house = House()
    house.answers |= {"busy.example": BUSY, "dead.example": DEAD}
    for number in range(20):
        house.send(f"u{number}@busy.example")
        house.send(f"u{number}@dead.example")
    house.send("quiet@busy.example", notify=Notify.NEVER)
    house.send("bob@dead.example", sender=None)
    house.pass_time(20 * MINUTE)
    told = forecast_of(house, 6 * DAY)
    before, began_at = len(house.tried), house.clock.seconds()

    house.pass_time(6 * DAY)
    assert totals(told)["bounced"] == len(house.reporter.told) - 40 == 40
    assert totals(told)["warned"] == len(house.told("warned")) == 40
    assert (totals(told)["held"], totals(told)["dropped"]) == (1, 1)
    tried = len([one for one in house.tried[before:] if one.lane != "client.example"])
    assert totals(told)["tried"] == pytest.approx(tried, rel=0.15)  # each wait is up to a fifth longer or shorter
    assert told.messages[-1] == len(house.store.messages) == 1
    expired = [at for at, numbers in enumerate(told.events["bounced"]) if numbers]
    assert all(
        abs(began_at + at * told.every_s - (began_at - 20 * MINUTE + 5 * DAY)) < 2 * told.every_s for at in expired
    )


def test_what_was_not_tried_yet_is_delivered_when_it_is_due() -> None:
    found = forecast([row(due_s=HOUR)], until_s=DAY)
    assert totals(found) == {"tried": 1, "delivered": 1}
    assert (found.every_s, found.events["delivered"].index(1)) == (3600, 1)
    assert (found.messages[0], found.messages[1], found.octets[0], found.octets[-1]) == (1, 0, 1000, 0)


def test_a_destination_that_is_down_is_probed_and_its_mail_waits_behind_it() -> None:
    """100,000 messages for a dead host are not 100,000 attempts."""
    found = forecast(*[[row(id=str(n))] for n in range(500)], down=lambda _: Down(), until_s=3 * DAY)
    assert totals(found)["tried"] < 100
    assert totals(found)["warned"] == 500
    assert "bounced" not in totals(found)
    assert found.destinations["example.org"].down is not None
    assert found.messages[-1] == 500


def test_nobody_is_probed_when_nothing_is_left() -> None:
    found = forecast([row(age_s=5 * DAY - HOUR)], down=lambda _: Down(), until_s=3 * DAY)
    assert sum(found.events["tried"][:1]) == totals(found)["tried"]


def test_a_rest_that_goes_on_is_waited_for() -> None:
    found = forecast([row()], down=lambda _: Down(3, NOW + 2 * HOUR), until_s=DAY)
    assert found.destinations["example.org"].next_at == NOW + 2 * HOUR


def test_held_mail_stays_and_what_is_owing_is_told_at_once() -> None:
    found = forecast([row(state=State.HELD)], [row(id="2", state=State.OWING)], until_s=DAY)
    assert totals(found) == {"bounced": 1}
    assert found.messages == [1] * len(found.messages)


def test_a_message_is_gone_when_the_last_of_its_recipients_is() -> None:
    found = forecast([row("one.example"), row("two.example", due_s=5 * HOUR)], until_s=DAY)
    assert [found.messages[4], found.messages[5]] == [1, 0]


def test_what_was_warned_of_is_not_warned_of_again() -> None:
    assert "warned" not in totals(forecast([row(age_s=5 * HOUR, attempts=9, warned=True)], until_s=DAY))
    assert totals(forecast([row(age_s=5 * HOUR, attempts=9)], until_s=DAY))["warned"] == 1


def test_the_first_to_come_back_are_named() -> None:
    found = forecast(*[[row(id=f"{n:03}", age_s=n * MINUTE, attempts=2)] for n in range(100)])
    assert [bounce.id for bounce in found.bounces] == [f"{99 - n:03}" for n in range(BOUNCES_SHOWN)]
    first, last = found.destinations["example.org"].bounces or (0, 0)
    assert (first, last) == (NOW - 99 * MINUTE + 5 * DAY, NOW + 5 * DAY)


def test_destinations_without_number_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.schedule.forecast.DESTINATIONS_LIMIT", 3)
    found = forecast(*[[row(f"d{n}.example", id=str(n))] for n in range(10)], until_s=DAY)
    assert len(found.destinations) == 4
    assert found.destinations[OTHERS].recipients == 7


def test_spans_are_as_fine_as_they_can_be_shown() -> None:
    assert [span_for(HOUR), span_for(DAY), span_for(3 * DAY), span_for(14 * DAY)] == [60, 3600, 3600, 86400]


def test_what_hangs_is_in_hand_and_foretold_when_its_lease_ends() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    assert totals(forecast_of(house, HOUR)) == {"tried": 1, "delivered": 1}
