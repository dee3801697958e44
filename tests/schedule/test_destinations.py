"""Destinations: windows, rests, probes, shares, and fairness among them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from relay.message.address import Address
from relay.message.outcome import Action, Deferred
from relay.message.reply import LOCAL_ERROR
from relay.queue.store import Selection, State
from tests.schedule.house import BUSY, DAY, DEAD, DELIVERED, HANG, HOUR, MINUTE, UNKNOWN, House, settings


def test_no_more_than_the_window_is_under_way_at_one_destination() -> None:
    house = House(settings(initial=3, maximum=8))
    house.answers["example.org"] = HANG
    for number in range(50):
        house.send(f"u{number}@example.org")
    assert len(house.deliverer.hanging) == 3
    while house.deliverer.hanging:
        house.answer(DELIVERED, how_many=1)
    assert house.deliverer.most_at_once["example.org"] == 8
    assert house.store.messages == {}


def test_no_more_than_the_bound_is_under_way_over_all() -> None:
    house = House(settings(in_flight=10))
    for number in range(30):
        house.answers[f"d{number}.example"] = HANG
        house.send(f"bob@d{number}.example")
    assert len(house.deliverer.hanging) == 10
    house.answer(DELIVERED)
    assert len(house.deliverer.hanging) == 10


def test_destinations_take_turns() -> None:
    """A thousand messages to one place do not stand before one message to another."""
    house = House(settings(in_flight=1))
    house.answers["first.example"] = HANG
    house.send("x@first.example")
    for lane in ("big.example", "small.example", "other.example"):
        for number in range(20 if lane == "big.example" else 2):
            house.send(f"u{number}@{lane}")
    house.answer(DELIVERED)
    assert [one.lane for one in house.tried[1:8]] == [
        "big.example",
        "small.example",
        "other.example",
        "big.example",
        "small.example",
        "other.example",
        "big.example",
    ]


def test_a_host_that_is_down_rests_as_a_whole() -> None:
    """Not a hundred messages are tried in vain, but a handful; one step is told."""
    house = House()
    house.answers["dead.example"] = DEAD
    for number in range(100):
        house.send(f"u{number}@dead.example")
    assert len(house.tried) == 4
    (rested,) = house.told("rested")
    assert rested["destination"] == "dead.example"
    assert "Connection refused" in str(rested["error"])
    (status,) = house.runner.destinations()
    assert (status.window, status.waiting, status.failures) == (0, 0, 4)
    assert status.resting_until == rested["next_at"]
    assert "Connection refused" in status.last_error


def test_what_waits_in_memory_behind_a_rest_goes_back_uncounted() -> None:
    house = House(settings(initial=1))
    house.answers["dead.example"] = HANG
    for number in range(3):
        house.send(f"u{number}@dead.example")
    assert len(house.deliverer.hanging) == 1
    house.answer(DEAD)
    assert sorted((row.attempts, row.due_at > house.clock.seconds()) for row in house.rows()) == [
        (0, False),
        (0, False),
        (1, True),
    ]
    assert house.runner.destinations()[0].waiting == 0


def test_after_a_rest_one_probe_goes_alone_and_opens_the_way_for_the_others() -> None:
    house = House()
    house.answers["dead.example"] = DEAD
    for number in range(60):
        house.send(f"u{number}@dead.example")
    house.answers["dead.example"] = HANG
    house.pass_time(2 * MINUTE, step=1)
    assert len(house.deliverer.hanging) == 1
    house.answer(DELIVERED)
    assert len(house.deliverer.hanging) == 2
    while house.deliverer.hanging:
        house.answer(DELIVERED)
    house.pass_time(5)
    assert all(row.due_at > house.clock.seconds() for row in house.rows())  # those that had failed themselves
    assert len(house.rows()) <= 4


def test_a_failed_probe_makes_the_rest_longer() -> None:
    house = House()
    house.answers["dead.example"] = DEAD
    for number in range(30):
        house.send(f"u{number}@dead.example")
    house.pass_time(HOUR, step=5)
    rests = house.told("rested")
    lengths = [float(str(one["next_at"])) for one in rests]
    gaps = [later - sooner for sooner, later in pairwise(lengths)]
    assert gaps == sorted(gaps)
    assert len(house.tried) == 4 + len(rests) - 1  # one attempt for each rest
    assert len(rests) <= 7


def test_fresh_mail_for_a_resting_destination_is_not_tried() -> None:
    house = House()
    house.answers["dead.example"] = DEAD
    for number in range(10):
        house.send(f"u{number}@dead.example")
    tried = len(house.tried)
    house.send("late@dead.example")
    assert len(house.tried) == tried
    assert any(row.recipient.address.local == "late" and row.attempts == 0 for row in house.rows())


def test_trouble_among_successes_does_not_stop_a_destination() -> None:
    """A host that takes ten connections and says 421 to the eleventh is well."""
    house = House()
    house.answers["example.org"] = HANG
    for number in range(200):
        house.send(f"u{number}@example.org")
    while house.deliverer.hanging:
        house.answer(DELIVERED, how_many=3)
        house.answer(DEAD, how_many=1)
    assert house.told("rested") == []


def test_more_dead_destinations_than_can_be_remembered_lose_nothing() -> None:
    house = House(replace(settings(initial=1), destinations=20))
    for number in range(60):
        house.answers[f"d{number}.example"] = DEAD
        house.send(f"a@d{number}.example")
        house.send(f"b@d{number}.example")
    house.pass_time(30 * MINUTE)
    house.answers.clear()
    house.pass_time(5 * HOUR)
    assert house.store.messages == {}


# -- operators and routes -----------------------------------------------------------------------------


def test_flush_tries_a_resting_destination_now() -> None:
    house = House()
    house.answers["dead.example"] = DEAD
    for number in range(10):
        house.send(f"u{number}@dead.example")
    house.answers["dead.example"] = DELIVERED
    house.store.retry(Selection(lanes=("dead.example",)), house.clock.seconds())
    house.runner.flush("dead.example")
    house.pass_time(1)
    assert house.store.messages == {}


def test_an_operator_may_leave_a_destination_in_peace() -> None:
    house = House()
    house.runner.rest("example.org", HOUR)
    house.send("bob@example.org")
    house.pass_time(HOUR - 1)
    assert house.tried == []
    house.pass_time(MINUTE)
    assert len(house.tried) == 1


def test_what_an_operator_leaves_in_peace_is_not_disturbed_by_a_late_success_or_by_new_routes() -> None:
    """He repairs it, and would not like mail to come in between because something ended well that was begun before."""
    house = House()
    house.answers["example.org"] = HANG
    house.send("ann@example.org")
    house.runner.rest("example.org", HOUR)
    house.answer(DELIVERED)
    house.runner.routes_changed(lambda sender, recipient: recipient.domain)
    house.answers["example.org"] = DELIVERED
    house.send("bob@example.org")
    house.pass_time(HOUR - 1)
    assert len(house.tried) == 1
    assert house.runner.destinations()[0].last_error == "an operator wishes it to rest"
    house.pass_time(MINUTE)
    assert len(house.tried) == 2
    assert house.runner.destinations()[0].last_error == ""


def test_new_routes_end_the_rest_and_carry_what_waits_along() -> None:
    """The administrator has repaired the route: the mail must go now, by the new one."""
    house = House(settings(initial=1))
    house.answers["dead.example"] = HANG
    house.answers["smtp:relay.example:25"] = HANG
    for number in range(5):
        house.send(f"u{number}@dead.example")

    def by_relay(sender: Address | None, recipient: Address) -> str:
        return "smtp:relay.example:25"

    house.runner.routes_changed(by_relay)
    assert [one.lane for one in house.tried] == ["dead.example", "smtp:relay.example:25"]
    house.answer(DEAD, lane="dead.example")
    while house.deliverer.hanging:
        house.answer(DELIVERED)
    house.pass_time(3 * MINUTE)
    while house.deliverer.hanging:
        house.answer(DELIVERED)
    assert house.store.messages == {}


def test_mail_stored_under_an_old_lane_goes_by_the_route_of_now_and_not_round_in_a_circle() -> None:
    """It is found under the old name; the new destination rests: the store must learn of that, or gives it for ever."""
    house = House()
    house.answers["old.example"] = BUSY
    house.send("bob@old.example")
    house.runner.routes_changed(lambda sender, recipient: "new")
    house.runner.rest("new", HOUR)
    asked = []
    lease = house.store.lease

    def counted(*args: object, **kwargs: object) -> object:
        asked.append(args)
        return lease(*args, **kwargs)

    house.store.lease = counted
    house.pass_time(30 * MINUTE, step=1)
    (row,) = house.rows()
    assert (row.lane, row.attempts) == ("new", 1)
    assert len(asked) < 5
    house.pass_time(HOUR)
    assert house.tried[-1].lane == "new"
    assert house.store.messages == {}


def test_new_settings_hold_at_once() -> None:
    house = House(settings(initial=2, maximum=2))
    house.answers["example.org"] = HANG
    for number in range(20):
        house.send(f"u{number}@example.org")
    house.runner.reconfigure(settings(initial=10, maximum=10))
    for _ in range(3):
        house.answer(DELIVERED, how_many=1)
    assert len(house.deliverer.hanging) > 2


def test_mail_held_by_an_operator_while_it_is_tried_stays_held() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    house.store.hold(Selection(), "wait")
    house.answer(BUSY)
    (row,) = house.rows()
    assert row.state is State.HELD


def test_mail_removed_by_an_operator_while_it_is_tried_is_no_trouble() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    house.store.remove(Selection())
    house.answer(BUSY)
    house.pass_time(HOUR)
    assert len(house.tried) == 1
    assert house.told("trouble") == []


def test_a_storm_to_many_dead_destinations_comes_to_rest() -> None:
    """A list of forty dead domains: some attempts each, spread by jitter, and all of it is given up in the end."""
    house = House(settings(initial=2))
    for number in range(40):
        house.answers[f"d{number}.example"] = DEAD
        house.send(f"a@d{number}.example")
        house.send(f"b@d{number}.example")
    house.pass_time(HOUR)
    first_hour = len(house.tried)
    assert first_hour < 40 * 16
    house.pass_time(5 * DAY + 20 * MINUTE, step=5 * MINUTE)
    failed = [action for told in house.reporter.actions() for _, action in told if action is Action.FAILED]
    assert len(failed) == 80
    assert house.store.messages == {}


def test_an_unknown_recipient_says_nothing_against_the_destination() -> None:
    house = House()
    house.answers["example.org"] = UNKNOWN
    for number in range(100):
        house.send(f"u{number}@example.org")
    assert house.told("rested") == []
    assert sum(one.lane == "example.org" for one in house.tried) == 100


def test_mail_held_while_it_waits_its_turn_in_memory_is_not_tried() -> None:
    """What an operator stops must stop, though it was in memory already."""
    house = House(settings(initial=1, maximum=1))
    house.answers["example.org"] = HANG
    for number in range(5):
        house.send(f"u{number}@example.org")
    house.store.hold(Selection(recipient="u3@example.org"), "wait")
    house.store.remove(Selection(recipient="u4@example.org"))
    house.runner.wake()
    house.answers.clear()
    house.answer(DELIVERED)
    house.pass_time(5)
    assert sorted(address for one in house.tried for address in one.to) == [
        f"u{number}@example.org" for number in range(3)
    ]
    (held,) = house.rows()
    assert (held.state, held.attempts) == (State.HELD, 0)


def test_while_a_probe_is_under_way_nothing_else_is_taken_in_hand() -> None:
    house = House()
    house.answers["dead.example"] = DEAD
    for number in range(50):
        house.send(f"u{number}@dead.example")
    house.answers["dead.example"] = HANG
    house.pass_time(90, step=1)
    house.runner.look()
    house.pass_time(5 * MINUTE)
    assert len(house.deliverer.hanging) == 1
    assert house.runner.destinations()[0].waiting == 0


def test_a_rest_that_is_prolonged_does_not_end_at_its_first_hour() -> None:
    house = House()
    house.runner.rest("example.org", MINUTE)
    house.runner.rest("example.org", HOUR)
    house.send("bob@example.org")
    house.pass_time(HOUR - 1)
    assert house.tried == []


def test_an_old_attempt_that_outlasts_the_rest_is_followed_by_the_probe() -> None:
    house = House()
    house.answers["dead.example"] = HANG
    for number in range(20):
        house.send(f"u{number}@dead.example")
    house.answer(DEAD, how_many=4)
    house.pass_time(2.5 * MINUTE, step=1)
    assert len(house.tried) == 5  # one of them is still under way
    house.answer(Deferred(LOCAL_ERROR))
    house.pass_time(1, step=0.1)
    assert len(house.deliverer.hanging) == 1
    assert len(house.tried) == 6


def test_a_failure_is_reported_at_once_when_the_others_go_back_to_the_store() -> None:
    house = House(settings(initial=1))
    house.answers["dead.example"] = HANG
    house.answers["one.example"] = UNKNOWN
    house.send("first@dead.example")
    house.send("a@one.example", "b@dead.example")
    assert house.reporter.told == []
    house.answer(DEAD)
    assert house.reporter.actions() == [[("a@one.example", Action.FAILED)]]


def test_the_back_off_of_a_destination_is_remembered_between_rare_attempts() -> None:
    house = House(settings(initial=1))
    house.answers["dead.example"] = DEAD
    house.send("bob@dead.example")
    lengths = []
    for _ in range(24 * 60):
        before = len(house.told("rested"))
        house.pass_time(MINUTE)
        lengths += [float(str(one["next_at"])) - house.clock.seconds() for one in house.told("rested")[before:]]
    assert all(length > 2800 for length in lengths[7:])
    assert len(lengths) > 20
