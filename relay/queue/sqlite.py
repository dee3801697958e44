"""The queue on disk: one SQLite database per spool shard, and files for the large bodies.

How a message is kept: ``Draft.write`` gathers it, in memory up to 64 KiB and in a file beyond (bodies.py).
``Draft.commit`` makes a row of it; all rows that arrive while the disk is busy are one statement,
one transaction, one sync (batch.py, committer.py); then 250 may be said.  ``record`` rides
in the same transactions.  The reactor's thread does nothing here but put texts together.

When the disk is full, new mail is refused (StoreFull) and a reserve is given up so that
results can still be written; when the reserve can be taken again, mail is taken again.  After any other trouble
with the disk the database is opened anew.  A broken row is set aside when it is met, and told.

The rule that must not be broken: nothing is promised before it is synced, and nothing is removed before
what replaces it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.message.envelope import Envelope, Message, Origin
from relay.message.journey import Entry, reported
from relay.message.step import Tell, tell_nobody
from relay.queue import following
from relay.queue.aside import SetAside
from relay.queue.batch import Change
from relay.queue.bodies import Bodies
from relay.queue.breath import Breath
from relay.queue.committer import Committer
from relay.queue.draft import BodyDraft
from relay.queue.entries import By
from relay.queue.files import DiskFiles, Files
from relay.queue.ids import IdSource, to_number, to_text
from relay.queue.journal import Journal
from relay.queue.leasing import GiveBack, Lease, NextDue, Taken, TakeOverdue
from relay.queue.listing import FIRST_KEY, LAST_KEY, PORTION_ROWS, Broken, Found, Listing, row_of
from relay.queue.opening import Opening
from relay.queue.operating import Hold, Keys, Release, Remove, Retry
from relay.queue.room import LEAVE_FREE_OCTETS
from relay.queue.rows import change_row, message_row, queued, recipient_row
from relay.queue.spool import SET_ASIDE, Spool, holds_database
from relay.queue.store import (
    EVERYTHING,
    FOR_EVER,
    INLINE_LIMIT_OCTETS,
    Condition,
    Content,
    Counts,
    Followed,
    Leased,
    NewRecipient,
    Place,
    QueuedRecipient,
    QueueRow,
    Selection,
    Settlement,
    State,
    StoreFull,
    StoreUnavailable,
)
from relay.queue.threads import Executors, run_in
from relay.queue.writer import Reserve, Task, Writer

RESERVE_OCTETS: Final = 16 * 1024 * 1024
RECLAIM_S: Final = 60.0
LOOK_FOR_ROOM_EVERY_S: Final = 5.0
UNREAD_AFTER_S: Final = 10.0  # until what was leased and could not be read is due again
STEP_RECIPIENTS: Final = 500  # of an operator's change: some milliseconds

Reported = Sequence[tuple[Message, tuple[QueuedRecipient, ...]]]


class SqliteStore:
    """A Store in a directory.

    directory       the spool shard; made if need be, with 0700
    clock           the time, seconds since the epoch
    executors       where the work is done: ``threads(reactor)``
    tell            gets set_aside and trouble
    files           the file system, for bodies
    shard           0..255, the shard's number among those of one relay
    reserve_octets  room kept for the day when the disk is full; 0 for none
    leave_free_octets  what large bodies leave free for the database
    vfs             the name of an apsw VFS, for the database
    reclaim_s       what was in hand in a former life is due so long after the start, for each attempt it had

    journals  see Store; may be changed at any time

    Raises SpoolInUse, SpoolNotOurs, SchemaTooNew, StoreUnavailable, OSError.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: IReactorTime,
        executors: Executors,
        tell: Tell = tell_nobody,
        files: Files | None = None,
        shard: int = 0,
        reserve_octets: int = RESERVE_OCTETS,
        leave_free_octets: int = LEAVE_FREE_OCTETS,
        vfs: str | None = None,
        reclaim_s: float = RECLAIM_S,
    ) -> None:
        files = files or DiskFiles()
        self._clock = clock
        self._executors = executors
        self._tell = tell
        self.journals = True
        self._is_closed = False
        self._closed: Deferred[None] | None = None
        self._looked_at = clock.seconds()
        self._overdue_after = FIRST_KEY
        self._spool = Spool(directory, files)
        self._reserve = Reserve(self._spool.reserve, reserve_octets, files)
        self._writer = Writer(self._spool.database, self._reserve, files, clock, vfs)
        self._listing = Listing(self._spool.database, vfs)
        self._journal = Journal(self._listing, self._read)
        self.bodies = Bodies(self._spool.bodies, files, executors.files, leave_free_octets)
        try:
            tally = Opening(self._spool, self._writer, self.bodies, files, clock, tell, reclaim_s).open()
        except BaseException:
            self._writer.close()
            self._spool.close()
            raise
        self.committer = Committer(
            self._writer, executors.storage, self.bodies, tell, tally, clock.seconds, executors.pause
        )
        self._ids = IdSource(clock, shard, tally.ids_below)
        self._databases_aside = self._spool.databases_aside()
        self._files_aside = len(files.names(directory / SET_ASIDE)) - len(self._databases_aside)
        self._take_reserve()

    # -- the way in -----------------------------------------------------------------------------

    def begin(self) -> SqliteDraft:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        if self.committer.is_full:
            self._look_for_room()
            raise StoreFull("no room on the disk of the spool")
        return SqliteDraft(self, self._ids.next())

    def commit(self, change: Change, body: BodyDraft | None) -> Deferred[Any]:
        """Commits new mail, its body first if that is a file."""
        if self.committer.is_full:
            if body is not None:
                body.abort()
            return fail(StoreFull("no room on the disk of the spool"))
        if body is None:
            return self.committer.add(change)

        def discard(failure: Failure) -> Failure:
            body.abort()
            return failure

        marked = self._mark(change.newest_id)
        return (
            marked.addCallback(lambda _: body.finish())
            .addCallback(lambda _: self.committer.add(change))
            .addErrback(discard)
        )

    def _mark(self, number: int) -> Deferred[Any]:
        """Moves the mark of the ids that were given beyond this one, before its body gets its name: by that a body
        which a crash leaves without its row is known as ours, and swept."""
        if number < self.committer.tally.ids_below:
            return succeed(None)
        return self.committer.add(Change(newest_id=number))

    def _take_reserve(self) -> None:
        try:
            self._reserve.restore()
        except StoreUnavailable as error:
            self.committer.is_full = isinstance(error, StoreFull)
            self._tell("trouble", error=f"there is no reserve for a full disk: {error}")

    def _look_for_room(self) -> None:
        """Tries now and then to take the reserve again; when that works, there is room for mail too."""
        now = self._clock.seconds()
        if now >= self._looked_at + LOOK_FOR_ROOM_EVERY_S:
            self._looked_at = now
            run_in(self._executors.files, self._reserve.restore).addCallbacks(self._has_room, lambda _: None)

    def _has_room(self, _: None) -> None:
        self.committer.is_full = False

    # -- trying ---------------------------------------------------------------------------------

    def lease(
        self, now: float, until: float, limit: int, resting: frozenset[str] = frozenset(), lane: str | None = None
    ) -> Deferred[Sequence[Leased]]:
        def read(taken: Sequence[Taken]) -> Deferred[Sequence[Leased]] | Sequence[Leased]:
            found = self._read_taken(taken)
            return found.addErrback(self._give_back, taken) if isinstance(found, Deferred) else found

        return self.committer.add(Task(Lease(now, until, limit, resting, lane))).addCallback(read)

    def _give_back(self, failure: Failure, taken: Sequence[Taken]) -> Failure:
        """What could not be read does not wait until its lease has run out."""
        due_at = self._clock.seconds() + UNREAD_AFTER_S
        for one in taken:
            self.committer.add(Task(GiveBack(one.message, one.numbers, due_at))).addErrback(lambda _: None)
        return failure

    def _read_taken(self, taken: Sequence[Taken]) -> Deferred[Sequence[Leased]] | Sequence[Leased]:
        if not taken:
            return ()
        return run_in(self._executors.reading, lambda: self._listing.taken(taken)).addCallback(self._leased)

    def _leased(self, found: Sequence[Found | Broken]) -> Sequence[Leased]:
        leased = []
        for one in found:
            if isinstance(one, Broken):
                self._put_away(one)
                continue
            message, recipients = one
            # An operator may have been quicker than the reading thread.
            if recipients := tuple(each for each in recipients if each.state is not State.HELD):
                leased.append(Leased(message, recipients))
        return leased

    def _put_away(self, broken: Broken) -> None:
        if broken.is_doubtful:
            self._tell(
                "trouble",
                id=to_text(broken.message),
                error=f"it cannot be read, and will be looked at again when its lease has run out: {broken.why}",
            )
        else:
            self._set_aside(broken)

    def _set_aside(self, broken: Broken) -> None:
        task = Task(SetAside(broken.message, broken.why, self._clock.seconds(), self.journals))
        self.committer.add(task).addErrback(lambda _: None)  # told by the committer; met again after its lease

    def overdue(
        self, now: float, until: float, limit: int, warn_before: float, expire_before: float
    ) -> Deferred[Sequence[Leased]]:
        def found(found: tuple[Keys, tuple[int, int]]) -> Deferred[Sequence[Leased]] | Sequence[Leased]:
            keys, self._overdue_after = found
            if not keys:
                return ()
            return self.committer.add(Task(TakeOverdue(keys, now, until))).addCallback(self._read_taken)

        look = partial(self._listing.overdue, self._overdue_after, now, limit, warn_before, expire_before)
        return self._read(look).addCallback(found)

    def record(self, settlement: Settlement) -> Deferred[Reported]:
        number = to_number(settlement.message_id)
        change = Change(finished=[f"[{number},{place}]" for place in settlement.finished])
        if self.journals:
            change.entries = [(number, *entry) for entry in settlement.entries]
        try:
            if settlement.changed:
                change.changed = [change_row(number, one) for one in settlement.changed]
                change.lanes = [(one.lane, one.due_at) for one in settlement.changed if one.state is State.WAITING]
            if not settlement.reports:
                change.result = ()
                return self.committer.add(change)
            return self._record_with_reports(change, number, settlement)
        except UnicodeEncodeError as error:
            return fail(StoreUnavailable(f"this cannot be written: {error}"))

    def _record_with_reports(self, change: Change, about: int, settlement: Settlement) -> Deferred[Reported]:
        change.messages, change.recipients, change.lanes = [], [], list(change.lanes)
        made = []
        bodies = []
        for new in settlement.reports:
            number = self._ids.next()
            is_large = len(new.content) > INLINE_LIMIT_OCTETS
            size = len(new.head) + len(new.content)
            content = None if is_large else new.content
            message = Message(to_text(number), new.envelope, new.origin, new.accepted_at, new.head, content, size)
            add_mail(change, number, message, new.recipients)
            made.append((message, queued(new.recipients)))
            if self.journals:
                readers = [str(one.recipient.address) for one in new.recipients]
                that = reported(message.id, readers, settlement.reported)
                those = [(number, *entry) for entry in new.entries]
                change.entries = [*change.entries, (about, new.accepted_at, that), *those]
            if is_large:
                bodies.append((self.bodies.draft(number), new.content))
        change.result = made
        if not bodies:
            return self.committer.add(change)
        return Deferred.fromCoroutine(self._record_with_bodies(change, bodies))

    async def _record_with_bodies(self, change: Change, bodies: Sequence[tuple[BodyDraft, bytes]]) -> Reported:
        try:
            await self._mark(change.newest_id)
            for body, content in bodies:
                await _written(body, content)
            made: Reported = await self.committer.add(change)
        except BaseException:
            for body, _ in bodies:
                body.abort()
            raise
        return made

    def release_lease(self, message_id: str, numbers: Sequence[int], due_at: float) -> Deferred[None]:
        return self.committer.add(Task(GiveBack(to_number(message_id), numbers, due_at)))

    def open(self, message_id: str) -> Content:
        return self.bodies.reader(to_number(message_id))

    def next_due(self, resting: frozenset[str] = frozenset()) -> Deferred[float | None]:
        return self.committer.add(Task(NextDue(resting)))

    # -- for operators --------------------------------------------------------------------------

    async def list(
        self, selection: Selection = EVERYTHING, after: str = "", newest_first: bool = False
    ) -> AsyncIterator[QueueRow]:
        before_it, behind_it = (LAST_KEY, FIRST_KEY) if newest_first else (FIRST_KEY, LAST_KEY)
        key = (to_number(after), behind_it[1]) if after else before_it
        while True:
            rows = await self._read(partial(self._listing.rows, selection, key, newest_first))
            for row in rows:
                yield row_of(row)
            if len(rows) < PORTION_ROWS:
                return
            key = (rows[-1][0], rows[-1][1])

    def read(self, message_id: str) -> Deferred[tuple[Message, tuple[QueuedRecipient, ...]] | None]:
        return self._read(lambda: self._listing.whole(to_number(message_id))).addCallback(self._understood)

    def _understood(self, found: Found | Broken | None) -> Found | None:
        if isinstance(found, Broken):
            self._set_aside(found)
            raise StoreUnavailable(f"the message is broken and was set aside: {found.why}")
        return found

    def hold(self, selection: Selection, why: str, by: str = "") -> Deferred[int]:
        noted = self._by(by, why)
        return self._in_steps(selection, (State.WAITING,), lambda keys: Hold(keys, why, noted))

    def release(self, selection: Selection, now: float, by: str = "") -> Deferred[int]:
        noted = self._by(by)
        return self._in_steps(selection, (State.HELD,), lambda keys: Release(keys, now, noted))

    def retry(self, selection: Selection, now: float, by: str = "") -> Deferred[int]:
        noted = self._by(by)
        return self._in_steps(selection, (State.WAITING,), lambda keys: Retry(keys, now, noted))

    def remove(self, selection: Selection, by: str = "") -> Deferred[int]:
        noted = self._by(by)
        return self._in_steps(selection, (), lambda keys: Remove(keys, noted))

    def _by(self, who: str, why: str = "") -> By | None:
        return By(who, self._clock.seconds(), why) if self.journals else None

    def _in_steps(
        self, selection: Selection, states: Sequence[State], make: Callable[[Keys], Callable[[Writer], int]]
    ) -> Deferred[int]:
        async def steps() -> int:
            changed = 0
            key = FIRST_KEY
            breath = Breath(self._clock, self.committer)
            while True:
                keys = await self._read(partial(self._listing.keys, selection, states, key, STEP_RECIPIENTS))
                if keys:
                    changed += await self.committer.add(Task(make(keys)))
                if len(keys) < STEP_RECIPIENTS:
                    return changed
                key = keys[-1]
                await breath.take()

        return Deferred.fromCoroutine(steps())

    def counts(self) -> Counts:
        tally = self.committer.tally
        databases = tuple(str(folder) for folder in self._databases_aside if holds_database(folder))
        return Counts(
            messages=tally.messages,
            octets=tally.octets,
            recipients={
                State.WAITING: tally.recipients - tally.held - tally.owing,
                State.HELD: tally.held,
                State.OWING: tally.owing,
            },
            oldest_at=tally.oldest_at,
            set_aside=tally.set_aside + self._files_aside + len(databases),
            journal=tally.journal,
            databases=databases,
        )

    def condition(self) -> Condition:
        committer = self.committer
        return Condition(committer.is_full, committer.trouble, committer.batches, committer.took_s)

    def lanes(self, limit: int = 20) -> Deferred[Mapping[str, int]]:
        return self._read(lambda: self._listing.lanes(limit))

    def lanes_that(self, is_wanted: Callable[[str], bool]) -> Deferred[frozenset[str]]:
        async def portions() -> frozenset[str]:
            wanted, key = frozenset[str](), FIRST_KEY
            while key != LAST_KEY:
                found, key = await self._read(partial(self._listing.lanes_that, is_wanted, key))
                wanted |= found
            return wanted

        return Deferred.fromCoroutine(portions())

    def ages(self, spans: Sequence[tuple[float, float]], limit: int) -> Deferred[Sequence[int]]:
        return self._read(lambda: self._listing.ages(spans, limit))

    # -- the journal ----------------------------------------------------------------------------

    def note(self, entries: Sequence[Entry]) -> Deferred[Sequence[str]]:
        if not self.journals:
            return succeed(())
        numbers = [self._ids.next() for _ in entries]
        change = Change(newest_id=max(numbers, default=0), result=[to_text(number) for number in numbers])
        change.entries = [(number, *entry) for number, entry in zip(numbers, entries, strict=True)]
        return self.committer.add(change)

    def journey(self, message_id: str) -> AsyncIterator[Entry]:
        return self._journal.journey(message_id)

    def journeys(
        self, since: float = 0.0, until: float = FOR_EVER, words: str = "", before: str = ""
    ) -> AsyncIterator[tuple[str, Sequence[Entry]]]:
        return self._journal.journeys(since, until, words, before)

    def follow(self, after: Place, limit: int) -> Deferred[Followed]:
        return self._read(lambda: self._listing.asked(lambda db: following.follow(db, after, limit)))

    def journal_end(self) -> Deferred[Place]:
        return self._read(lambda: self._listing.asked(following.last))

    def forget(self, before: float, octets: int) -> Deferred[int]:
        there = self.committer.tally.journal
        if not there:
            return succeed(0)
        breath = Breath(self._clock, self.committer)
        return Deferred.fromCoroutine(self._journal.forget(before, octets, there > octets, self.committer.add, breath))

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> Deferred[None]:
        if self._closed is None:
            self._is_closed = True
            self._closed = Deferred.fromCoroutine(self._close())
        closed: Deferred[None] = Deferred()  # for each who asks: the spool is free
        self._closed.addBoth(closed.callback)
        return closed

    async def _close(self) -> None:
        await run_in(self._executors.reading, self._listing.close)  # the writer is to be the last, and checkpoint
        await self.committer.close()
        for executor in (self._executors.storage, self._executors.reading, self._executors.files):
            executor.close()
        self._spool.close()

    def _read(self, work: Callable[[], Any]) -> Deferred[Any]:
        if self._is_closed:
            return fail(StoreUnavailable("the store is closed"))
        return run_in(self._executors.reading, work)


class SqliteDraft:
    """A message on its way in: in memory while it is small, then in a file."""

    __slots__ = ("_body", "_is_over", "_number", "_octets", "_pieces", "_store", "id")

    def __init__(self, store: SqliteStore, number: int) -> None:
        self.id = to_text(number)
        self._number = number
        self._store = store
        self._pieces: list[bytes] = []
        self._octets = 0
        self._body: BodyDraft | None = None
        self._is_over = False

    def write(self, data: bytes) -> Deferred[None] | None:
        self._octets += len(data)
        if self._body is not None:
            return self._body.write(data)
        self._pieces.append(data)
        if self._octets <= INLINE_LIMIT_OCTETS:
            return None
        begun = b"".join(self._pieces)
        self._pieces.clear()
        self._body = self._store.bodies.draft(self._number)
        return self._body.write(begun)

    def commit(
        self,
        envelope: Envelope,
        origin: Origin,
        head: bytes,
        recipients: Sequence[NewRecipient],
        accepted_at: float,
        entries: Sequence[Entry] = (),
    ) -> Deferred[Message]:
        if self._is_over:
            return fail(StoreUnavailable("the draft was committed or aborted before"))
        self._is_over = True
        content = None
        if self._body is None:
            content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        message = Message(self.id, envelope, origin, accepted_at, head, content, len(head) + self._octets)
        change = Change([], [], lanes=[], result=message)
        if entries and self._store.journals:
            change.entries = [(self._number, *entry) for entry in entries]
        try:
            add_mail(change, self._number, message, recipients)
        except (UnicodeEncodeError, ValueError) as error:
            if self._body is not None:
                self._body.abort()
            return fail(StoreUnavailable(f"the message cannot be written: {error}"))
        return self._store.commit(change, self._body)

    def abort(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._pieces.clear()
            if self._body is not None:
                self._body.abort()


def add_mail(change: Change, number: int, message: Message, recipients: Sequence[NewRecipient]) -> None:
    """Adds a message to a change.  Raises UnicodeEncodeError, ValueError for what cannot be stored."""
    if not recipients:
        raise ValueError("a message without recipients would stay for ever")
    change.messages = [*change.messages, (message_row(number, message), message.head, message.content)]
    rows = [recipient_row(number, place, one) for place, one in enumerate(recipients)]
    change.recipients = [*change.recipients, *rows]
    change.lanes = [*change.lanes, *((one.lane, one.due_at) for one in recipients if one.state is State.WAITING)]
    change.octets += message.size
    change.newest_id = number


async def _written(body: BodyDraft, content: bytes) -> None:
    """Writes a body that is in memory as a whole."""
    room = body.write(content)
    if room is not None:
        await room
    await body.finish()
