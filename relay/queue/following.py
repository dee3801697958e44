"""Reading the journal on as it grows: for those who tell others what happened (webhooks).

Who follows keeps his place in it, and goes on there after a restart.  Entries that the journal forgot before he came to
them are missed, and counted.

``n`` grows from entry to entry, but begins anew where the end of the journal was forgotten (entries.py); so a place
also has the time of its entry, by which it is known again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from relay.message.journey import place_of
from relay.queue.ids import to_text
from relay.queue.store import BEGINNING, Followed, Noted, Place

if TYPE_CHECKING:
    import apsw

_DIALOGUE: Final = place_of("attempted", "dialogue")
_SENDER: Final = place_of("accepted", "sender")
_MESSAGE_ID: Final = place_of("accepted", "message_id")

_LAST: Final = "SELECT n, at FROM journal ORDER BY n DESC LIMIT 1"
_AT: Final = "SELECT at FROM journal WHERE n = ?1"
_KNOWN_AGAIN: Final = "SELECT n, at FROM journal WHERE n < ?1 AND at <= ?2 ORDER BY n DESC LIMIT 1"

# ?1 after this entry, ?2 so many.  What was said to a hop stays where it is: it is long, and nobody else's business.
# Who sent it stands in the message's first entry.
_AFTER: Final = f"""
SELECT n, message, at,
    CASE WHEN NOT json_valid(entry) THEN '[]'
        WHEN entry->>0 = 'attempted' THEN json_replace(entry, '$[{_DIALOGUE}]', json('[]')) ELSE entry END,
    iif(json_valid(first), first->>{_SENDER}, ''), iif(json_valid(first), first->>{_MESSAGE_ID}, '')
FROM (
    SELECT n, message, at,
        CAST(substr(entry, 1, instr(entry || x'0A', x'0A') - 1) AS TEXT) AS entry,
        (SELECT CAST(entry AS TEXT) FROM journal AS first WHERE first.message = one.message ORDER BY n LIMIT 1) AS first
    FROM journal AS one WHERE n > ?1 ORDER BY n LIMIT ?2)
"""


def last(db: apsw.Connection) -> Place:
    """The place behind all that is there now."""
    rows: list[Any] = db.execute(_LAST).fetchall()
    return _place(*rows[0]) if rows else BEGINNING


def follow(db: apsw.Connection, after: Place, limit: int) -> Followed:
    """See Store.follow."""
    known = _known(db, after)
    rows: list[tuple[Any, ...]] = db.execute(_AFTER, (known.n, limit)).fetchall()
    if not rows:
        return Followed((), known, 0)
    place = _place(rows[-1][0], rows[-1][2])
    behind = last(db).n - place.n if len(rows) == limit else 0
    return Followed([_noted(row) for row in rows], place, place.n - known.n - len(rows), behind)


def _known(db: apsw.Connection, place: Place) -> Place:
    """The same place, by the numbers of now."""
    found: list[Any] = db.execute(_AT, (place.n,)).fetchall()
    at = round(place.at * 1_000_000)
    if found[0][0] == at if found else last(db).n > place.n:
        return place
    again: Sequence[Any] = db.execute(_KNOWN_AGAIN, (place.n, at)).fetchall()
    return _place(*again[0]) if again else BEGINNING


def _place(n: int, at: int) -> Place:
    return Place(n, at / 1_000_000)


def _noted(row: tuple[Any, ...]) -> Noted:
    n, message, at, entry, sender, message_id = row
    named = [one if isinstance(one, str) else "" for one in (sender, message_id)]
    return Noted(n, to_text(message), (at / 1_000_000, str(entry).encode()), *named)
