"""The bodies that are too large for their row: one file each, written while they arrive.

    bodies/3f/<id>.draft   being written (state D); swept at start
    bodies/3f/<id>         complete and synced, its directory too; belongs to the queue once its row is committed

The rule that must not be broken: a file is whole, synced and under its own name before the row that
needs it is committed, and it is removed after the commit that removes the row.  So a crash leaves files
without a row (swept), never a row without its file.

Every touch of the disk is done in a file thread.  To wake one, and to be woken by it, costs more than what it does
with 64 KiB; so pieces are larger while few bodies are under way (``piece_octets``), and the last one is written, synced
and named in one visit.  At most two pieces of a draft are in memory, and two of a body that goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from weakref import WeakSet

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from relay.message.transfer import PlainLines
from relay.queue.draft import BodyDraft
from relay.queue.files import Files, trouble_of
from relay.queue.ids import to_text
from relay.queue.room import LEAVE_FREE_OCTETS, Room
from relay.queue.store import StoreUnavailable
from relay.queue.threads import Executor, run_in

PIECE_OCTETS = 256 * 1024
"""The largest piece: a MiB in four.  Larger ones gain little more."""
LEAST_PIECE_OCTETS = 64 * 1024
"""The pieces when many bodies are under way."""
MEMORY_OCTETS = 32 * 1024 * 1024
"""What all pieces together may take before they become smaller: sixty bodies have large ones."""
PLAIN_KNOWN = 10_000
"""Of so many bodies at most it is remembered that they are PlainLines; the others are looked at once more."""


class Bodies:
    """The files of one spool."""

    def __init__(
        self, directory: Path, files: Files, executor: Executor, leave_free_octets: int = LEAVE_FREE_OCTETS
    ) -> None:
        self.directory = directory
        self.files = files
        self._executor = executor
        self._under_way: WeakSet[BodyDraft | BodyReader] = WeakSet()  # as long as anybody holds them
        self._room = Room(leave_free_octets)
        self._plain: dict[int, None] = {}  # in the order in which they came; not known of those of a former life

    def path(self, number: int) -> Path:
        return self.directory / f"{number >> 8 & 0xFF:02x}" / to_text(number)

    def draft(self, number: int) -> BodyDraft:
        draft = BodyDraft(
            self.path(number),
            self.files,
            self._executor,
            self._room,
            self.piece_octets,
            partial(self._is_plain, number),
        )
        self._under_way.add(draft)
        return draft

    def reader(self, number: int) -> BodyReader:
        kind = PlainLines if number in self._plain else bytes
        reader = BodyReader(self.path(number), self.files, self._executor, self.piece_octets, kind)
        self._under_way.add(reader)
        return reader

    def _is_plain(self, number: int) -> None:
        self._plain[number] = None
        if len(self._plain) > PLAIN_KNOWN:
            del self._plain[next(iter(self._plain))]

    def piece_octets(self) -> int:
        """How large a piece may be now, of whatever is under way."""
        share = MEMORY_OCTETS // (2 * max(1, len(self._under_way)))
        return max(LEAST_PIECE_OCTETS, min(PIECE_OCTETS, share))

    def remove(self, numbers: Iterable[int]) -> None:
        """Removes them when there is time; what cannot be removed is swept at the next start."""
        for number in numbers:
            self._plain.pop(number, None)
            run_in(self._executor, partial(self.files.remove, self.path(number))).addErrback(_swept_later)


class BodyReader:
    """A body, read from its file in pieces (``store.Content``).  It outlives the removal of its message."""

    def __init__(
        self, path: Path, files: Files, executor: Executor, piece_octets: Callable[[], int], kind: type[bytes] = bytes
    ) -> None:
        """piece_octets  as ``Bodies.piece_octets``
        kind          of the pieces: PlainLines if they are known to be
        """
        self._path = path
        self._files = files
        self._executor = executor
        self._piece_octets = piece_octets
        self._kind = kind
        self._fd: int | None = None
        self._reading = False
        self._ended = False
        self._closed = False

    def read(self) -> Deferred[bytes]:
        if self._closed or (self._ended and not self._reading):
            return succeed(b"")
        if self._reading:
            return fail(StoreUnavailable("a piece is being read already"))
        self._reading = True
        return run_in(self._executor, partial(self._read, self._piece_octets())).addCallbacks(self._done, self._failed)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if not self._reading:
                self._let_go()

    def _done(self, piece: bytes) -> bytes:
        self._reading = False
        if self._closed:
            self._let_go()
        return piece

    def _failed(self, failure: Failure) -> bytes:
        self._reading = False
        if self._closed:
            self._let_go()
        error = failure.value
        raise trouble_of(error) if isinstance(error, OSError) else StoreUnavailable(str(error)) from error

    def _read(self, wanted: int) -> bytes:
        if self._fd is None:
            self._fd = self._files.open(self._path)
        piece = self._files.read(self._fd, wanted)
        if len(piece) < wanted:
            rest = self._files.read(self._fd, wanted - len(piece))
            if not rest:  # it is closed in the same visit, and nobody need come again to find that out
                self._ended = True
                fd, self._fd = self._fd, None
                self._files.close(fd)
            piece += rest
        return self._kind(piece)  # the very same octets when it is only bytes

    def _let_go(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            run_in(self._executor, lambda: self._files.close(fd)).addErrback(_swept_later)


def _swept_later(_: Failure) -> None:
    """A file that could not be removed or closed is the next start's business."""
