"""The room in memory: bounded, shared, and given out in portions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from relay.queue.store import StoreUnavailable
from relay.schedule.settings import ScheduleSettings
from tests.schedule.house import DEAD, DELIVERED, HANG, HOUR, MINUTE, SMALL, House, settings


def test_ten_thousand_messages_to_a_dead_destination_hinder_nobody() -> None:
    house = House()
    house.answers["dead.example"] = DEAD
    for number in range(10_000):
        house.send(f"u{number}@dead.example")
        if number % 100 == 0:
            house.send(f"v{number}@alive.example")
    alive = [one for one in house.tried if one.lane == "alive.example"]
    assert len(alive) == 100
    assert len(house.tried) - len(alive) == 4
    (status,) = [one for one in house.runner.destinations() if one.lane == "dead.example"]
    assert status.waiting == 0


def test_a_slow_destination_may_not_use_up_the_memory() -> None:
    house = House(settings(active=40))
    house.answers["slow.example"] = HANG
    for number in range(100):
        house.send(f"u{number}@slow.example")
    (slow,) = house.runner.destinations()
    assert slow.waiting + slow.in_flight == 20
    house.answers["slower.example"] = HANG
    for number in range(100):
        house.send(f"u{number}@slower.example")
    for number in range(5):
        house.send(f"u{number}@alive.example")
    assert sum(one.lane == "alive.example" for one in house.tried) == 5


def test_what_found_no_room_comes_when_there_is() -> None:
    house = House(SMALL)
    house.answers["slow.example"] = HANG
    for number in range(100):
        house.send(f"u{number}@slow.example")
    rounds = 0
    while house.deliverer.hanging:
        house.answer(DELIVERED)
        house.pass_time(1, step=1)
        rounds += 1
    assert house.store.messages == {}
    assert sorted(Counter(address for one in house.tried for address in one.to).values())[-1] == 1


def test_mail_in_the_store_is_not_starved_by_fresh_mail() -> None:
    """While due mail waits for room, fresh mail leaves it some."""
    house = House(SMALL)
    house.answers["slow.example"] = HANG
    for number in range(60):
        house.send(f"old{number}@slow.example")
    for number in range(300):
        house.send(f"new{number}@slow.example")
        house.answer(DELIVERED, how_many=1)
        house.pass_time(1, step=1)
    tried = {address for one in house.tried for address in one.to}
    assert all(f"old{number}@slow.example" in tried for number in range(60))


def test_large_contents_count_by_their_octets() -> None:
    house = House(replace(ScheduleSettings(), active_octets=1_000_000))
    house.answers["slow.example"] = HANG
    for number in range(50):
        house.send(f"u{number}@slow.example", content=b"x" * 60_000)
    in_hand = [row for row in house.rows() if row.attempts]
    assert 10 <= len(in_hand) <= 17
    while house.deliverer.hanging:
        house.answer(DELIVERED)
        house.pass_time(1, step=1)
    assert house.store.messages == {}


def test_a_million_names_are_not_remembered() -> None:
    house = House(replace(ScheduleSettings(), destinations=100))
    for number in range(1000):
        house.send(f"bob@d{number}.example")
    assert len(house.runner.destinations()) <= 100
    house.pass_time(HOUR)
    assert house.runner.destinations() == []


def test_messages_with_many_recipients_are_taken_in_smaller_numbers() -> None:
    """The room is counted in recipients: a thousand messages of a thousand must not come at once."""
    house = House(replace(settings(), active_recipients=400))
    house.runner.rest("example.org", HOUR)
    for number in range(40):
        house.send(*(f"u{number}.{one}@example.org" for one in range(50)))
    house.answers["example.org"] = HANG
    house.pass_time(HOUR + MINUTE)
    most = 0
    while house.deliverer.hanging:
        house.answer(DELIVERED)
        house.pass_time(1)
        most = max(most, sum(row.attempts for row in house.rows()))
    assert most <= 800
    assert house.store.messages == {}


def test_a_share_that_was_only_reserved_leaves_nobody_behind() -> None:
    """Commits that fail give the room back without an attempt to mark it."""
    house = House(replace(settings(), active_recipients=10, per_lease=2))
    house.store.slow_commits = True
    for number in range(10):
        house.send(f"u{number}@example.org")
    house.store.trouble["commit"] = StoreUnavailable("Input/output error")
    house.store.commit_now(5)
    del house.store.trouble["commit"]
    house.store.commit_now()
    house.pass_time(2 * MINUTE)
    assert house.store.messages == {}


def test_no_more_is_in_hand_than_the_bound_whatever_comes() -> None:
    house = House(SMALL)
    for number in range(200):
        house.answers[f"d{number}.example"] = HANG
        house.send(f"bob@d{number}.example")
        house.pass_time(1)
        assert sum(row.attempts for row in house.rows()) <= 40


def test_mail_in_the_store_is_not_starved_by_fresh_mail_for_many_places() -> None:
    house = House(SMALL)
    house.answers.update({f"d{number}.example": HANG for number in range(500)})
    for number in range(60):
        house.send(f"old@d{number}.example")
    for number in range(60, 460):
        house.send(f"new@d{number}.example")
        house.answer(DELIVERED, how_many=1)
        house.pass_time(1)
    tried = {address for one in house.tried for address in one.to}
    assert all(f"old@d{number}.example" in tried for number in range(60))


def test_mail_comes_from_the_store_in_portions() -> None:
    """Not for each recipient that goes one question to the store."""
    house = House(SMALL)
    house.answers["slow.example"] = HANG
    for number in range(300):
        house.send(f"u{number}@slow.example")
        house.send(f"u{number}@d{number}.example")
        house.answers[f"d{number + 1}.example"] = HANG
    asked: list[object] = []
    lease = house.store.lease
    house.store.lease = lambda *args: (asked.append(args), lease(*args))[1]
    while house.deliverer.hanging:
        house.answer(DELIVERED, how_many=1)
        house.pass_time(1, step=1)
    assert house.store.messages == {}
    assert len(asked) < 150
