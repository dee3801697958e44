"""The end of the day: what is under way ends, what was not begun goes back."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred as Later

from relay.schedule.settings import ScheduleSettings
from relay.schedule.window import WindowSettings
from tests.schedule.house import BROKEN_DISK, BUSY, DELIVERED, HANG, MINUTE, UNKNOWN, House


def test_stop_waits_for_what_is_under_way_and_records_it() -> None:
    house = House(replace(ScheduleSettings(), window=WindowSettings(initial=1)))
    house.answers["example.org"] = HANG
    for number in range(3):
        house.send(f"u{number}@example.org")
    stopped = house.runner.stop(30)
    assert not stopped.called
    assert sorted(row.attempts for row in house.rows()) == [0, 0, 1]  # what was not begun is given back
    house.answer(DELIVERED)
    assert stopped.called
    assert len(house.tried) == 1
    assert len(house.rows()) == 2
    assert house.clock.getDelayedCalls() == []


def test_stop_does_not_wait_longer_than_its_bound() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    stopped = house.runner.stop(30)
    house.pass_time(29, step=1)
    assert not stopped.called
    house.pass_time(2, step=1)
    assert stopped.called
    assert house.clock.getDelayedCalls() == []
    house.answer(DELIVERED)  # it comes after all: nothing is offended


def test_stop_is_at_once_when_nothing_is_under_way() -> None:
    house = House()
    house.send("bob@example.org")
    assert house.runner.stop(30).called
    assert house.clock.getDelayedCalls() == []


def test_stop_waits_until_results_are_written() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    stopped = house.runner.stop(30)
    house.store.trouble["record"] = BROKEN_DISK
    house.answer(DELIVERED)
    assert not stopped.called
    del house.store.trouble["record"]
    house.pass_time(6, step=1)
    assert stopped.called
    assert house.store.messages == {}


def test_mail_that_comes_while_we_stop_is_queued_for_the_next_day() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    house.store.slow_commits = True
    house.send("early@example.org")
    house.runner.stop(30)
    house.send("late@example.org")
    house.store.commit_now()
    house.answer(DELIVERED)
    assert len(house.tried) == 1
    assert [(row.recipient.address.local, row.attempts) for row in house.rows()] == [("early", 0), ("late", 0)]
    house.store.slow_commits = False
    house.answers.clear()
    house.start()
    house.pass_time(1)
    assert house.store.messages == {}


def test_failures_while_we_stop_are_reported_or_stay_owing() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    stopped = house.runner.stop(30)
    house.answer(UNKNOWN)
    assert stopped.called
    assert [str(row.recipient.address) for row in house.rows()] == ["ann@client.example"]
    house.start()
    house.pass_time(1)
    assert house.store.messages == {}


def test_stop_waits_for_mail_that_is_being_leased_and_gives_it_back() -> None:
    """Else it would lie for a quarter of an hour after the restart."""
    house = House()
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")
    lease, slow = house.store.lease, Later[object]()
    house.store.lease = lambda *args: lease(*args).addCallback(lambda got: slow.addCallback(lambda _: got))
    house.pass_time(2 * MINUTE)
    stopped = house.runner.stop(30)
    assert not stopped.called
    slow.callback(None)
    assert stopped.called
    (row,) = house.rows()
    assert (row.attempts, row.due_at) == (1, house.clock.seconds())
