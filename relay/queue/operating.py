"""What an operator does to many recipients: tasks of the storage thread, for one portion of keys each.

Who is meant was read before (listing.py), so each statement looks again whether it still applies, and counts
only what it changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from relay.queue.batch import Change
from relay.queue.rows import dumps
from relay.queue.schema import json_text
from relay.queue.writer import Writer

Keys = list[tuple[int, int]]

_THESE: Final = "(message, number) IN (SELECT value->>0, value->>1 FROM json_each(?1))"
_LANES: Final = f"SELECT json_group_array(DISTINCT lane) FROM recipients WHERE {_THESE}"
_HOLD: Final = f"UPDATE recipients SET state = 2, note = ?2 WHERE {_THESE} AND state < 2"
_RELEASE: Final = f"UPDATE recipients SET state = 0, due_at = ?2 WHERE {_THESE} AND state = 2"
# One that is leased is being tried already; if its lease is over, nobody tries it.
_RETRY: Final = (
    f"UPDATE recipients SET state = 0, due_at = ?2 WHERE {_THESE} AND (state = 0 OR state = 1 AND due_at <= ?2)"
)
_COUNT: Final = f"SELECT count(*) FROM recipients WHERE {_THESE}"


@dataclass(frozen=True, slots=True)
class Hold:
    keys: Keys
    why: str

    def __call__(self, writer: Writer) -> int:
        writer.db.execute(_HOLD, (dumps(self.keys), self.why)).fetchall()
        return writer.db.changes()


@dataclass(frozen=True, slots=True)
class Release:
    keys: Keys
    now: float

    def __call__(self, writer: Writer) -> int:
        return _made_due(writer, _RELEASE, self.keys, self.now)


@dataclass(frozen=True, slots=True)
class Retry:
    keys: Keys
    now: float

    def __call__(self, writer: Writer) -> int:
        return _made_due(writer, _RETRY, self.keys, self.now)


@dataclass(frozen=True, slots=True)
class Remove:
    keys: Keys

    def __call__(self, writer: Writer) -> int:
        there = writer.value(_COUNT, dumps(self.keys))
        writer.write(Change(finished=[f"[{message},{number}]" for message, number in self.keys]))
        return int(there)


def _made_due(writer: Writer, sql: str, keys: Keys, now: float) -> int:
    these = dumps(keys)
    writer.db.execute(sql, (these, now)).fetchall()
    changed = writer.db.changes()
    writer.lanes.note((lane, now) for lane in json.loads(json_text(writer.db, _LANES, (these,))))
    return changed
