"""Trouble with the disk: nothing is half done, nothing is lost, and it passes by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.message.envelope import Envelope, Origin
from relay.queue.sqlite import SqliteStore
from relay.queue.store import EVERYTHING, NewMessage, Settlement, State, StoreFull, StoreUnavailable
from tests.conformance.mail import NOW, all_of, clock_at, content_of, lease, now, queue, to, whole
from tests.fakes.executors import inline
from tests.queue.faults import FaultyDisk, FaultyFiles, FaultyVfs

RESERVE = 1 << 20


@pytest.fixture
def clock() -> Clock:
    return clock_at()


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def vfs(disk: FaultyDisk) -> FaultyVfs:
    return FaultyVfs(disk)


@pytest.fixture
def steps() -> list[tuple[str, dict[str, object]]]:
    return []


def opened(tmp_path: Path, clock: Clock, disk: FaultyDisk, vfs: FaultyVfs, steps: list[Any]) -> SqliteStore:
    return SqliteStore(
        tmp_path / "spool",
        clock=clock,
        executors=inline(),
        files=FaultyFiles(disk),
        vfs=vfs.name,
        reserve_octets=RESERVE,
        tell=lambda step, **fields: steps.append((step, fields)),
    )


@pytest.fixture
def store(tmp_path: Path, clock: Clock, disk: FaultyDisk, vfs: FaultyVfs, steps: list[Any]) -> Iterator[SqliteStore]:
    store = opened(tmp_path, clock, disk, vfs, steps)
    yield store
    disk.full = disk.broken = False
    disk.fail_at = 0
    now(store.close())


def test_a_full_disk_refuses_new_mail_and_takes_it_again_when_there_is_room(
    store: SqliteStore, disk: FaultyDisk, clock: Clock
) -> None:
    """452 to the client; the relay recovers by itself."""
    kept = queue(store)
    disk.full = True
    with pytest.raises(StoreFull):
        queue(store)
    with pytest.raises(StoreFull):
        store.begin()
    assert store.condition().is_full
    clock.advance(10)
    with pytest.raises(StoreFull):
        store.begin()
    assert [row.message_id for row in all_of(store.list())] == [kept.id]
    disk.full = False
    clock.advance(10)
    store_is_looked_at_again(store)
    queue(store)
    assert store.counts().messages == 2


def store_is_looked_at_again(store: SqliteStore) -> None:
    """The first to come after a while starts the look for room; whoever comes after it is served."""
    with pytest.raises(StoreFull):
        store.begin()


def test_a_full_disk_gives_up_the_reserve_for_results(
    store: SqliteStore, disk: FaultyDisk, tmp_path: Path, steps: list[Any]
) -> None:
    """What was delivered must be written, or it would be delivered again."""
    reserve = tmp_path / "spool" / "reserve"
    assert reserve.stat().st_size == RESERVE
    message = queue(store)
    lease(store)

    class Room:
        """The disk is full for as long as the reserve lies on it."""

        def touched(self, needs_room: bool = False) -> int:
            disk.full = reserve.exists()
            return FaultyDisk.touched(disk, needs_room)

    room = Room()
    disk.touched = room.touched  # type: ignore[method-assign]
    now(store.record(Settlement(message.id, finished=(0,))))
    assert not reserve.exists()
    assert store.counts().messages == 0
    assert [step for step, _ in steps] == ["trouble"]


def test_results_that_cannot_be_written_fail_and_can_be_recorded_again(store: SqliteStore, disk: FaultyDisk) -> None:
    message = queue(store)
    disk.full = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            now(store.record(Settlement(message.id, finished=(0,))))
    assert whole(store, message.id)[0] == message
    disk.full = False
    now(store.record(Settlement(message.id, finished=(0,))))
    assert store.counts().messages == 0


def test_no_reserve_at_the_start_is_a_full_disk(
    tmp_path: Path, clock: Clock, disk: FaultyDisk, vfs: FaultyVfs, steps: list[Any]
) -> None:
    now(opened(tmp_path, clock, disk, vfs, steps).close())
    (tmp_path / "spool" / "reserve").unlink()
    disk.full = True
    store = opened(tmp_path, clock, disk, vfs, steps)
    with pytest.raises(StoreFull):
        store.begin()
    assert "no reserve" in str(steps[-1])
    disk.full = False
    now(store.close())


def test_an_io_error_changes_nothing_and_passes(store: SqliteStore, disk: FaultyDisk, clock: Clock) -> None:
    """451 to the client, and the database is opened anew when the disk is back."""
    kept = queue(store)
    counts = store.counts()
    connection = store.committer._writer.db
    disk.broken = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            queue(store)
        with pytest.raises(StoreUnavailable):
            lease(store)
        assert store.condition().trouble
        clock.advance(0.4)
    disk.broken = False
    assert store.counts() == counts
    clock.advance(1)
    (leased,) = lease(store, NOW + 100)
    assert leased.message == kept
    queue(store)
    assert store.condition().trouble == ""
    assert store.counts().messages == 2
    assert store.committer._writer.db is not connection


@pytest.mark.parametrize("size", [10, 200_000])
def test_whichever_operation_fails_the_message_is_there_or_was_refused(
    store: SqliteStore, disk: FaultyDisk, clock: Clock, size: int, tmp_path: Path
) -> None:
    """The 1st, the 2nd, the 3rd … until a commit meets no fault; each time all is well a second later."""
    content = bytes(range(256)) * (size // 256) + b"end"
    accepted: list[str] = []
    for fault in range(1, 100):
        disk.fail_at = fault
        with contextlib.suppress(StoreUnavailable):
            accepted.append(queue(store, content=content).id)
        met, disk.fail_at = disk.fail_at == 0, 0
        clock.advance(6)
        assert [row.message_id for row in all_of(store.list())] == accepted
        assert store.counts().messages == len(accepted)
        if not met:
            break
    assert fault > 2
    for message_id in accepted:
        message, _ = whole(store, message_id)
        assert (message.content or content_of(store, message_id)) == content
        now(store.record(Settlement(message_id, finished=(0,))))
    assert [path for path in (tmp_path / "spool" / "bodies").rglob("*") if path.is_file()] == []


def test_whichever_operation_fails_a_result_is_recorded_or_was_refused(
    store: SqliteStore, disk: FaultyDisk, clock: Clock
) -> None:
    message = queue(store, *(to(f"user{number}@example.org") for number in range(50)))
    left = 50
    for fault in range(1, 100):
        disk.fail_at = fault
        try:
            now(store.record(Settlement(message.id, finished=(left - 1,))))
            left -= 1
        except StoreUnavailable:
            pass
        met, disk.fail_at = disk.fail_at == 0, 0
        clock.advance(6)
        assert store.counts().recipients[State.WAITING] == left
        assert len(whole(store, message.id)[1]) == left
        if not met:
            break
    assert fault > 2


def test_a_body_that_finds_no_room_fails_and_leaves_nothing(
    store: SqliteStore, disk: FaultyDisk, tmp_path: Path
) -> None:
    draft = store.begin()
    draft.write(b"x" * 300_000)
    disk.full = True
    fired = draft.write(b"x" * 300_000)
    assert fired is not None
    with pytest.raises(StoreFull):
        now(fired)
    again = draft.write(b"x")
    assert again is not None
    with pytest.raises(StoreFull):
        now(again)
    draft.abort()
    assert [path for path in (tmp_path / "spool" / "bodies").rglob("*") if path.is_file()] == []
    disk.full = False
    queue(store)  # a small message may find room where a large one did not: new mail was not refused


def test_a_report_that_cannot_be_written_leaves_what_it_reports(store: SqliteStore, disk: FaultyDisk) -> None:
    message = queue(store)
    new = NewMessage(Envelope(None), Origin(), b"", b"x" * 200_000, (to("ann@client.example"),), NOW)
    disk.full = True
    with pytest.raises(StoreUnavailable):
        now(store.record(Settlement(message.id, finished=(0,), reports=(new,))))
    disk.full = False
    assert [row.message_id for row in all_of(store.list(EVERYTHING))] == [message.id]
    assert store.counts().recipients[State.WAITING] == 1


def test_what_was_leased_and_cannot_be_read_is_due_again_soon(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found without descriptors: it waited until its lease had run out, a quarter of an hour.  No attempt counts."""
    message = queue(store)
    other = queue(store, content=b"x" * 100_000)

    def fails(taken: object) -> object:
        raise StoreUnavailable("unable to open database file")

    with monkeypatch.context() as patched:
        patched.setattr(store._listing, "_taken", fails)
        with pytest.raises(StoreUnavailable):
            lease(store)
    assert not lease(store, NOW + 5)
    again = lease(store, NOW + 11)
    assert [leased.message.id for leased in again] == [message.id, other.id]
    assert [leased.recipients[0].attempts for leased in again] == [1, 1]
