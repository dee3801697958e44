"""A disk that is nearly full under many bodies at once: as many come to their end as it can hold."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.queue.bodies import PIECE_OCTETS, Bodies
from relay.queue.draft import BodyDraft
from relay.queue.files import DiskFiles
from relay.queue.store import StoreFull, StoreUnavailable
from tests.conformance.mail import now
from tests.fakes.executors import ByHand

LEAVE_FREE = 10_000
BODY = Random(1).randbytes(900_000)
PIECE = 60_000


class SmallDisk(DiskFiles):
    """Has room for so many octets in its folder."""

    def __init__(self, octets: int) -> None:
        self.octets = octets

    def free(self, directory: Path) -> int:
        return self.octets - sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


class FailingDisk(SmallDisk):
    """Small, and not to be relied on."""

    def __init__(self, octets: int, chance: Random) -> None:
        super().__init__(octets)
        self._chance = chance

    def write(self, fd: int, data: bytes) -> None:
        if self._chance.random() < 0.05:
            raise OSError(errno.EIO, "I/O error")
        super().write(fd, data)

    def remove(self, path: Path) -> None:
        if self._chance.random() < 0.1:
            raise OSError(errno.EIO, "I/O error")
        super().remove(path)


class Client:
    """Sends its body piece by piece, as its draft takes them; what is refused is aborted, as a transaction does."""

    def __init__(self, bodies: Bodies, number: int) -> None:
        self.bodies = bodies
        self.path = bodies.path(number << 8)
        self.draft = bodies.draft(number << 8)
        self.left = BODY
        self.is_whole = False
        self.trouble: Exception | None = None
        self.is_waiting = False

    @property
    def is_over(self) -> bool:
        return self.is_whole or self.trouble is not None

    def step(self) -> None:
        if self.is_waiting or self.is_over:
            return
        if not self.left:
            self.is_waiting = True
            self.draft.finish().addCallbacks(self._whole, self._refused)
            return
        piece, self.left = self.left[:PIECE], self.left[PIECE:]
        waits = self.draft.write(piece)
        if isinstance(waits, Deferred):
            self.is_waiting = True
            waits.addCallbacks(self._may_go_on, self._refused)

    def _may_go_on(self, _: object) -> None:
        self.is_waiting = False

    def _whole(self, _: object) -> None:
        self.is_whole = True

    def _refused(self, failure: Failure) -> None:
        self.trouble = failure.value
        self.draft.abort()

    def go_away(self) -> None:
        if not self.is_over:
            self.trouble = StoreUnavailable("its client has gone")
            self.draft.abort()


@pytest.fixture
def disk() -> ByHand:
    return ByHand()


def bodies_on(tmp_path: Path, disk: ByHand, octets: int) -> Bodies:
    DiskFiles().make_directory(tmp_path / "bodies")
    return Bodies(tmp_path / "bodies", SmallDisk(octets), disk, LEAVE_FREE)


class EagerClient(Client):
    """Sends whenever it may."""

    def __init__(self, bodies: Bodies, number: int) -> None:
        super().__init__(bodies, number)
        self._go()

    def _go(self) -> None:
        while not (self.is_waiting or self.is_over):
            self.left = BODY
            self.step()

    def _may_go_on(self, _: object) -> None:
        super()._may_go_on(_)
        self._go()


def run(clients: list[Client], disk: ByHand, chance: Random, going_away: float = 0.0) -> None:
    """Each goes on when chance will have it, and so does the disk, until all have come to their end."""
    for _ in range(100_000):
        if chance.random() < going_away:
            chance.choice(clients).go_away()
        going = [one for one in clients if not one.is_over and not one.is_waiting]
        if going and (not disk.queue or chance.random() < 0.5):
            chance.choice(going).step()
        elif disk.queue:
            disk.run_one()
            assert clients[0].bodies.files.free(clients[0].bodies.directory) >= LEAVE_FREE, "the database has no room"
        else:
            break
    assert all(one.is_over for one in clients), "somebody waits for ever"
    disk.run_all()


@pytest.mark.parametrize("seed", range(12))
def test_of_a_crowd_as_many_come_to_their_end_as_there_is_room_for(tmp_path: Path, disk: ByHand, seed: int) -> None:
    """They would fill it together when each is a third there; and none could pass."""
    chance = Random(seed)
    fit = chance.randint(0, 12)
    bodies = bodies_on(tmp_path, disk, LEAVE_FREE + fit * len(BODY) + chance.randint(0, len(BODY) - 1))
    clients = [Client(bodies, number) for number in range(1, 41)]
    run(clients, disk, chance)
    assert sum(one.is_whole for one in clients) == fit
    assert all(isinstance(one.trouble, StoreFull) for one in clients if not one.is_whole)
    files = [path for path in bodies.directory.rglob("*") if path.is_file()]
    assert [path.read_bytes() == BODY for path in files] == [True] * fit
    assert bodies.files.free(bodies.directory) >= LEAVE_FREE


@pytest.mark.parametrize("seed", range(12))
def test_nobody_waits_for_those_who_leave_or_fail(tmp_path: Path, disk: ByHand, seed: int) -> None:
    """Clients go away at any moment, writes and removals fail: the others come to their end all the same."""
    chance = Random(seed)
    failing = FailingDisk(LEAVE_FREE + 4 * len(BODY), chance)
    DiskFiles().make_directory(tmp_path / "bodies")
    bodies = Bodies(tmp_path / "bodies", failing, disk, LEAVE_FREE)
    clients = [Client(bodies, number) for number in range(1, 31)]
    run(clients, disk, chance, going_away=0.02)
    assert {type(one.trouble) for one in clients if not one.is_whole} <= {StoreFull, StoreUnavailable}
    for one in clients:
        if one.is_whole:
            assert one.path.read_bytes() == BODY


def test_what_found_no_room_is_written_when_the_youngest_is_gone(tmp_path: Path, disk: ByHand) -> None:
    bodies = bodies_on(tmp_path, disk, LEAVE_FREE + len(BODY) + 250_000)
    elder, younger = bodies.draft(1 << 8), bodies.draft(2 << 8)
    for draft in (elder, younger):
        draft.write(BODY[:270_000])
        disk.run_all()
    elder.write(BODY[270_000:])
    finished = elder.finish()
    disk.run_one()
    assert not finished.called
    refused = younger.write(b"more")
    assert refused is not None
    with pytest.raises(StoreFull):
        now(refused)
    disk.run_all()
    assert finished.called
    assert bodies.path(1 << 8).read_bytes() == BODY


def test_when_one_finds_room_again_the_next_does_not_wait_for_its_end(tmp_path: Path, disk: ByHand) -> None:
    """Mail that is delivered makes room too."""
    bodies = bodies_on(tmp_path, disk, LEAVE_FREE + 3 * 270_000)
    drafts = [bodies.draft(number << 8) for number in range(1, 4)]
    for draft in drafts:
        draft.write(BODY[:270_000])
    disk.run_all()
    waits = [draft.write(BODY[:270_000]) for draft in drafts[:2]]
    for draft in drafts[:2]:
        draft.write(BODY[:270_000])
    disk.run_one()
    disk.run_one()  # both have found none, and the third gives way
    assert bodies.files.free(bodies.directory) == LEAVE_FREE
    bodies.files.octets += 1_000_000  # type: ignore[attr-defined]
    disk.run_all()
    assert waits == [None, None]
    assert sorted(path.stat().st_size for path in bodies.directory.rglob("*.draft")) == [810_000, 810_000]


def test_what_the_eldest_holds_does_not_grow_with_each_that_gives_way(tmp_path: Path, disk: ByHand) -> None:
    """Two pieces at most, however often it tries again: its client is not asked for more."""
    bodies = bodies_on(tmp_path, disk, LEAVE_FREE)
    eager = [EagerClient(bodies, number) for number in range(1, 60)]
    held = 0
    while disk.queue:
        disk.run_one()
        held = max(held, sum(map(len, eager[0].draft._gathered)))
    assert all(one.trouble is not None for one in eager)
    assert held <= 2 * (bodies.piece_octets() + PIECE)


def waiting_behind(bodies: Bodies, disk: ByHand) -> tuple[BodyDraft, list[object]]:
    """The eldest, that found no room and waits with the second for the third to be gone; and what the writer of the
    second hears."""
    first, second, third = (bodies.draft(number << 8) for number in (1, 2, 3))
    first.write(BODY[: bodies.piece_octets()])
    second.write(BODY[:PIECE_OCTETS])
    wait = second.write(BODY[:PIECE_OCTETS])
    assert wait is not None
    heard: list[object] = []
    wait.addBoth(heard.append)
    third.write(BODY[:PIECE_OCTETS])
    for _ in range(3):
        disk.run_one()
    assert not heard
    return first, heard


def test_those_behind_one_whose_write_fails_have_their_turn(tmp_path: Path, disk: ByHand) -> None:
    class Failing(SmallDisk):
        fails = 1

        def write(self, fd: int, data: bytes) -> None:
            if self.fails:
                self.fails -= 1
                raise OSError(errno.EIO, "I/O error")
            super().write(fd, data)

    DiskFiles().make_directory(tmp_path / "bodies")
    files = Failing(LEAVE_FREE)
    _, heard = waiting_behind(Bodies(tmp_path / "bodies", files, disk, LEAVE_FREE), disk)
    files.octets = 1 << 40
    disk.run_all()
    assert heard == [None]


def test_a_piece_that_found_no_room_is_tried_again_though_pieces_have_become_larger(
    tmp_path: Path, disk: ByHand
) -> None:
    bodies = bodies_on(tmp_path, disk, LEAVE_FREE)
    many = [bodies.draft(number << 8) for number in range(100, 400)]
    first, heard = waiting_behind(bodies, disk)
    many.clear()
    bodies.files.octets = 1 << 40  # type: ignore[attr-defined]
    disk.run_all()
    assert heard == [None]
    assert not first._gathered


def test_alone_it_is_refused_at_once(tmp_path: Path, disk: ByHand) -> None:
    bodies = bodies_on(tmp_path, disk, LEAVE_FREE + 100_000)
    only = Client(bodies, 1)
    run([only], disk, Random(0))
    assert isinstance(only.trouble, StoreFull)
    assert not [path for path in bodies.directory.rglob("*") if path.is_file()]
