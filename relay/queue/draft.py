"""A large body on its way to the disk: one piece is being written while the next is gathered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from relay.message.transfer import PlainLines
from relay.queue.files import Files, trouble_of
from relay.queue.room import NoRoom, Room
from relay.queue.store import StoreFull, StoreUnavailable
from relay.queue.threads import Executor, run_in

DRAFT = ".draft"


class BodyDraft:
    """When both pieces are full, the writer waits; so it does when the disk is, while others give way to it."""

    def __init__(
        self,
        path: Path,
        files: Files,
        executor: Executor,
        room: Room,
        piece_octets: Callable[[], int],
        is_plain: Callable[[], None],
    ) -> None:
        """room          of the spool's disk, among all drafts
        piece_octets  as ``Bodies.piece_octets``
        is_plain      is called when it is whole and PlainLines
        """
        self._path = path
        self._draft_path = path.with_name(path.name + DRAFT)
        self._files = files
        self._executor = executor
        self._piece_octets = piece_octets
        self._tell_plain = is_plain
        self._room = room
        self._is_plain = False
        self._fd: int | None = None
        self._gathered: list[bytes] = []
        self._octets = 0
        self._busy = False
        self._waits_for_room = False
        self._tries_again = False  # the next piece has found no room before, and its writer waits
        self._trouble: StoreUnavailable | None = None
        self._waiting: list[Deferred[None]] = []  # writers that wait for room
        self._finished: Deferred[None] | None = None
        self._aborted = False

    def write(self, data: bytes) -> Deferred[None] | None:
        """Takes a piece.  As in ``store.Draft``."""
        if self._trouble is not None:
            return fail(self._trouble)
        self._is_plain = type(data) is PlainLines
        self._gathered.append(data)
        self._octets += len(data)
        self._carry_on()
        if self._octets < self._piece_octets() and self._trouble is None:
            return None
        if self._trouble is not None:
            return fail(self._trouble)
        room: Deferred[None] = Deferred()
        self._waiting.append(room)
        return room

    def finish(self) -> Deferred[None]:
        """Fires when the file is whole and synced under its own name."""
        if self._trouble is not None:
            return fail(self._trouble)
        fired: Deferred[None] = Deferred()
        self._finished = fired
        self._carry_on()
        return fired

    def abort(self) -> None:
        """Removes the file, in whatever state it is."""
        self._aborted = True
        self._gathered.clear()
        self._octets = 0
        self._carry_on()

    # -- as an Occupant of the room -----------------------------------------------------------------

    @property
    def may_give_way(self) -> bool:
        return self._finished is None or not self._busy

    def give_way(self) -> None:
        self._trouble = StoreFull("no room on the disk of the spool for all the bodies under way")
        self._fail(self._trouble)
        self.abort()

    def go_on(self) -> None:
        self._waits_for_room = False
        self._carry_on()

    # -- what is to be done -------------------------------------------------------------------------

    def _carry_on(self) -> None:
        """Does whatever is to be done next; called whenever something may be."""
        if self._busy:
            return
        if self._aborted:
            self._busy = True
            run_in(self._executor, self._discard).addBoth(self._discarded)
        elif self._trouble is not None:
            self._fail(self._trouble)
        elif self._waits_for_room:
            return
        elif self._finished is not None:
            self._put(self._taken(), self._write_and_seal, self._sealed)
        elif self._tries_again:
            self._put(self._taken(), self._write, self._written)
        elif self._waiting or self._octets >= self._piece_octets():
            self._put(self._taken(), self._write, self._written)
            self._fire_waiting()

    def _taken(self) -> list[bytes]:
        """What is gathered, as the next piece."""
        pieces, self._gathered = self._gathered, []
        self._octets = 0
        return pieces

    def _put(self, pieces: list[bytes], work: Callable[[list[bytes]], None], then: Callable[[None], None]) -> None:
        def not_done(failure: Failure) -> None:
            self._busy = False
            if failure.check(NoRoom):
                self._no_room(pieces)
            else:
                error = failure.value
                self._trouble = trouble_of(error) if isinstance(error, OSError) else StoreUnavailable(str(error))
                self._room.had_its_turn()
            self._carry_on()

        self._room.enter(self)
        self._busy = True
        run_in(self._executor, partial(work, pieces)).addCallbacks(then, not_done)

    def _no_room(self, pieces: list[bytes]) -> None:
        """They are the next piece still."""
        if not self._aborted:
            self._gathered[:0] = pieces
            self._octets = sum(map(len, self._gathered))
            self._waits_for_room = self._tries_again = True
            self._room.found_none(self)

    def _written(self, _: None) -> None:
        self._busy = False
        if self._tries_again:
            self._tries_again = False
            self._fire_waiting()
        self._room.had_its_turn()
        self._carry_on()

    def _sealed(self, _: None) -> None:
        self._busy = False
        if self._aborted:
            self._carry_on()
            return
        self._room.left(self)
        if self._is_plain:
            self._tell_plain()
        finished, self._finished = self._finished, None
        if finished is not None:
            finished.callback(None)

    def _discarded(self, _: object) -> None:
        """What could not be removed is swept at the next start.  It stays busy: nothing is to be done any more."""
        self._room.left(self)
        self._fail(self._trouble or StoreUnavailable("the draft was aborted"))

    def _fail(self, trouble: StoreUnavailable) -> None:
        self._gathered.clear()
        finished, self._finished = self._finished, None
        waiting, self._waiting = self._waiting, []
        for fired in waiting:
            fired.errback(trouble)
        if finished is not None:
            finished.errback(trouble)

    def _fire_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for room in waiting:
            room.callback(None)

    # -- in a file thread -----------------------------------------------------------------------

    def _write(self, pieces: list[bytes]) -> None:
        octets = sum(map(len, pieces))
        if self._files.free(self._path.parents[1]) < self._room.leave_free_octets + octets:
            raise NoRoom
        if self._fd is None:
            try:
                self._fd = self._files.create(self._draft_path)
            except FileNotFoundError:
                self._files.make_directory(self._draft_path.parent)
                self._fd = self._files.create(self._draft_path)
        piece = b"".join(pieces)
        pieces.clear()  # not in memory twice while it is written
        self._files.write(self._fd, piece)

    def _write_and_seal(self, pieces: list[bytes]) -> None:
        if pieces:
            self._write(pieces)
        self._seal()

    def _seal(self) -> None:
        assert self._fd is not None
        self._files.sync(self._fd)
        fd, self._fd = self._fd, None
        self._files.close(fd)
        self._files.rename(self._draft_path, self._path)
        self._files.sync_directory(self._path.parent)

    def _discard(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._files.close(fd)
        self._files.remove(self._draft_path)
        self._files.remove(self._path)
