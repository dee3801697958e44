"""Large bodies: never whole in memory, never waiting behind the database, never left behind."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.queue.batch import Change
from relay.queue.bodies import PIECE_OCTETS, Bodies, BodyDraft
from relay.queue.files import DiskFiles
from relay.queue.sqlite import SqliteStore
from relay.queue.store import INLINE_LIMIT_OCTETS, Settlement, StoreUnavailable
from relay.queue.threads import Executors
from relay.queue.writer import Job
from tests.conformance.mail import FULL_ENVELOPE, NOW, ORIGIN, clock_at, content_of, lease, now, queue, to
from tests.fakes.executors import ByHand, Inline, inline

NUMBER = 1_800_000_000_000_000 << 8
CHUNK = b"0123456789abcdef" * 1024  # 16 KiB


@pytest.fixture
def disk() -> ByHand:
    return ByHand()


@pytest.fixture
def bodies(tmp_path: Path, disk: ByHand) -> Bodies:
    DiskFiles().make_directory(tmp_path / "bodies")
    return Bodies(tmp_path / "bodies", DiskFiles(), disk)


def files_in(bodies: Bodies) -> list[str]:
    return sorted(path.name for path in bodies.directory.rglob("*") if path.is_file())


def test_a_piece_is_gathered_while_the_one_before_is_written(bodies: Bodies, disk: ByHand) -> None:
    """Few large writes, and the client is stopped only when both pieces are full."""
    draft = bodies.draft(NUMBER)
    waits = [draft.write(CHUNK) for _ in range(8)]
    assert [wait is None for wait in waits] == [True] * 7 + [False]
    assert len(disk.queue) == 1
    disk.run_one()
    assert isinstance(waits[7], Deferred)
    assert waits[7].called
    assert len(disk.queue) == 1  # the second piece is on its way
    assert draft.write(CHUNK) is None


def test_it_has_its_name_only_when_it_is_whole_and_synced(bodies: Bodies, disk: ByHand) -> None:
    name = bodies.path(NUMBER).name
    draft = bodies.draft(NUMBER)
    for _ in range(5):
        draft.write(CHUNK)
    finished = draft.finish()
    disk.run_one()
    assert files_in(bodies) == [name + ".draft"]
    assert not finished.called
    disk.run_one()
    assert files_in(bodies) == [name + ".draft"]
    disk.run_one()
    assert finished.called
    assert files_in(bodies) == [name]
    assert bodies.path(NUMBER).read_bytes() == CHUNK * 5


class RecordingFiles(DiskFiles):
    def __init__(self) -> None:
        self.done: list[str] = []

    def create(self, path: Path) -> int:
        self.done.append("create")
        return super().create(path)

    def write(self, fd: int, data: bytes) -> None:
        self.done.append("write")
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        self.done.append("sync")
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self.done.append("rename")
        super().rename(old, new)

    def sync_directory(self, path: Path) -> None:
        self.done.append(f"sync {path.name}")
        super().sync_directory(path)


def test_the_file_its_name_and_every_folders_name_are_synced_before_the_commit(tmp_path: Path) -> None:
    """What a disk forgets when the power goes: octets, then names."""
    files = RecordingFiles()
    store = SqliteStore(
        tmp_path / "deep" / "spool", clock=clock_at(), executors=inline(), reserve_octets=0, files=files
    )
    assert files.done == [f"sync {tmp_path.name}", "sync deep", "sync spool", "sync spool", "sync spool"]
    files.done.clear()
    before = store.committer.add

    def add(job: Job) -> Deferred[Any]:
        if isinstance(job, Change) and job.messages:
            files.done.append("commit")
        return before(job)

    store.committer.add = add  # type: ignore[method-assign]
    queue(store, content=b"x" * 65537)
    folder = next((tmp_path / "deep" / "spool" / "bodies").iterdir()).name
    made, written = files.done[: files.done.index("sync bodies")], files.done[files.done.index("sync bodies") + 1 :]
    assert made == ["create"]
    assert written == ["create", "write", "sync", "rename", f"sync {folder}", "commit"]
    store.committer.add = before  # type: ignore[method-assign]
    now(store.close())


@pytest.mark.parametrize("done_before", range(5))
def test_aborted_at_any_moment_it_leaves_nothing(bodies: Bodies, disk: ByHand, done_before: int) -> None:
    draft = bodies.draft(NUMBER)
    for _ in range(7):
        draft.write(CHUNK)
    failures: list[object] = []
    draft.finish().addErrback(failures.append)
    for _ in range(min(done_before, 3)):
        disk.run_one()
    draft.abort()
    disk.run_all()
    assert files_in(bodies) == []
    assert len(failures) == (done_before < 3)


def test_a_writer_that_waits_hears_of_the_abort(bodies: Bodies, disk: ByHand) -> None:
    """Nobody is left waiting for ever."""
    draft = bodies.draft(NUMBER)
    waits = [draft.write(CHUNK) for _ in range(9)]
    draft.abort()
    disk.run_all()
    for wait in waits:
        if wait is not None:
            with pytest.raises(StoreUnavailable):
                now(wait)


def test_a_body_is_read_to_its_end_though_its_message_goes(bodies: Bodies, disk: ByHand) -> None:
    """The peer that takes it last is not cut off by the one that was quicker."""
    written(bodies, disk)
    reader = bodies.reader(NUMBER)
    first = reader.read()
    disk.run_all()
    bodies.remove([NUMBER])
    disk.run_all()
    assert files_in(bodies) == []
    second = reader.read()
    third = reader.read()  # one at a time
    disk.run_all()
    assert now(first) + now(second) == CHUNK * 5
    with pytest.raises(StoreUnavailable):
        now(third)
    reader.close()
    reader.close()
    disk.run_all()
    assert now(reader.read()) == b""


def test_a_reader_closed_while_it_reads_lets_go_afterwards(bodies: Bodies, disk: ByHand) -> None:
    written(bodies, disk)
    reader = bodies.reader(NUMBER)
    reading = reader.read()
    reader.close()
    disk.run_all()
    assert now(reading) == CHUNK * 4
    assert reader._fd is None


def written(bodies: Bodies, disk: ByHand) -> BodyDraft:
    draft = bodies.draft(NUMBER)
    for _ in range(5):
        draft.write(CHUNK)
    finished = draft.finish()
    disk.run_all()
    now(finished)
    return draft


def test_bodies_are_spread_over_folders(bodies: Bodies) -> None:
    places = {bodies.path(NUMBER + (number << 8)).parent for number in range(1000)}
    assert len(places) == 256


# -- with the store ---------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "spool", clock=clock_at(), executors=inline(), reserve_octets=0)
    yield store
    now(store.close())


def test_a_large_body_does_not_wait_behind_group_commits(tmp_path: Path) -> None:
    storage = ByHand()
    store = SqliteStore(
        tmp_path / "spool", clock=clock_at(), executors=Executors(storage, Inline(), Inline()), reserve_octets=0
    )
    store.begin().commit(FULL_ENVELOPE, ORIGIN, b"", (to("bob@example.org"),), NOW)
    assert len(storage.queue) == 1  # the database is busy
    draft = store.begin()
    for _ in range(100):
        assert draft.write(CHUNK) is None
    draft.abort()
    closed = store.close()
    storage.run_all()
    now(closed)


def test_a_large_message_is_not_whole_in_memory(store: SqliteStore) -> None:
    """50 MiB coming in and going out, with less than 2 MiB more."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        draft = store.begin()
        for _ in range(50 * 1024 * 1024 // len(CHUNK)):
            draft.write(bytes(CHUNK))
        message = now(draft.commit(FULL_ENVELOPE, ORIGIN, b"", (to("bob@example.org"),), NOW))
        assert lease(store)[0].message == message
        content = store.open(message.id)
        octets = 0
        while piece := now(content.read()):
            assert len(piece) <= PIECE_OCTETS
            octets += len(piece)
        content.close()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert octets == 50 * 1024 * 1024
    assert peak < 2 * 1024 * 1024
    now(store.record(Settlement(message.id, finished=(0,))))


def test_a_small_message_costs_no_file(store: SqliteStore, tmp_path: Path) -> None:
    queue(store, content=b"x" * INLINE_LIMIT_OCTETS)
    assert [path for path in (tmp_path / "spool" / "bodies").rglob("*") if path.is_file()] == []


def test_octets_of_any_value_come_back(store: SqliteStore) -> None:
    content = bytes(range(256)) * 1000
    assert content_of(store, queue(store, content=content).id) == content
