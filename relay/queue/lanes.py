"""Which lane is next: fair among lanes, with a million rows behind them and none of them read.

The table ``lanes`` (temporary: in memory, on disk only when it grows beyond that, rebuilt at start)
has one row a lane with waiting recipients: since when it has a claim to be served.  That is the time its
earliest recipient is due, or, when it was served and more is due, the time it was served; so who
was served longest ago comes first, and a lane with 100,000 due messages takes its turn like one with a single one.

A claim may be too early (its recipient is finished) and never too late: it is corrected from the
index ``due`` when it is looked at.  Recipients that arrive are noted in a dictionary of bounded size
first: most are finished before anybody asks, and cost no statement at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from relay.queue.rows import dumps
from relay.queue.schema import json_text

if TYPE_CHECKING:
    import apsw

DEFINITION: Final = """
CREATE TEMP TABLE lanes(lane TEXT PRIMARY KEY, claim REAL NOT NULL, turn INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX claims ON lanes(claim, turn);
"""

REBUILD: Final = "INSERT INTO lanes SELECT lane, min(due_at), 0 FROM recipients WHERE state < 2 GROUP BY lane"

NOTE: Final = """
INSERT INTO lanes SELECT value->>0, value->>1, 0 FROM json_each(?1) WHERE true
ON CONFLICT(lane) DO UPDATE SET claim = min(claim, excluded.claim)
"""

CHOOSE: Final = """
SELECT json_group_array(lane) FROM (
    SELECT lane FROM lanes WHERE claim <= ?1 AND lane NOT IN (SELECT value FROM json_each(?2))
    ORDER BY claim, turn LIMIT ?3)
"""

EARLIEST: Final = """
SELECT lane, claim, (SELECT due_at FROM recipients WHERE recipients.lane = lanes.lane AND state < 2
                     ORDER BY due_at LIMIT 1)
FROM lanes WHERE lane NOT IN (SELECT value FROM json_each(?1)) ORDER BY claim, turn LIMIT ?2
"""

# For each of the lanes ?1 its first ?3 messages that are due at ?2, as [lane, due_at, message].
FIRST: Final = """
SELECT json_group_array(json((
    SELECT json_group_array(json_array(wanted.value, due_at, message)) FROM (
        SELECT DISTINCT due_at, message FROM recipients
        WHERE lane = wanted.value AND state < 2 AND due_at <= ?2
        ORDER BY due_at, message LIMIT ?3))))
FROM json_each(?1) AS wanted
"""

# ``turn`` counts on from ?3; a lane without recipients is left with a claim that never comes.
SERVED: Final = """
UPDATE lanes SET
    turn = ?3 + served.key,
    claim = max(?2, coalesce((SELECT due_at FROM recipients WHERE recipients.lane = lanes.lane AND state < 2
                              ORDER BY due_at LIMIT 1), 9e999))
FROM json_each(?1) AS served WHERE lanes.lane = served.value
"""

EMPTIED: Final = "DELETE FROM lanes WHERE claim = 9e999"

CORRECT: Final = """
UPDATE lanes SET claim = coalesce((SELECT due_at FROM recipients WHERE recipients.lane = lanes.lane AND state < 2
                                   ORDER BY due_at LIMIT 1), 9e999)
WHERE lane IN (SELECT value FROM json_each(?))
"""

CORRECTED_AT_ONCE: Final = 100
"""A message to a thousand domains leaves a thousand claims behind; one by one they would be as many questions."""

NOTED_LIMIT: Final = 4096


class Lanes:
    """The lanes of one database; lives in the storage thread."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._turn = 0
        self._noted: dict[str, float] = {}  # not in the table yet
        self._flushed: dict[str, float] = {}  # in the table, if the transaction is committed
        db.execute(DEFINITION).fetchall()
        db.execute(REBUILD).fetchall()

    def note(self, lanes: Iterable[tuple[str, float]]) -> None:
        """A recipient of this lane is due then."""
        noted = self._noted
        for lane, due_at in lanes:
            if due_at < noted.get(lane, math.inf):
                noted[lane] = due_at

    @property
    def is_crowded(self) -> bool:
        """So much is noted that it should be flushed, within a transaction."""
        return len(self._noted) > NOTED_LIMIT

    def flush(self) -> None:
        """Writes the notes to the table."""
        if self._noted:
            self._db.execute(NOTE, (dumps(list(self._noted.items())),)).fetchall()
            self._flushed.update(self._noted)
            self._noted = {}

    def committed(self) -> None:
        self._flushed = {}

    def rolled_back(self) -> None:
        self.note(self._flushed.items())
        self._flushed = {}

    def choose(self, now: float, limit: int, resting: str) -> list[str]:
        """The lanes to be served, the one with the oldest claim first.  ``resting`` is a JSON array."""
        self.flush()
        chosen: list[str] = json.loads(json_text(self._db, CHOOSE, (now, resting, limit)))
        return chosen

    def first_due(self, lanes: list[str], now: float, of_each: int) -> list[list[tuple[str, float, int]]]:
        """For each lane its first due messages, as (lane, due_at, message)."""
        found = json_text(self._db, FIRST, (dumps(lanes), now, of_each))
        first: list[list[tuple[str, float, int]]] = json.loads(found)
        return first

    def served(self, lanes: list[str], now: float) -> None:
        """Corrects their claims, now that something was taken from them or nothing was there."""
        self._turn += 1
        self._db.execute(SERVED, (dumps(lanes), now, self._turn)).fetchall()
        self._db.execute(EMPTIED).fetchall()
        self._turn += len(lanes)

    def earliest(self, resting: str) -> float | None:
        """When the first recipient of a lane that does not rest is due."""
        self.flush()
        limit = 1  # mostly the first claim is right
        while rows := [_claim(row) for row in self._db.execute(EARLIEST, (resting, limit)).fetchall()]:
            _, claim, due_at = rows[0]
            if due_at is not None and due_at <= claim:
                return claim
            wrong = [lane for lane, claim, due_at in rows if due_at is None or due_at > claim]
            self._db.execute(CORRECT, (dumps(wrong),)).fetchall()
            self._db.execute(EMPTIED).fetchall()
            limit = CORRECTED_AT_ONCE
        return None


def _claim(row: tuple[Any, ...]) -> tuple[str, float, float | None]:
    lane, claim, due_at = row
    return lane, claim, due_at
