"""Group commit: all that arrives while one batch is being written goes into the next one.

Each batch is one transaction and one sync, however many messages wait for it, and one wake-up of the
reactor fires all their Deferreds.  The busier the relay, the larger the batches; when it is busy, they wait a moment to
become larger still (company.py).

When a queue that was long has become short, and nobody waits, the file becomes short too (``Writer.compact``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, fail

from relay.message.histogram import Histogram
from relay.message.step import Tell
from relay.queue.batch import Change, Tally
from relay.queue.bodies import Bodies
from relay.queue.company import ENOUGH_JOBS, WAIT_S, Company
from relay.queue.store import StoreFull, StoreUnavailable
from relay.queue.threads import Done, Executor
from relay.queue.writer import Job, Performed, Writer

BATCH_JOBS: Final = 1000
BATCH_OCTETS: Final = 8 * 1024 * 1024
BATCH_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
TOOK_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
COMPACT_FROM_OCTETS: Final = 64 * 1024 * 1024
COMPACT_BELOW_OCTETS: Final = 32 * 1024 * 1024
"""What is there, the journal too, is copied: some tenths of a second."""
COMPACT_AT_START_BELOW_OCTETS: Final = 256 * 1024 * 1024
"""Before anybody waits it may take some seconds."""


class Committer:
    """Feeds the writer, from the reactor's thread.

    tally    the queue in numbers, as of the last batch
    is_full  the disk had no room for new mail; stays until ``restore`` of the reserve succeeds
    added    how many jobs there were so far
    batches  how many jobs were done together
    took_s   how long each batch took, with its sync
    trouble  why the last batch could not be written; empty when it could
    """

    def __init__(
        self,
        writer: Writer,
        executor: Executor,
        bodies: Bodies,
        tell: Tell,
        tally: Tally,
        seconds: Callable[[], float],
        pause: Callable[[float], object],
    ) -> None:
        """
        seconds  the time
        pause    keeps the storage thread waiting, seconds

        Both are called in the storage thread.
        """
        self.tally = tally
        self.is_full = False
        self.added = 0
        self.batches = Histogram(BATCH_BOUNDS)
        self.took_s = Histogram(TOOK_BOUNDS_S)
        self.trouble = ""
        self._most_octets = tally.octets + tally.journal
        self._writer = writer
        self._executor = executor
        self._bodies = bodies
        self._tell = tell
        self._seconds = seconds
        self._pause = pause
        self._company = Company()
        self._waiting: deque[tuple[Job, Deferred[Any]]] = deque()
        self._busy = False  # a batch is being written, or waits for company
        self._closed: Deferred[None] | None = None

    def add(self, job: Job) -> Deferred[Any]:
        """Fires when the job is committed; fails with StoreUnavailable."""
        if self._closed is not None:
            return fail(StoreUnavailable("the store is closed"))
        fired: Deferred[Any] = Deferred()
        self.added += 1
        self._waiting.append((job, fired))
        if not self._busy:
            self._begin()
        return fired

    def close(self) -> Deferred[None]:
        """Fires when everything added is committed and the database is closed."""
        if self._closed is None:
            self._closed = Deferred()
            if not self._busy:
                self._begin()
        return self._closed

    def _begin(self) -> None:
        self._busy = True
        self._executor.submit(self._perform)

    def _perform(self) -> Done:
        """In the storage thread, which takes what waits at the last moment: a deque may be emptied from elsewhere."""
        if self._company.is_near and self._closed is None:
            # Here: a timer of the reactor stands still for an hour when the clock is set back by one.
            self._pause(WAIT_S)
            if len(self._waiting) < ENOUGH_JOBS:
                self._pause(WAIT_S)
        batch = self._take()
        if not batch:
            self._writer.close()
            return self._is_closed
        self._company.left(len(batch))
        began_at = self._seconds()
        done = self._writer.perform([job for job, _ in batch])
        return partial(self._performed, batch, done, self._seconds() - began_at)

    def _take(self) -> list[tuple[Job, Deferred[Any]]]:
        batch: list[tuple[Job, Deferred[Any]]] = []
        octets = 0
        while self._waiting and len(batch) < BATCH_JOBS and octets < BATCH_OCTETS:
            batch.append(self._waiting.popleft())
            job = batch[-1][0]
            octets += job.weight_octets if isinstance(job, Change) else 0
        return batch

    def _performed(self, batch: list[tuple[Job, Deferred[Any]]], done: Performed, took_s: float) -> None:
        self._busy = False
        self.batches.add(len(batch))
        self.took_s.add(max(0.0, took_s))
        self.trouble = done.trouble if done.tally is None else ""
        if self._waiting or self._closed is not None:
            self._begin()  # first of all: the disk works while the reactor does
        if done.tally is not None:
            self.tally = done.tally
            self._compact_if_short(done.tally.octets + done.tally.journal)
        if done.gone:
            self._bodies.remove(done.gone)
        for step, fields in done.steps:
            self._tell(step, **fields)
        for (_, fired), outcome in zip(batch, done.outcomes, strict=True):
            if isinstance(outcome, StoreUnavailable):
                self.is_full = self.is_full or isinstance(outcome, StoreFull)
                fired.errback(outcome)
            else:
                fired.callback(outcome)

    def _compact_if_short(self, octets: int) -> None:
        if octets > self._most_octets:
            self._most_octets = octets
        elif octets < COMPACT_BELOW_OCTETS and self._most_octets >= COMPACT_FROM_OCTETS and not self._busy:
            self._most_octets = 0
            self._executor.submit(self._compact)

    def _compact(self) -> Done:
        """In the storage thread."""
        self._writer.compact(COMPACT_FROM_OCTETS)
        return _nothing_to_tell

    def _is_closed(self) -> None:
        assert self._closed is not None
        self._closed.callback(None)


def _nothing_to_tell() -> None:
    """The file is shorter, or it is not."""
