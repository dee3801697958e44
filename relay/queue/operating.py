"""What an operator does to many recipients: tasks of the storage thread, for one portion of keys each.

Who is meant was read before (listing.py), so each statement looks again whether it still applies, and counts
only what it changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from relay.queue.batch import Change
from relay.queue.entries import By, note_changes
from relay.queue.rows import dumps
from relay.queue.schema import json_text
from relay.queue.writer import Writer

Keys = list[tuple[int, int]]

_THESE: Final = "(message, number) IN (SELECT value->>0, value->>1 FROM json_each(?1))"
_WHICH: Final = f"SELECT json_group_array(json_array(message, number)) FROM recipients WHERE {_THESE}"
_LANES: Final = f"SELECT json_group_array(DISTINCT lane) FROM recipients WHERE {_THESE}"
_UPDATE: Final = f"UPDATE recipients SET {{}} WHERE {_THESE}"

_MAY_BE_HELD: Final = "state < 2"
_IS_HELD: Final = "state = 2"
# One that is leased is being tried already; if its lease is over, nobody tries it.
_MAY_BE_RETRIED: Final = "(state = 0 OR state = 1 AND due_at <= ?2)"


@dataclass(frozen=True, slots=True)
class Hold:
    keys: Keys
    why: str
    by: By | None = None

    def __call__(self, writer: Writer) -> int:
        these = _to_be_changed(writer, "held", self.by, self.keys, _MAY_BE_HELD)
        writer.db.execute(_UPDATE.format("state = 2, note = ?2"), (dumps(these), self.why)).fetchall()
        return len(these)


@dataclass(frozen=True, slots=True)
class Release:
    keys: Keys
    now: float
    by: By | None = None

    def __call__(self, writer: Writer) -> int:
        return _made_due(writer, _to_be_changed(writer, "released", self.by, self.keys, _IS_HELD), self.now)


@dataclass(frozen=True, slots=True)
class Retry:
    keys: Keys
    now: float
    by: By | None = None

    def __call__(self, writer: Writer) -> int:
        these = _to_be_changed(writer, "retried", self.by, self.keys, _MAY_BE_RETRIED, self.now)
        return _made_due(writer, these, self.now)


@dataclass(frozen=True, slots=True)
class Remove:
    keys: Keys
    by: By | None = None

    def __call__(self, writer: Writer) -> int:
        these = _to_be_changed(writer, "removed", self.by, self.keys)
        writer.write(Change(finished=[f"[{message},{number}]" for message, number in these]))
        return len(these)


def _to_be_changed(writer: Writer, step: str, by: By | None, keys: Keys, if_so: str = "1", *bindings: float) -> Keys:
    """Those of these to which it applies; that they are changed is journaled."""
    these = json.loads(json_text(writer.db, f"{_WHICH} AND {if_so}", (dumps(keys), *bindings)))
    if by is not None and these:
        note_changes(writer, step, by, these)
    return these  # type: ignore[no-any-return]  # JSON


def _made_due(writer: Writer, these: Keys, now: float) -> int:
    keys = dumps(these)
    writer.db.execute(_UPDATE.format("state = 0, due_at = ?2"), (keys, now)).fetchall()
    writer.lanes.note((lane, now) for lane in json.loads(json_text(writer.db, _LANES, (keys,))))
    return len(these)
