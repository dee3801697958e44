"""The store's threads, without threads: work is done in its order, each piece when the disk comes to it."""

from __future__ import annotations

from collections import deque
from random import Random

from twisted.internet.interfaces import IReactorTime

from relay.queue.threads import Done, Executors, Work


class Leisurely:
    """An Executor that takes its time, by chance.

    longest_s  how long one piece of work may take
    """

    def __init__(self, clock: IReactorTime, chance: Random, longest_s: float) -> None:
        self._clock = clock
        self._chance = chance
        self._longest_s = longest_s
        self._waiting: deque[Work] = deque()
        self._busy = False

    def submit(self, work: Work) -> None:
        self._waiting.append(work)
        if not self._busy:
            self._begin()

    def close(self) -> None:
        while self._waiting:
            self._clock.callLater(0, self._waiting.popleft()())

    def _begin(self) -> None:
        self._busy = True
        self._clock.callLater(self._chance.random() ** 3 * self._longest_s, self._run)

    def _run(self) -> None:
        if self._waiting:
            # What was done comes back in a turn of its own: a crash may come in between.
            self._clock.callLater(self._chance.random() * 0.001, self._done, self._waiting.popleft()())
        else:
            self._busy = False

    def _done(self, done: Done) -> None:
        self._busy = False
        if self._waiting:
            self._begin()
        done()


def leisurely(clock: IReactorTime, chance: Random, longest_s: float) -> Executors:
    """The three of a store."""
    storage, reading, files = (Leisurely(clock, chance, longest_s) for _ in range(3))
    return Executors(storage, reading, files, pause=_takes_its_time_anyway)


def _takes_its_time_anyway(seconds: float) -> None: ...
