"""Executors without threads: work is done at once, or when the test says so."""

from __future__ import annotations

from collections import deque

from relay.queue.threads import Executors, Work


class Inline:
    """Does the work at once; what is submitted meanwhile comes after it, as with a thread."""

    def __init__(self) -> None:
        self._queue: deque[Work] = deque()
        self._running = False

    def submit(self, work: Work) -> None:
        self._queue.append(work)
        if not self._running:
            self._running = True
            try:
                while self._queue:
                    self._queue.popleft()()()
            finally:
                self._running = False

    def close(self) -> None:
        assert not self._queue


class ByHand:
    """Does nothing until it is told to."""

    def __init__(self) -> None:
        self.queue: deque[Work] = deque()

    def submit(self, work: Work) -> None:
        self.queue.append(work)

    def run_one(self) -> None:
        self.queue.popleft()()()

    def run_all(self) -> None:
        while self.queue:
            self.run_one()

    def close(self) -> None:
        self.run_all()


def inline() -> Executors:
    """All three places of work, without threads."""
    return Executors(Inline(), Inline(), Inline())
