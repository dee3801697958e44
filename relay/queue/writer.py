"""The one connection that writes, in the storage thread: transactions, and what happens when one fails.

A failed transaction leaves nothing half done.  Why it failed decides what comes next:

    no room on the disk   the reserve is given up, new mail of the batch is refused, results are written
    a job's own fault     (a row that breaks a rule, a defect, a broken page) the jobs are done one by one,
                          so that it fails alone
    the disk's fault      all jobs fail, and the database is opened anew for the next batch

Before either of the first two, the batch is tried once more without what it has for the journal: if that was in the
way, the journal rests for a minute, and mail goes on.

A commit that failed may yet be found after a crash, if its octets had reached the disk: then a message is delivered
although its client was told 451 and sends it again.  Twice, never zero times.  While we live it is not found: SQLite
would take it out of its log when the last connection is closed and the next one opened, so one, which does nothing
else, stays open (``_anchor``).

The rule that must not be broken: a job's value is given out only after its transaction is committed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apsw
from twisted.internet.interfaces import IReactorTime

from relay.queue import batch, schema
from relay.queue.batch import Change, Tally
from relay.queue.files import Files, trouble_of
from relay.queue.lanes import Lanes
from relay.queue.store import StoreFull, StoreUnavailable

REOPEN_AFTER_S: Final = 1.0
JOURNAL_RESTS_S: Final = 60.0

# These are the job's own fault or concern only the pages that it touched.
_ALONE: Final = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.TooBigError,
    apsw.SQLError,
    apsw.CorruptError,
)


@dataclass(slots=True)
class Task:
    """A job that is more than a change: runs in the storage thread, within the transaction."""

    work: Callable[[Writer], Any]


Job = Change | Task


@dataclass(slots=True)
class Performed:
    """What came of a batch.

    outcomes  for each job its value, or the StoreUnavailable with which it failed
    tally     the queue in numbers, or None when nothing was written
    gone      messages whose files may be removed now
    steps     what is to be told: (step, fields)
    trouble   why nothing could be written, where that was not the jobs' own fault
    """

    outcomes: list[Any]
    tally: Tally | None = None
    gone: list[int] = field(default_factory=list)
    steps: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    trouble: str = ""

    def tell(self, step: str, **fields: object) -> None:
        self.steps.append((step, fields))


class Reserve:
    """Room on the disk for the day when there is none: a file that is given up then."""

    def __init__(self, path: Path, octets: int, files: Files) -> None:
        self._path = path
        self._octets = octets
        self._files = files

    def release(self) -> bool:
        """Gives the room up; False when that was done before."""
        if self._files.size(self._path) is None:
            return False
        self._files.remove(self._path)
        return True

    def restore(self) -> None:
        """Takes the room again.  Raises StoreFull when there is none, StoreUnavailable."""
        try:
            if self._octets and self._files.size(self._path) != self._octets:
                self._files.allocate(self._path, self._octets)
        except OSError as error:
            raise trouble_of(error) from error


class Writer:
    """Lives in the storage thread once it is opened."""

    def __init__(self, path: Path, reserve: Reserve, files: Files, clock: IReactorTime, vfs: str | None = None) -> None:
        self.reserve = reserve
        self._path = path
        self._files = files
        self._clock = clock
        self._vfs = vfs
        self._opened_at = 0.0
        self._db: apsw.Connection | None = None
        self._anchor: apsw.Connection | None = None
        self._lanes: Lanes | None = None
        self._ids_below = 0
        self._journal_rests_until = 0.0
        self._now_done: Performed | None = None

    # -- for tasks --------------------------------------------------------------------------------

    @property
    def db(self) -> apsw.Connection:
        assert self._db is not None
        return self._db

    @property
    def lanes(self) -> Lanes:
        assert self._lanes is not None
        return self._lanes

    def tally(self) -> Tally:
        """The queue in numbers, read."""
        return batch.read_tally(self.db)

    def value(self, sql: str, *bindings: Any) -> Any:
        """The first value of a statement's first row, or None."""
        rows = self.db.execute(sql, bindings).fetchall()
        return rows[0][0] if rows else None

    def write(self, change: Change) -> None:
        """Writes a change within a task."""
        self._applied(batch.write(self.db, [change], self._ids_below, self.is_journaling))

    @property
    def is_journaling(self) -> bool:
        """Whether the journal can be written, as far as is known."""
        return self._clock.seconds() >= self._journal_rests_until

    def tell(self, step: str, **fields: object) -> None:
        """To be told when the task is committed."""
        assert self._now_done is not None
        self._now_done.tell(step, **fields)

    # -- opening ----------------------------------------------------------------------------------

    def open(self) -> Tally:
        """Opens the database as it is on disk.  Raises apsw.Error, SchemaTooNew, OSError."""
        self._opened_at = self._clock.seconds()
        self._db = schema.open_for_writing(str(self._path), self._vfs)
        try:
            schema.migrate(self.db)
            self.db.execute(batch.DEFINITION).fetchall()
            self._lanes = Lanes(self.db)
            tally = self.tally()
            self._drop_anchor()
            # By now there is a log.  SQLite syncs its name too, but goes on as if nothing were when that fails (its
            # unixSync); a commit in a log without a name is lost with the power.
            self._files.sync_directory(self._path.parent)
        except BaseException:
            self._part()
            raise
        self._ids_below = tally.ids_below
        return tally

    def close(self) -> None:
        """For good, or so that it can be found anew as it is on disk."""
        anchor, self._anchor = self._anchor, None
        if anchor is not None:
            with contextlib.suppress(apsw.Error):
                anchor.close()  # first: it could not checkpoint
        self._part()

    def _part(self) -> None:
        """Closes the connection that writes: the next is opened on what was committed."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(apsw.Error):
                db.close()

    def _drop_anchor(self) -> None:
        if self._anchor is None:
            self._anchor = schema.open_for_reading(str(self._path), self._vfs)
            self._anchor.execute("SELECT 1 FROM tally").fetchall()  # only now it has the log open

    def compact(self, from_octets: int) -> None:
        """Gives the disk back what is empty in the file, if that is much; costs what copying the rest costs.

        Not by ``auto_vacuum``, which would keep books of every page with every message.  When it fails, or a reader
        is in the way, there is a next time.
        """
        if self._db is None:
            return
        with contextlib.suppress(apsw.Error):
            empty = schema.pragma(self._db, "freelist_count") * schema.pragma(self._db, "page_size")
            if empty >= from_octets:
                self._db.execute("VACUUM").fetchall()
                schema.pragma(self._db, "wal_checkpoint(TRUNCATE)")

    def _must_be_open(self) -> None:
        if self._db is None:
            if self._clock.seconds() < self._opened_at + REOPEN_AFTER_S:
                raise StoreUnavailable("the database could not be used a moment ago")
            try:
                self.open()
            except (apsw.Error, OSError) as error:
                raise StoreUnavailable(f"the database cannot be opened: {error}") from error

    # -- a batch ----------------------------------------------------------------------------------

    def perform(self, jobs: Sequence[Job]) -> Performed:
        """Does the jobs in one transaction, and if that fails, as many of them as can be done.  Never raises."""
        try:
            self._must_be_open()
            return self._transaction(jobs)
        except Exception as error:
            trouble, is_own_fault = _trouble(error)
            if (is_own_fault or isinstance(trouble, StoreFull)) and self._may_be_the_journal(jobs):
                return self._without_journal(jobs, trouble, is_own_fault)
            return self._perform_less(jobs, trouble, is_own_fault)

    def _may_be_the_journal(self, jobs: Sequence[Job]) -> bool:
        return self.is_journaling and any(isinstance(job, Task) or job.entries for job in jobs)

    def _without_journal(self, jobs: Sequence[Job], trouble: StoreUnavailable, is_own_fault: bool) -> Performed:
        """The journal must not keep mail from going: tries without it."""
        self._journal_rests_until = self._clock.seconds() + JOURNAL_RESTS_S
        try:
            done = self._transaction(jobs)
        except Exception as error:
            if is_own_fault:  # not the journal's
                self._journal_rests_until = 0.0
            return self._perform_less(jobs, *_trouble(error))
        done.tell("trouble", error=f"the journal cannot be written, and mail goes on without it: {trouble}")
        return done

    def _perform_less(self, jobs: Sequence[Job], trouble: StoreUnavailable, is_own_fault: bool) -> Performed:
        failed = Performed([trouble] * len(jobs), trouble="" if is_own_fault else str(trouble))
        if isinstance(trouble, StoreFull):
            settling = [at for at, job in enumerate(jobs) if not (isinstance(job, Change) and job.is_new_mail)]
            if self._release_reserve(failed) or 0 < len(settling) < len(jobs):
                return self._some(jobs, settling, failed)
        elif is_own_fault:
            if len(jobs) > 1:
                for at in range(len(jobs)):
                    self._some(jobs, [at], failed)
                return failed
        elif self._db is not None:
            self._part()
        failed.tell("trouble", error=str(trouble), jobs=len(jobs))
        return failed

    def _some(self, jobs: Sequence[Job], places: list[int], into: Performed) -> Performed:
        """Performs only the jobs at these places."""
        if places:
            done = self.perform([jobs[at] for at in places])
            for at, outcome in zip(places, done.outcomes, strict=True):
                into.outcomes[at] = outcome
            into.tally = done.tally or into.tally
            into.gone += done.gone
            into.steps += done.steps
        return into

    def _release_reserve(self, told: Performed) -> bool:
        try:
            released = self.reserve.release()
        except OSError:
            return False
        if released:
            told.tell("trouble", error="the disk is full: new mail is refused, the reserve is given up for results")
        return released

    def _transaction(self, jobs: Sequence[Job]) -> Performed:
        changes = [job for job in jobs if isinstance(job, Change)]
        for change in changes:
            self.lanes.note(change.lanes)  # early is harmless
        self._now_done = done = Performed([])
        journaled = self.is_journaling
        if len(changes) == len(jobs) and not self.lanes.is_crowded:
            self._applied(batch.write(self.db, changes, self._ids_below, journaled))
            done.outcomes = [change.result for change in changes]
            self._ids_below = done.tally.ids_below if done.tally else self._ids_below
            return done
        self.db.execute("BEGIN IMMEDIATE").fetchall()
        try:
            if changes:
                self._applied(batch.write(self.db, changes, self._ids_below, journaled))
            done.outcomes = [job.result if isinstance(job, Change) else job.work(self) for job in jobs]
            if self.lanes.is_crowded:
                self.lanes.flush()
            done.tally = self.tally()
            self.db.execute("COMMIT").fetchall()
        except BaseException:
            self.lanes.rolled_back()
            if self.db.in_transaction:
                self.db.execute("ROLLBACK").fetchall()
            raise
        self.lanes.committed()
        self._ids_below = done.tally.ids_below
        return done

    def _applied(self, written: batch.Written) -> None:
        assert self._now_done is not None
        self._now_done.tally = written.tally
        self._now_done.gone += written.gone


def _trouble(error: Exception) -> tuple[StoreUnavailable, bool]:
    """What an exception means for the caller, and whether it may be one job's own fault."""
    if isinstance(error, StoreUnavailable):
        return error, False
    if isinstance(error, apsw.FullError):
        return StoreFull("no room on the disk of the spool"), False
    if isinstance(error, OSError):
        return trouble_of(error), False
    if isinstance(error, apsw.Error) and not isinstance(error, _ALONE):
        return StoreUnavailable(f"the database cannot be used: {error}"), False
    return StoreUnavailable(f"the store failed: {type(error).__name__}: {error}"), True
