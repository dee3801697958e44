"""Taking due recipients in hand, and giving them back: tasks of the storage thread.

Lanes are chosen from ``lanes``, messages from the index ``due``; no message's row is touched here.  The rows
themselves are read afterwards, in the reading thread, so that mail coming in does not wait for it.

The rule that must not be broken: ``due_at`` has moved ahead, on disk, before anybody is tried.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from relay.queue.rows import dumps
from relay.queue.schema import json_text
from relay.queue.writer import Writer

# All recipients that are due in these lanes at these times, of these messages: [lane, message, number].
DUE: Final = """
SELECT json_group_array(json_array(recipients.lane, message, number)) FROM json_each(?1) AS wanted
CROSS JOIN recipients
    ON recipients.lane = wanted.value->>0 AND due_at = wanted.value->>1 AND message = wanted.value->>2 AND state < 2
"""

TAKE: Final = """
UPDATE recipients SET due_at = ?1, attempts = attempts + 1, state = 1
WHERE (message, number) IN (SELECT value->>1, value->>2 FROM json_each(?2))
"""

OWING: Final = """
SELECT json_group_array(json_array(message, number)) FROM recipients
WHERE state = 3 AND due_at <= ?1 AND message IN (
    SELECT DISTINCT message FROM (SELECT message FROM recipients WHERE state = 3 AND due_at <= ?1
                                  ORDER BY due_at, message LIMIT 10000) LIMIT ?2)
"""

TAKE_OWING: Final = """
UPDATE recipients SET due_at = ?1 WHERE state = 3 AND (message, number) IN (
    SELECT value->>0, value->>1 FROM json_each(?2))
"""

EARLIEST_OWING: Final = "SELECT due_at FROM recipients WHERE state = 3 ORDER BY due_at LIMIT 1"

# Of these keys those that still wait and are due: [lane, message, number].
STILL_DUE: Final = """
SELECT json_group_array(json_array(lane, message, number)) FROM recipients
WHERE (message, number) IN (SELECT value->>0, value->>1 FROM json_each(?1)) AND state < 2 AND due_at <= ?2
"""

TAKE_UNCOUNTED: Final = """
UPDATE recipients SET due_at = ?1, state = 1
WHERE (message, number) IN (SELECT value->>1, value->>2 FROM json_each(?2))
"""

# ?1 message, ?2 numbers, ?3 due_at
GIVE_BACK: Final = """
UPDATE recipients SET
    due_at = ?3,
    attempts = iif(state = 3, attempts, max(0, attempts - 1)),
    state = iif(state = 1, 0, state)
WHERE message = ?1 AND number IN (SELECT value FROM json_each(?2))
"""

LANES_OF: Final = """
SELECT json_group_array(DISTINCT lane) FROM recipients
WHERE message = ?1 AND number IN (SELECT value FROM json_each(?2)) AND state < 2
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message of which recipients were taken in hand; ``due_at`` is the lease."""

    message: int
    numbers: tuple[int, ...]


_ByLane = dict[tuple[str | None, int], list[int]]
"""(lane, or None for what is owing; message) -> numbers."""


def _as_taken(taken: _ByLane) -> list[Taken]:
    return [Taken(message, tuple(sorted(numbers))) for (_, message), numbers in taken.items()]


@dataclass(frozen=True, slots=True)
class Lease:
    """The task of ``Store.lease``."""

    now: float
    until: float
    limit: int
    resting: frozenset[str]
    lane: str | None

    def __call__(self, writer: Writer) -> list[Taken]:
        if self.until <= self.now:
            raise ValueError(f"a lease from {self.now} until {self.until} is none")
        taken: _ByLane = {}
        if self.lane is None:
            self._take_owing(writer, taken)
        elif self.lane in self.resting:
            return []
        resting = dumps(list(self.resting))
        while (room := self.limit - len(taken)) > 0:
            lanes = [self.lane] if self.lane is not None else writer.lanes.choose(self.now, room, resting)
            if not lanes:
                break
            found = self._take(writer, lanes, max(1, room // len(lanes)), taken)
            writer.lanes.served(lanes, self.now)
            if self.lane is not None and not found:
                break
        return _as_taken(taken)

    def _take_owing(self, writer: Writer, taken: _ByLane) -> None:
        found = json_text(writer.db, OWING, (self.now, self.limit))
        writer.db.execute(TAKE_OWING, (self.until, found)).fetchall()
        for message, number in json.loads(found):
            taken.setdefault((None, message), []).append(number)

    def _take(self, writer: Writer, lanes: list[str], of_each: int, taken: _ByLane) -> int:
        """Takes so many messages of each lane, and gives how many recipients that were."""
        first = [one for due in writer.lanes.first_due(lanes, self.now, of_each) for one in due]
        found = json_text(writer.db, DUE, (dumps(first),))
        writer.db.execute(TAKE, (self.until, found)).fetchall()
        keys = json.loads(found)
        for lane, message, number in keys:
            taken.setdefault((lane, message), []).append(number)
        return len(keys)


@dataclass(frozen=True, slots=True)
class TakeOverdue:
    """The task of ``Store.overdue``, for keys that the reading thread has found."""

    keys: Sequence[tuple[int, int]]
    now: float
    until: float

    def __call__(self, writer: Writer) -> list[Taken]:
        found = json_text(writer.db, STILL_DUE, (dumps(self.keys), self.now))
        writer.db.execute(TAKE_UNCOUNTED, (self.until, found)).fetchall()
        taken: _ByLane = {}
        for lane, message, number in json.loads(found):
            taken.setdefault((lane, message), []).append(number)
        return _as_taken(taken)


@dataclass(frozen=True, slots=True)
class GiveBack:
    """The task of ``Store.release_lease``."""

    message: int
    numbers: Sequence[int]
    due_at: float

    def __call__(self, writer: Writer) -> None:
        numbers = dumps(list(self.numbers))
        writer.db.execute(GIVE_BACK, (self.message, numbers, self.due_at)).fetchall()
        lanes = json.loads(json_text(writer.db, LANES_OF, (self.message, numbers)))
        writer.lanes.note((lane, self.due_at) for lane in lanes)


@dataclass(frozen=True, slots=True)
class NextDue:
    """The task of ``Store.next_due``."""

    resting: frozenset[str]

    def __call__(self, writer: Writer) -> float | None:
        earliest = writer.lanes.earliest(dumps(list(self.resting)))
        owing = writer.value(EARLIEST_OWING)
        return min((at for at in (earliest, owing) if at is not None), default=None)
