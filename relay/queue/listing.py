"""Reading the queue, on a connection that can neither write nor checkpoint: for operators, and for leases.

Each call is one short transaction in the reading thread, so that a long list does not keep the log from
being checkpointed, and mail goes on.  Lists are read in portions, by key; a portion comes as one JSON text,
since every row by itself would cost the thread a turn (see batch.py).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from relay.message.address import Address, domain_key
from relay.message.envelope import Message, Notify
from relay.queue.ids import first_of, to_number, to_text
from relay.queue.leasing import Taken
from relay.queue.rows import CODES, STATES, dumps, message_of, recipient_of
from relay.queue.schema import json_text, open_for_reading
from relay.queue.selection import address_key, below_or_same
from relay.queue.store import QueuedRecipient, QueueRow, Selection, State, StoreUnavailable

T = TypeVar("T")

PORTION_ROWS: Final = 500

FIRST_KEY: Final = (-1, -1)
LAST_KEY: Final = (1 << 62, 1 << 62)
"""Before and after all keys of recipients (message, number)."""

DOUBTFUL_LIMIT: Final = 10_000  # messages that could not be read once

WINDOW: Final = 5000  # recipients looked at for each ``overdue`` or ``lanes_that``: some milliseconds

_RECIPIENT: Final = "json_array(number, local, domain, wishes, lane, due_at, attempts, state, note, warned, final)"

# ?1 is [[message, [number, ...]], ...]
_TAKEN: Final = f"""
SELECT messages.id, accepted_at, size, CAST(envelope AS BLOB), head, content, CAST((
    SELECT json_group_array({_RECIPIENT}) FROM recipients
    WHERE message = messages.id AND number IN (SELECT value FROM json_each(taken.value, '$[1]'))) AS BLOB)
FROM json_each(?1) AS taken CROSS JOIN messages ON messages.id = taken.value->>0
"""

_WHOLE: Final = f"""
SELECT id, accepted_at, size, CAST(envelope AS BLOB), head, content, CAST((
    SELECT json_group_array({_RECIPIENT}) FROM recipients WHERE message = id) AS BLOB)
FROM messages WHERE id = ?1
"""

_LANES: Final = """
SELECT json_group_array(json_array(lane, waiting)) FROM (
    SELECT lane, count(*) AS waiting FROM recipients WHERE state < 2 GROUP BY lane ORDER BY waiting DESC, lane LIMIT ?)
"""

# An id is the time of its message, so spans of time are ranges of the key.  ?1 is [[from, until], ...]
_AGES: Final = """
SELECT json_group_array((SELECT count(*) FROM (
    SELECT 1 FROM recipients WHERE message >= span.value->>0 AND message < span.value->>1 LIMIT ?2)))
FROM json_each(?1) AS span
"""

# Broken text must not keep an operator from seeing the rest: the octets are decoded here, leniently.
_ROWS: Final = """
SELECT CAST(json_group_array(json_array(message, number, CAST(sender AS TEXT), CAST(local AS TEXT),
                                        CAST(domain AS TEXT), state, CAST(lane AS TEXT), accepted_at,
                                        due_at, attempts, size, CAST(note AS TEXT), warned,
                                        iif(json_valid(wishes), wishes->>0, NULL))) AS BLOB) FROM (
    SELECT message, number, sender, local, domain, state, lane, accepted_at, due_at, attempts, size, note, warned,
           wishes
    FROM recipients JOIN messages ON id = message
    WHERE (message, number) {beyond} (?, ?) {conditions} ORDER BY message {order}, number {order} LIMIT ?)
"""

_KEYS: Final = """
SELECT json_group_array(json_array(message, number)) FROM (
    SELECT message, number FROM recipients JOIN messages ON id = message
    WHERE (message, number) > (?, ?) {conditions} ORDER BY message, number LIMIT ?)
"""

_WINDOW_END: Final = """
SELECT message, number FROM recipients WHERE (message, number) > (?, ?) ORDER BY message, number LIMIT 1 OFFSET ?
"""

# ?1, ?2 after this key; ?3, ?4 up to this key
_LANES_WITHIN: Final = """
SELECT CAST(json_group_array(DISTINCT CAST(lane AS TEXT)) AS BLOB) FROM recipients
WHERE (message, number) > (?1, ?2) AND (message, number) <= (?3, ?4)
"""

# ?1, ?2 after this key; ?3, ?4 up to this key; ?5 now; ?6 warn_before; ?7 expire_before
_OVERDUE: Final = """
SELECT json_group_array(json_array(message, number)) FROM (
    SELECT message, number FROM recipients JOIN messages ON id = message
    WHERE (message, number) > (?1, ?2) AND (message, number) <= (?3, ?4) AND state < 2 AND due_at <= ?5
      AND (accepted_at < ?7 OR (accepted_at < ?6 AND NOT warned))
    ORDER BY message, number)
"""

# SQLite's lower() knows ASCII only; what is more than that goes through Python.
_SENDER_KEY: Final = "iif(sender GLOB '*[^!-~]*' OR sender GLOB '*\"*', address_key(sender), lower(sender))"
_DOMAIN_KEY: Final = "iif(domain GLOB '*[^!-~]*', domain_key(domain), lower(rtrim(domain, '.')))"
_LOCAL_KEY: Final = "iif(local GLOB '*[^!-~]*', python_lower(local), lower(local))"
_RECIPIENT_KEY: Final = f"iif(domain = '', {_LOCAL_KEY}, {_LOCAL_KEY} || '@' || {_DOMAIN_KEY})"


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that cannot be understood.

    is_doubtful  perhaps it is only that the disk could not read it just now: look again
    """

    message: int
    why: str
    is_doubtful: bool = False


Found = tuple[Message, tuple[QueuedRecipient, ...]]


def conditions(selection: Selection, states: Sequence[State] = ()) -> tuple[str, list[Any]]:
    """A selection as SQL to follow a WHERE, with its bindings.

    The way is along the key, whatever is selected.  By the index of a lane (which a plus hides from SQLite), all of it
    would be sorted anew for each portion: a million in one lane took hours.
    """
    sql = ""
    bindings: list[Any] = []
    if selection.ids:
        sql += " AND message IN (SELECT value FROM json_each(?))"
        bindings.append(dumps([to_number(one) for one in selection.ids]))
    for column, wanted in (
        (_SENDER_KEY, None if selection.sender is None else address_key(selection.sender)),
        (_RECIPIENT_KEY, None if selection.recipient is None else address_key(selection.recipient)),
    ):
        if wanted is not None:
            sql += f" AND {column} = ?"
            bindings.append(wanted)
    if selection.lanes:
        sql += " AND +lane IN (SELECT value FROM json_each(?))"
        bindings.append(dumps(selection.lanes))
    if selection.recipient_domain is not None:
        below, name = below_or_same(selection.recipient_domain)
        sql += f" AND substr({_DOMAIN_KEY}, -length(?)) = ?" if below else f" AND {_DOMAIN_KEY} = ?"
        bindings += [name, name] if below else [name]
    if selection.state is not None:
        sql += f" AND {_is_in(selection.state)}"
    if states:
        sql += f" AND ({' OR '.join(_is_in(state) for state in states)})"
    return sql, bindings


def _is_in(state: State) -> str:
    return "state < 2" if state is State.WAITING else f"state = {CODES[state]}"


class Listing:
    """Lives in the reading thread; opens its connection when it is first asked, and again after trouble."""

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        self._db: apsw.Connection | None = None
        self._doubtful: set[int] = set()

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(apsw.Error):
                db.close()

    def asked(self, ask: Callable[[apsw.Connection], T]) -> T:
        """What this gives, asked of the connection.  Raises StoreUnavailable."""
        try:
            if self._db is None:
                self._db = open_for_reading(str(self._path), self._vfs)
                for name, key in (
                    ("address_key", address_key),
                    ("domain_key", domain_key),
                    ("python_lower", str.lower),
                ):
                    self._db.create_scalar_function(name, _of_text(key), 1, deterministic=True)
            return ask(self._db)
        except apsw.Error as error:
            self.close()
            raise StoreUnavailable(f"the database cannot be read: {error}") from error

    def taken(self, taken: Sequence[Taken]) -> list[Found | Broken]:
        """The messages and recipients of leases; what was removed meanwhile is left out."""
        try:
            return self._taken(taken)
        except StoreUnavailable as error:
            if len(taken) > 1:
                return [found for one in taken for found in self.taken([one])]
            cause = error.__cause__
            if "JSON cannot hold BLOB" in str(cause):
                return [Broken(taken[0].message, str(cause))]
            if isinstance(cause, apsw.CorruptError):
                return [self._unreadable(taken[0].message, str(cause))]
            raise

    def _unreadable(self, message: int, why: str) -> Broken:
        """SQLite calls it a malformed database too when the disk fails to read (EIO), and that may pass: only who is
        met so again, which is after its lease has run out, is broken."""
        is_doubtful = message not in self._doubtful
        if len(self._doubtful) >= DOUBTFUL_LIMIT:
            self._doubtful.clear()
        self._doubtful ^= {message}
        return Broken(message, why, is_doubtful)

    def _taken(self, taken: Sequence[Taken]) -> list[Found | Broken]:
        wanted = dumps([(one.message, one.numbers) for one in taken])
        rows = self.asked(lambda db: db.execute(_TAKEN, (wanted,)).fetchall())
        if self._doubtful:
            self._doubtful.difference_update(row[0] for row in rows)
        found = [_found(row) for row in rows]
        missing = {one.message for one in taken} - {row[0] for row in rows}
        lost = [Broken(message, "the message's row is missing") for message in missing]
        return [one for one in found if one is not None] + lost

    def whole(self, message: int) -> Found | Broken | None:
        rows = self.asked(lambda db: db.execute(_WHOLE, (message,)).fetchall())
        return _found(rows[0]) if rows else None

    def rows(
        self, selection: Selection, after: tuple[int, int], newest_first: bool = False, limit: int = PORTION_ROWS
    ) -> list[list[Any]]:
        """The next rows of a list: message, number, and what ``row_of`` takes."""
        sql, bindings = conditions(selection)
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        query = _ROWS.format(conditions=sql, beyond=beyond, order=order)
        octets = self.asked(lambda db: db.execute(query, (*after, *bindings, limit)).fetchall())[0][0]
        assert isinstance(octets, bytes)
        rows: list[list[Any]] = json.loads(octets.decode("utf-8", "replace"))
        return rows

    def keys(
        self, selection: Selection, states: Sequence[State], after: tuple[int, int], limit: int
    ) -> list[tuple[int, int]]:
        """The next (message, number) of a selection that are in one of these states."""
        sql, bindings = conditions(selection, states)
        query = _KEYS.format(conditions=sql)
        found = json.loads(self.asked(lambda db: json_text(db, query, (*after, *bindings, limit))))
        return [(message, number) for message, number in found]

    def overdue(
        self, after: tuple[int, int], now: float, limit: int, warn_before: float, expire_before: float
    ) -> tuple[list[tuple[int, int]], tuple[int, int]]:
        """Keys of what is due and too old, of so many messages, within the next few thousand recipients after a key.

        Also gives the key after which to look the next time: the whole queue is gone through, again and
        again, and no call is long however large it is.
        """

        def ask(db: apsw.Connection) -> tuple[list[tuple[int, int]], tuple[int, int]]:
            end = _window_end(db, after)
            bounds = (*after, *end, now, warn_before, expire_before)
            found = json.loads(json_text(db, _OVERDUE, bounds))
            return [(message, number) for message, number in found], end if end != LAST_KEY else FIRST_KEY

        keys, end = self.asked(ask)
        messages = list(dict.fromkeys(message for message, _ in keys))
        if len(messages) <= limit:
            return keys, end
        return [key for key in keys if key[0] < messages[limit]], (messages[limit - 1], LAST_KEY[1])

    def lanes(self, limit: int) -> Mapping[str, int]:
        return dict(json.loads(self.asked(lambda db: json_text(db, _LANES, (limit,)))))

    def lanes_that(
        self, is_wanted: Callable[[str], bool], after: tuple[int, int]
    ) -> tuple[frozenset[str], tuple[int, int]]:
        """Those of the next few thousand recipients after a key, and the key after which to look further; LAST_KEY when
        that was all."""

        def ask(db: apsw.Connection) -> tuple[bytes, tuple[int, int]]:
            end = _window_end(db, after)
            octets = db.execute(_LANES_WITHIN, (*after, *end)).fetchall()[0][0]
            assert isinstance(octets, bytes)
            return octets, end

        octets, end = self.asked(ask)
        return frozenset(filter(is_wanted, json.loads(octets.decode("utf-8", "replace")))), end

    def ages(self, spans: Sequence[tuple[float, float]], limit: int) -> Sequence[int]:
        ranges = [[first_of(after), first_of(until)] for after, until in spans]
        found: list[int] = json.loads(self.asked(lambda db: json_text(db, _AGES, (dumps(ranges), limit))))
        return found


def _window_end(db: apsw.Connection, after: tuple[int, int]) -> tuple[int, int]:
    """The key of the last of the next few thousand recipients; LAST_KEY when there are no more than that."""
    rows = db.execute(_WINDOW_END, (*after, WINDOW - 1)).fetchall()
    return (int(str(rows[0][0])), int(str(rows[0][1]))) if rows else LAST_KEY


def _of_text(key: Callable[[str], str]) -> Callable[..., str]:
    """A function for SQLite, which may call it with whatever stands in a column."""
    return lambda *values: key(str(values[0]))


def row_of(row: list[Any]) -> QueueRow:
    message, _, sender, local, domain, state, lane, accepted_at, due_at, attempts, size, note, warned, notify = row
    return QueueRow(
        message_id=to_text(message),
        sender=sender,
        recipient=str(Address(local, domain)),
        state=STATES[state],
        lane=lane,
        accepted_at=accepted_at,
        due_at=due_at,
        attempts=attempts,
        size=size,
        note=note,
        warned=bool(warned),
        notify=Notify(notify) if isinstance(notify, int) else None,
    )


def _found(row: Sequence[Any]) -> Found | Broken | None:
    """The message of a row with its recipients; None when none of them is left."""
    try:
        message = message_of(*row[:6])
        recipients = [recipient_of(one) for one in json.loads(row[6])]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        return Broken(row[0], f"{type(error).__name__}: {error}")
    recipients.sort(key=lambda one: one.number)
    return (message, tuple(recipients)) if recipients else None
