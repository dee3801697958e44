"""Trouble of all kinds: disks, defects, hung peers, crashes, clocks; and the end of the day."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred as Later

from relay.message.account import Tried
from relay.message.address import parse_mailbox
from relay.message.envelope import Notify, Recipient
from relay.message.outcome import Action
from relay.queue.store import State, StoreFull
from relay.schedule.settings import ScheduleSettings
from relay.schedule.window import WindowSettings
from tests.schedule.house import (
    BROKEN_DISK,
    BUSY,
    DAY,
    DEAD,
    DELIVERED,
    HANG,
    HOUR,
    MINUTE,
    UNKNOWN,
    House,
    lane_of,
    times_tried,
)

# -- the store ----------------------------------------------------------------------------------------


def test_a_message_that_does_not_come_to_disk_is_not_tried_and_takes_no_room() -> None:
    house = House(replace(ScheduleSettings(), active_recipients=4))
    house.store.trouble["commit"] = StoreFull("no room")
    for number in range(20):
        house.send(f"u{number}@example.org")
    assert house.tried == []
    del house.store.trouble["commit"]
    house.send("bob@example.org")
    assert len(house.tried) == 1


def test_what_was_refused_and_came_to_the_queue_all_the_same_is_not_forgotten_there() -> None:
    """A commit that fails after it has written: its message was in the queue, and nobody ever looked for it."""
    house = House()
    house.store.slow_commits = True
    fired = house.send("bob@example.org")
    ((_, put),) = house.store._commits
    put()  # it is written …
    house.store.trouble["commit"] = BROKEN_DISK
    house.store.commit_now()  # … and fails
    assert isinstance(fired, Later) and fired.result is None
    del house.store.trouble["commit"]
    assert (len(house.rows()), house.tried) == (1, [])
    house.pass_time(20 * MINUTE)
    assert (house.rows(), len(house.tried)) == ([], 1)


def test_what_is_delivered_is_recorded_when_the_disk_is_well_again() -> None:
    """Delivered mail must not be sent again, however long the disk is away."""
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    house.store.trouble["record"] = BROKEN_DISK
    house.answer(DELIVERED)
    house.pass_time(3 * HOUR)  # the lease runs out meanwhile
    assert house.rows() != []
    assert any("cannot be written" in str(one["error"]) for one in house.told("trouble"))
    del house.store.trouble["record"]
    house.pass_time(MINUTE)
    assert house.store.messages == {}
    assert len(house.tried) == 1


def test_a_refused_result_of_several_recipients_is_recorded_whole_later() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.answers["client.example"] = HANG
    house.send("a@example.org", "b@example.org")
    house.store.trouble["record"] = BROKEN_DISK
    house.answer(UNKNOWN)
    house.pass_time(MINUTE, step=1)
    del house.store.trouble["record"]
    house.pass_time(MINUTE, step=1)
    (report,) = house.rows()
    assert str(report.recipient.address) == "ann@client.example"
    assert len(house.reporter.told) == 1


def test_delivery_pauses_while_much_is_unwritten() -> None:
    """What is delivered and not recorded is delivered twice if we die: it must not become much."""
    house = House(replace(ScheduleSettings(), unwritten=10))
    house.answers["example.org"] = HANG
    for number in range(100):
        house.send(f"u{number}@example.org")
    house.store.trouble["record"] = BROKEN_DISK
    while house.deliverer.hanging:
        house.answer(DELIVERED)
    assert len(house.tried) < 30
    house.send("late@example.org")
    tried = len(house.tried)
    house.pass_time(HOUR)
    assert len(house.tried) == tried
    del house.store.trouble["record"]
    house.answers["example.org"] = DELIVERED
    house.pass_time(2 * MINUTE)
    assert house.store.messages == {}
    assert set(times_tried(house).values()) == {1}


def test_a_store_that_cannot_be_read_is_asked_again_after_a_while() -> None:
    house = House()
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")
    house.store.trouble["lease"] = BROKEN_DISK
    house.pass_time(10 * MINUTE, step=1)
    assert 50 < len(house.told("trouble")) < 130  # every five seconds, and not in a loop
    del house.store.trouble["lease"]
    house.pass_time(MINUTE)
    assert len(house.tried) == 2


def test_mail_that_cannot_be_given_back_comes_when_its_lease_has_run_out() -> None:
    house = House(replace(ScheduleSettings(), window=WindowSettings(initial=1)))
    house.answers["dead.example"] = HANG
    house.send("a@dead.example")
    house.send("b@dead.example")
    house.store.trouble["release_lease"] = BROKEN_DISK
    house.answers["dead.example"] = DELIVERED
    house.answer(DEAD)
    assert house.told("trouble")
    house.pass_time(20 * MINUTE)
    assert house.store.messages == {}


# -- defects, and peers that hang -----------------------------------------------------------------------


def test_a_deliverer_that_raises_is_a_temporary_trouble_of_our_own() -> None:
    house = House()
    house.answers["example.org"] = RuntimeError("a defect")
    house.send("bob@example.org")
    (row,) = house.rows()
    assert row.note.startswith("451 4.3.0")
    assert "a defect" in str(house.told("trouble")[0]["error"])
    house.answers["example.org"] = DELIVERED
    house.pass_time(2 * MINUTE)
    assert house.store.messages == {}


def test_a_deliverer_that_fails_is_no_different() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    house.deliverer.hanging.pop().ending.errback(RuntimeError("a defect"))
    assert house.rows()[0].note.startswith("451 4.3.0")
    assert house.runner.destinations()[0].in_flight == 0


def test_too_few_outcomes_are_taken_for_none() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("a@example.org", "b@example.org")
    house.deliverer.hanging.pop().ending.callback(Tried([DELIVERED]))
    assert [row.note[:9] for row in house.rows()] == ["451 4.3.0"] * 2


def test_a_poison_message_blocks_nobody() -> None:
    house = House()
    house.answers["poison@example.org"] = RuntimeError("it makes us stumble")
    house.send("poison@example.org")
    for number in range(100):
        house.send(f"u{number}@example.org")
    assert [str(row.recipient.address) for row in house.rows()] == ["poison@example.org"]
    house.pass_time(6 * DAY, step=2 * MINUTE)
    assert house.store.messages == {}  # it was given up as any other, and its sender told
    assert house.reporter.actions()[-1] == [("poison@example.org", Action.FAILED)]


def test_an_attempt_that_never_ends_holds_only_its_own_place() -> None:
    """One hung connection once stopped all mail of a site for a month."""
    house = House()
    house.answers["hung@example.org"] = HANG
    house.send("hung@example.org")
    for number in range(100):
        house.send(f"u{number}@example.org")
    house.pass_time(DAY, step=5 * MINUTE)
    assert len(house.tried) == 101
    assert times_tried(house)["hung@example.org"] == 1  # not begun again, though its lease ran out long ago


def test_routes_that_raise_refuse_the_message_before_it_is_queued() -> None:
    house = House()

    def broken(*_: object) -> str:
        raise RuntimeError("a defect")

    house.runner.routes_changed(broken)
    fired = house.send("bob@example.org")
    assert isinstance(fired, Later)
    assert house.store.messages == {}


# -- crashes ---------------------------------------------------------------------------------------------


def test_after_a_crash_what_was_under_way_is_tried_again_when_its_lease_has_run_out() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")
    house.crash()
    house.answers["example.org"] = DELIVERED
    house.start()
    house.pass_time(14 * MINUTE)
    assert len(house.tried) == 1  # a crash cannot hammer a peer
    house.pass_time(2 * MINUTE)
    assert len(house.tried) == 2
    assert house.tried[1].message.id == house.tried[0].message.id
    assert house.store.messages == {}


def test_after_a_crash_what_is_owing_is_reported() -> None:
    house = House()
    house.answers["slow.example"] = HANG
    house.answers["one.example"] = UNKNOWN
    house.send("a@one.example", "b@slow.example")
    house.crash()
    assert [row.state for row in house.rows()] == [State.OWING, State.WAITING]
    house.answers["slow.example"] = DELIVERED
    house.start()
    house.pass_time(20 * MINUTE)
    assert house.reporter.actions() == [[("a@one.example", Action.FAILED)]]
    assert times_tried(house)["a@one.example"] == 1
    assert house.store.messages == {}


def test_crashes_in_the_middle_of_everything_lose_nothing() -> None:
    house = House()
    for number in range(300):
        lane = f"d{number % 7}.example"
        house.answers[lane] = [DELIVERED, BUSY, DEAD, UNKNOWN, HANG, DELIVERED, BUSY][number % 7]
        house.send(f"u{number}@{lane}", f"v{number}@d{(number + 3) % 7}.example")
        if number % 50 == 49:
            house.crash()
            house.start()
            house.pass_time(5 * MINUTE)
    house.answers.clear()
    house.crash()
    house.start()
    house.pass_time(12 * HOUR)
    assert house.store.messages == {}
    sent = {f"u{number}@d{number % 7}.example" for number in range(300)}
    sent |= {f"v{number}@d{(number + 3) % 7}.example" for number in range(300)}
    assert sent <= set(times_tried(house))


def test_while_results_are_offered_again_nothing_new_is_tried() -> None:
    """A disk that answers late and then no: the pause holds from offer to offer."""
    house = House(replace(ScheduleSettings(), unwritten=5))
    house.answers["example.org"] = HANG
    for number in range(50):
        house.send(f"u{number}@example.org")
    asked: list[Later[object]] = []

    def slow_record(settlement: object) -> Later[object]:
        asked.append(Later())
        return asked[-1]

    record = house.store.record
    house.store.record = slow_record
    house.answer(DELIVERED, how_many=5)
    while asked:
        asked.pop().errback(BROKEN_DISK)
    tried = len(house.tried)
    for number in range(10):
        house.answer(BUSY)
        house.pass_time(6, step=1)
        house.send(f"late{number}@example.org")
        while asked:
            asked.pop().errback(BROKEN_DISK)
    assert len(house.tried) == tried
    house.store.record = record
    house.answers.clear()
    house.pass_time(HOUR)
    assert house.store.messages == {}


def test_routes_that_raise_later_do_not_stop_queued_mail() -> None:
    house = House()
    house.answers["example.org"] = BUSY
    house.send("bob@example.org")

    def broken(*_: object) -> str:
        raise RuntimeError("a defect")

    house.runner.routes_changed(broken)
    house.answers.clear()
    house.pass_time(2 * MINUTE)
    assert house.store.messages == {}
    assert "no lane" in str(house.told("trouble")[0]["error"])


def test_a_report_that_finds_no_lane_leaves_the_failure_owing_and_the_peer_in_peace() -> None:
    house = House()
    house.answers["example.org"] = HANG
    house.send("bob@example.org")

    def broken(sender: object, recipient: object) -> str:
        if sender is None:
            raise RuntimeError("a defect")
        return "example.org"

    house.runner.routes_changed(broken)
    house.answer(UNKNOWN)
    assert [row.state for row in house.rows()] == [State.OWING]
    house.runner.routes_changed(lane_of)
    house.pass_time(HOUR)
    assert house.store.messages == {}
    assert times_tried(house) == {"bob@example.org": 1, "ann@client.example": 1}


def test_after_a_crash_an_expansion_is_still_reported() -> None:
    house = House()
    house.answers["one.example"] = HANG
    asked = Recipient(parse_mailbox("list@client.example"), Notify.SUCCESS)
    house.send("a@one.example", "b@two.example", expanded=[asked])
    house.crash()
    house.answers.clear()
    house.start()
    house.pass_time(HOUR)
    assert house.reporter.actions() == [[("list@client.example", Action.EXPANDED)]]
    assert house.store.messages == {}


def test_a_report_that_takes_long_is_made_once() -> None:
    """A slow disk, and another recipient that fails meanwhile: one report tells of both."""
    house = House()
    house.answers["one.example"] = UNKNOWN
    house.answers["slow.example"] = HANG
    opened: list[Later[bytes]] = []

    class SlowContent:
        def read(self) -> Later[bytes]:
            opened.append(Later())
            return opened[-1]

        def close(self) -> None: ...

    house.store.open = lambda message_id: SlowContent()
    house.send("a@one.example", "b@slow.example", content=b"x" * 200_000)
    house.pass_time(2 * MINUTE)
    assert len(opened) == 1
    house.answer(UNKNOWN)
    house.pass_time(HOUR)
    assert len(opened) == 1
    opened[0].callback(b"x" * 100_000)
    assert house.reporter.actions() == [[("a@one.example", Action.FAILED), ("b@slow.example", Action.FAILED)]]
    assert house.store.messages == {}


def test_not_many_large_contents_are_read_at_once() -> None:
    """A storm of failures must not fill the memory."""
    house = House()
    house.answers["one.example"] = UNKNOWN
    opened: list[Later[bytes]] = []

    class SlowContent:
        def read(self) -> Later[bytes]:
            opened.append(Later())
            return opened[-1]

        def close(self) -> None: ...

    house.store.open = lambda message_id: SlowContent()
    for number in range(30):
        house.send(f"u{number}@one.example", content=b"x" * 100_000)
    assert len(opened) == 8
    for one in opened:  # it grows as we go
        one.callback(b"x" * 100_000)
    assert len(house.reporter.told) == 30
    assert house.store.messages == {}
