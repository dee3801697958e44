"""The journal in the database: reading it, and forgetting what is old.

It is written by batch.py, at its end, in the order in which things happened; ``n`` only grows.  Entries of one message
are found by the index ``journey``; since ids are given in the order of time, that is in the order of journeys too.

The rule that must not be broken: nothing here looks at more than a portion at a time, however long the journal is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from relay.message.journey import Entry
from relay.message.journey import changed as entry_of_change
from relay.queue.batch import ENTRY_OCTETS, Change
from relay.queue.ids import SHARD_BITS
from relay.queue.rows import dumps
from relay.queue.schema import json_text

if TYPE_CHECKING:
    import apsw

    from relay.queue.writer import Writer

Portion = tuple[Sequence[Entry], int | None]
"""Some entries of a message, and the number of the last, when there may be more after it."""

JOURNEYS: Final = 200
"""Journeys that are looked through at a time."""
ENTRIES: Final = 100
"""Entries that are read at a time; each has some tens of KiB at most."""
FORGOTTEN: Final = 1000
"""Entries that are looked at in a step of forgetting: some milliseconds."""
LAST_TIME: Final = 1 << 53
"""Microseconds since the epoch; an id has room for no later time."""

# ?1 below this id, ?2 not below this one, ?3 so many
_IDS: Final = """
SELECT json_group_array(message) FROM (
    SELECT DISTINCT message FROM journal WHERE message < ?1 AND message >= ?2 ORDER BY message DESC LIMIT ?3)
"""

# ?1 ids; ?2 a pattern of LIKE
_WITH_WORDS: Final = """
SELECT json_group_array(value) FROM (
    SELECT value FROM json_each(?1) WHERE EXISTS (
        SELECT 1 FROM journal WHERE message = value AND CAST(entry AS TEXT) LIKE ?2 ESCAPE '!')
    ORDER BY value DESC)
"""

# ?1 the message, ?2 after this entry, ?3 so many
_ENTRIES: Final = """
SELECT n, at, CAST(entry AS BLOB) FROM journal WHERE message = ?1 AND n > ?2 ORDER BY n LIMIT ?3
"""

# ?1 after this entry, ?2 so many, ?3 what is older than this
_OLD_UP_TO: Final = """
SELECT max(n) FROM (SELECT n, at FROM journal WHERE n > ?1 ORDER BY n LIMIT ?2) WHERE at < ?3
"""

# Those whose last entry is among the old, and that are not in the queue.  ?1 after this entry, ?2 up to that one
_ENDED: Final = """
SELECT json_group_array(message) FROM (
    SELECT message FROM journal AS last WHERE n > ?1 AND n <= ?2
    AND NOT EXISTS (SELECT 1 FROM journal AS later WHERE later.message = last.message AND later.n > last.n)
    AND NOT EXISTS (SELECT 1 FROM messages WHERE id = last.message))
"""

_OF_THESE: Final = "message IN (SELECT value FROM json_each(?1))"

_NEXT: Final = "SELECT at FROM journal WHERE n > ?1 ORDER BY n LIMIT 1"
_FIRST: Final = "SELECT max(n) FROM (SELECT n FROM journal ORDER BY n LIMIT ?1)"

_LEAVE: Final = """
UPDATE tally SET journal = journal - (SELECT coalesce(sum(length(entry) + {octets}), 0) FROM journal WHERE {which})
"""


@dataclass(frozen=True, slots=True)
class By:
    """Who changes the queue, for the journal; and when, seconds since the epoch."""

    who: str
    at: float
    why: str = ""


def note_changes(writer: Writer, step: str, by: By, keys: Sequence[tuple[int, int]]) -> None:
    """Journals, within a task, that an operator has changed recipients; keys: (message, number)."""
    numbers: dict[int, list[int]] = {}
    for message, number in keys:
        numbers.setdefault(message, []).append(number)
    writer.write(
        Change(entries=[(one, by.at, entry_of_change(step, by.who, by.why, those)) for one, those in numbers.items()])
    )


# -- reading -----------------------------------------------------------------------------------------------------------


def first_id_of(at: float) -> int:
    """No id that was given at this time, or later, is below this."""
    return min(max(0, int(at * 1_000_000)), LAST_TIME) << SHARD_BITS


def pattern_of(words: str) -> str:
    """What LIKE finds these words by; it takes no heed of case in ASCII."""
    return "%" + words.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"


def ids(db: apsw.Connection, below: int, not_below: int, words: str) -> tuple[Sequence[int], int | None]:
    """A portion of the journeys below an id, newest first: those that have the words, and below which id to go on;
    None at the end."""
    looked = json.loads(json_text(db, _IDS, (below, not_below, JOURNEYS)))
    found = json.loads(json_text(db, _WITH_WORDS, (dumps(looked), pattern_of(words)))) if words and looked else looked
    return found, looked[-1] if len(looked) == JOURNEYS else None


def entries(db: apsw.Connection, message: int, after: int = 0) -> Portion:
    """A portion of a message's entries, those after one."""
    rows: list[tuple[Any, ...]] = db.execute(_ENTRIES, (message, after, ENTRIES)).fetchall()
    return [(at / 1_000_000, text) for _, at, text in rows], rows[-1][0] if len(rows) == ENTRIES else None


def beginnings(db: apsw.Connection, messages: Iterable[int]) -> Mapping[int, Portion]:
    """The first portion of each."""
    return {one: entries(db, one) for one in messages}


# -- forgetting --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What one step did.

    looked_up_to  the last entry that was looked at
    entries       how many went
    is_done       there is nothing more to forget now
    next_at       then: as long as ``before`` is less than this, nothing is to be done, seconds since the epoch
    """

    looked_up_to: int
    entries: int
    is_done: bool
    next_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Forget:
    """The task of one step of ``Store.forget``.

    after  entries up to this one have been looked at
    """

    after: int
    before: float
    octets: int

    def __call__(self, writer: Writer) -> Forgotten:
        if writer.tally().journal > self.octets:
            return self._oldest(writer)
        return self._ended(writer)

    def _oldest(self, writer: Writer) -> Forgotten:
        """There is too much of it."""
        up_to = writer.value(_FIRST, FORGOTTEN)
        if up_to is None:  # the count is wrong: nothing is left
            writer.db.execute("UPDATE tally SET journal = 0").fetchall()
            return Forgotten(0, 0, True)
        return Forgotten(max(self.after, up_to), _delete(writer, "n <= ?1", up_to), False)

    def _ended(self, writer: Writer) -> Forgotten:
        up_to = writer.value(_OLD_UP_TO, self.after, FORGOTTEN, int(self.before * 1_000_000))
        if up_to is None:
            next_at = writer.value(_NEXT, self.after)
            return Forgotten(self.after, 0, True, next_at / 1_000_000 if next_at is not None else 0.0)
        ended = json_text(writer.db, _ENDED, (self.after, up_to))
        return Forgotten(up_to, _delete(writer, _OF_THESE, ended) if ended != "[]" else 0, False)


def _delete(writer: Writer, which: str, binding: Any) -> int:
    writer.db.execute(_LEAVE.format(octets=ENTRY_OCTETS, which=which), (binding,)).fetchall()
    writer.db.execute(f"DELETE FROM journal WHERE {which}", (binding,)).fetchall()
    return writer.db.changes()
