"""Large bodies: never whole in memory, never waiting behind the database, never left behind."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.message.transfer import PlainLines
from relay.queue import bodies as module
from relay.queue.batch import Change
from relay.queue.bodies import LEAST_PIECE_OCTETS, MEMORY_OCTETS, PIECE_OCTETS, Bodies, BodyDraft
from relay.queue.files import DiskFiles
from relay.queue.sqlite import SqliteStore
from relay.queue.store import INLINE_LIMIT_OCTETS, Settlement, StoreUnavailable
from relay.queue.threads import Executors
from relay.queue.writer import Job
from tests.conformance.mail import FULL_ENVELOPE, NOW, ORIGIN, clock_at, content_of, lease, now, queue, to
from tests.fakes.executors import ByHand, Inline, inline

NUMBER = 1_800_000_000_000_000 << 8
CHUNK = b"0123456789abcdef" * 4096  # 64 KiB: four are a piece


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
    disk.run_one()  # the rest is written and the file synced and named in one visit
    assert finished.called
    assert not disk.queue
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
    assert list(dict.fromkeys(files.done)) == [f"sync {tmp_path.name}", "sync deep", "sync spool", "sync bodies"]
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


def test_a_folder_whose_name_could_not_be_synced_is_not_there(tmp_path: Path) -> None:
    """Else the next body would find it, and be lost together with its name when the power goes."""

    class Failing(RecordingFiles):
        fails = True

        def sync_directory(self, path: Path) -> None:
            super().sync_directory(path)
            if self.fails:
                raise OSError(errno.EIO, "I/O error")

    files = Failing()
    with pytest.raises(OSError, match="I/O error"):
        files.make_directory(tmp_path / "3f")
    assert not (tmp_path / "3f").exists()
    files.fails = False
    files.make_directory(tmp_path / "3f")
    files.make_directory(tmp_path / "3f")
    assert files.done == [f"sync {tmp_path.name}"] * 2


@pytest.mark.parametrize("done_before", range(4))
def test_aborted_at_any_moment_it_leaves_nothing(bodies: Bodies, disk: ByHand, done_before: int) -> None:
    draft = bodies.draft(NUMBER)
    for _ in range(7):
        draft.write(CHUNK)
    failures: list[object] = []
    draft.finish().addErrback(failures.append)
    for _ in range(min(done_before, 2)):
        disk.run_one()
    draft.abort()
    disk.run_all()
    assert files_in(bodies) == []
    assert len(failures) == (done_before < 2)


def test_a_writer_that_waits_hears_of_the_abort(bodies: Bodies, disk: ByHand) -> None:
    """Nobody is left waiting for ever."""
    draft = bodies.draft(NUMBER)
    waits = [draft.write(CHUNK) for _ in range(9)]
    assert waits[7] is not None
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


def test_the_last_piece_is_known_for_the_last(bodies: Bodies, disk: ByHand) -> None:
    """Nobody visits the disk again to find that there is no more, or to close the file."""
    written(bodies, disk)
    reader = bodies.reader(NUMBER)
    for expected in (CHUNK * 4, CHUNK):
        piece = reader.read()
        disk.run_one()
        assert now(piece) == expected
    assert reader._fd is None
    assert now(reader.read()) == b""
    reader.close()
    assert not disk.queue


def test_a_disk_that_gives_less_than_it_was_asked_for_is_asked_again(tmp_path: Path) -> None:
    class Sparing(DiskFiles):
        def read(self, fd: int, octets: int) -> bytes:
            return super().read(fd, min(octets, 50_000))

    DiskFiles().make_directory(tmp_path / "bodies")
    bodies = Bodies(tmp_path / "bodies", Sparing(), Inline())
    draft = bodies.draft(NUMBER)
    draft.write(CHUNK * 5)
    now(draft.finish())
    reader = bodies.reader(NUMBER)
    pieces = []
    while piece := now(reader.read()):
        pieces.append(piece)
    assert b"".join(pieces) == CHUNK * 5


def test_pieces_are_small_while_many_bodies_are_under_way(bodies: Bodies, disk: ByHand) -> None:
    """What all together hold is bounded, and there is room again when they are gone."""
    assert bodies.piece_octets() == PIECE_OCTETS
    readers = [bodies.reader(NUMBER) for _ in range(1000)]
    assert bodies.piece_octets() == LEAST_PIECE_OCTETS
    draft = bodies.draft(NUMBER)
    assert draft.write(CHUNK) is None
    assert draft.write(CHUNK) is not None
    waiting = draft.write(CHUNK)
    assert waiting is not None
    readers.clear()
    assert bodies.piece_octets() == PIECE_OCTETS
    disk.run_all()  # it waited by the small measure, and goes on by the large one
    assert waiting.called
    draft.abort()
    disk.run_all()


def test_many_large_pieces_are_not_more_than_they_may_be(bodies: Bodies) -> None:
    under_way = []
    for count in range(1, 600):
        under_way.append(bodies.reader(NUMBER))
        least = 2 * count * LEAST_PIECE_OCTETS
        assert 2 * count * bodies.piece_octets() <= max(MEMORY_OCTETS, least)


def kind_of(bodies: Bodies, disk: ByHand, number: int = NUMBER) -> type[bytes]:
    reader = bodies.reader(number)
    reading = reader.read()
    disk.run_all()
    reader.close()
    disk.run_all()
    piece = now(reading)
    assert piece == CHUNK * 4
    return type(piece)


def test_what_was_known_to_be_plain_lines_when_it_came_is_so_when_it_goes(bodies: Bodies, disk: ByHand) -> None:
    """In this life: what a former one left is looked at again."""
    written(bodies, disk, PlainLines(CHUNK))
    assert kind_of(bodies, disk) is PlainLines
    assert kind_of(Bodies(bodies.directory, bodies.files, disk), disk) is bytes
    bodies.remove([NUMBER])
    disk.run_all()
    written(bodies, disk)
    assert kind_of(bodies, disk) is bytes


def test_a_piece_of_plain_lines_does_not_speak_for_what_comes_after_it(bodies: Bodies, disk: ByHand) -> None:
    draft = bodies.draft(NUMBER)
    for piece in (CHUNK, PlainLines(CHUNK), CHUNK, CHUNK):
        draft.write(piece)
    finished = draft.finish()
    disk.run_all()
    now(finished)
    assert kind_of(bodies, disk) is bytes


def test_what_is_known_of_bodies_is_bounded(bodies: Bodies, disk: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_KNOWN", 2)
    numbers = [NUMBER + (count << 8) for count in range(3)]
    for number in numbers:
        written(bodies, disk, PlainLines(CHUNK), number)
    assert [kind_of(bodies, disk, number) for number in numbers] == [bytes, PlainLines, PlainLines]


def test_a_reader_closed_while_it_reads_lets_go_afterwards(bodies: Bodies, disk: ByHand) -> None:
    written(bodies, disk)
    reader = bodies.reader(NUMBER)
    reading = reader.read()
    reader.close()
    disk.run_all()
    assert now(reading) == CHUNK * 4
    assert reader._fd is None


def written(bodies: Bodies, disk: ByHand, last: bytes = CHUNK, number: int = NUMBER) -> BodyDraft:
    draft = bodies.draft(number)
    for _ in range(4):
        draft.write(CHUNK)
    draft.write(last)
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


def test_what_is_aborted_while_a_write_fails_is_removed_and_closed(tmp_path: Path, disk: ByHand) -> None:
    """Else the room it took, and its descriptor, would be gone until the next start."""

    class Failing(DiskFiles):
        closed = 0

        def write(self, fd: int, data: bytes) -> None:
            super().write(fd, data[:1000])
            raise OSError(errno.EIO, "I/O error")

        def close(self, fd: int) -> None:
            self.closed += 1
            super().close(fd)

    DiskFiles().make_directory(tmp_path / "bodies")
    bodies = Bodies(tmp_path / "bodies", Failing(), disk)
    draft = bodies.draft(NUMBER)
    for _ in range(4):
        draft.write(CHUNK)
    draft.abort()
    disk.run_all()
    assert files_in(bodies) == []
    assert bodies.files.closed == 1  # type: ignore[attr-defined]
