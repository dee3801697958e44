"""The last lines of the log, in memory: for the page, the API and whoever wants to follow them.

Only so many are kept, and who follows too slowly misses some and hears how many; nobody ever waits for a reader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

LINES_KEPT = 1000


class Line(NamedTuple):
    """A line of the log, not yet put in words.

    at      seconds since the epoch
    level   of relay.operate.steps
    fields  as they were told
    """

    at: float
    level: int
    step: str
    fields: Mapping[str, object]


class Recent:
    """See the module.

    made  lines there ever were: the number of the next one
    """

    def __init__(self, kept: int = LINES_KEPT) -> None:
        self.made = 0
        self._lines: deque[Line] = deque(maxlen=kept)
        self._append = self._lines.append

    def add(self, line: Line) -> None:
        self.made += 1
        self._append(line)

    def since(self, number: int) -> tuple[int, Sequence[Line]]:
        """The lines from this number on that are still there, and how many of them are not."""
        first = self.made - len(self._lines)
        lost = max(0, first - number)
        return lost, tuple(islice(self._lines, max(0, number - first), None))

    def last(self, count: int, level: int) -> Sequence[Line]:
        """The last so many lines of at least a level, oldest first."""
        found = [line for line in self._lines if line.level >= level]
        return found[max(0, len(found) - count) :]
