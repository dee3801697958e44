"""Where the work that touches the disk is done: in threads, or wherever a simulation wants it.

Work is a function without arguments.  It runs elsewhere, and what it returns is a function too, that
runs back in the reactor's thread: ``work`` touches the disk, ``done`` touches the relay.  Nothing else
crosses the border, but for the line of jobs that a batch is taken from (committer.py).  Work never
raises: it turns what went wrong into something to be done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

T = TypeVar("T")

Done = Callable[[], object]
Work = Callable[[], Done]


class Executor(Protocol):
    """Runs work in the order in which it came; with several threads, begins it in that order."""

    def submit(self, work: Work) -> None: ...

    def close(self) -> None:
        """Waits until everything submitted has run.  What is to be done afterwards may come later."""
        ...


START_AGAIN_S: Final = 1.0


class IThreadingReactor(IReactorFromThreads, IReactorTime):
    """What of a reactor threads need.  Every reactor of Twisted has it."""


class Threads:
    """An Executor of so many threads; they start with the first work."""

    def __init__(self, reactor: IThreadingReactor, name: str, count: int = 1) -> None:
        self._reactor = reactor
        self._name = name
        self._count = count
        self._threads: list[Thread] = []
        self._queue: SimpleQueue[Work | None] = SimpleQueue()

    def submit(self, work: Work) -> None:
        self._queue.put(work)
        if len(self._threads) < self._count:
            self._start_one()

    def _start_one(self) -> None:
        # A daemon, so that a process that ends in disorder does not hang: what was not committed was not promised.
        thread = Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has none to give now; what is to be done waits
            if not self._threads and not self._queue.empty():
                self._reactor.callLater(START_AGAIN_S, self._start_one)
            return
        self._threads.append(thread)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            self._reactor.callFromThread(work())

    def close(self) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        while not self._queue.empty():  # there never was a thread
            work = self._queue.get()
            assert work is not None
            self._reactor.callFromThread(work())


@dataclass(frozen=True, slots=True)
class Executors:
    """The three places of work of a store.

    storage  the one that writes the database; strictly in order
    reading  the one that reads it for operators and for the scheduler
    files    those that read and write the files of large bodies
    pause    how work waits, in its thread, for so many seconds
    """

    storage: Executor
    reading: Executor
    files: Executor
    pause: Callable[[float], object] = time.sleep


def threads(reactor: IThreadingReactor) -> Executors:
    """As it is in production.  Several threads for files, so that one slow disk read holds up no other message."""
    return Executors(
        Threads(reactor, "relay-storage"), Threads(reactor, "relay-reading"), Threads(reactor, "relay-files", 4)
    )


def run_in(executor: Executor, work: Callable[[], T]) -> Deferred[T]:
    """Fires in the reactor's thread with what ``work`` gave or raised there."""
    fired: Deferred[T] = Deferred()

    def there() -> Done:
        try:
            value = work()
        except Exception as error:
            raised = error
            return lambda: fired.errback(raised)
        return lambda: fired.callback(value)

    executor.submit(there)
    return fired
