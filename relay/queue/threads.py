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
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

T = TypeVar("T")

Done = Callable[[], object]
Work = Callable[[], Done]


class Executor(Protocol):
    """Runs work in the order in which it came; with several threads, begins it in that order."""

    def submit(self, work: Work) -> None: ...

    def close(self) -> None:
        """Waits until everything submitted has run.  What is to be done afterwards may come later."""
        ...


class Threads:
    """An Executor of so many threads; they start with the first work."""

    def __init__(self, reactor: IReactorFromThreads, name: str, count: int = 1) -> None:
        self._reactor = reactor
        self._name = name
        self._count = count
        self._threads: list[Thread] = []
        self._queue: SimpleQueue[Work | None] = SimpleQueue()

    def submit(self, work: Work) -> None:
        if len(self._threads) < self._count:
            # A daemon, so that a process that ends in disorder does not hang: what was not committed was not promised.
            thread = Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._queue.put(work)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            self._reactor.callFromThread(work())

    def close(self) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()


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


def threads(reactor: IReactorFromThreads) -> Executors:
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
