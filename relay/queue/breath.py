"""Taking breath: a long change goes in steps, and between these, mail has most of the time."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from relay.queue.committer import Committer

BREATH: Final = 3.0  # so much longer than a step is the wait after it, when there is other work
LONGEST_S: Final = 0.2


class Breath:
    """Of one long change."""

    def __init__(self, clock: IReactorTime, committer: Committer) -> None:
        self._clock = clock
        self._committer = committer
        self.step()

    def step(self) -> None:
        """A step begins, which is one job."""
        self._begun = self._clock.seconds()
        self._jobs = self._committer.added

    async def take(self) -> None:
        """The step is over, and there will be another."""
        step_s = self._clock.seconds() - self._begun
        if self._committer.added > self._jobs + 1 and step_s > 0:
            await deferLater(self._clock, min(BREATH * step_s, LONGEST_S), _nothing)
        self.step()


def _nothing() -> None:
    """What is done after a breath."""
