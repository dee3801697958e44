"""What arrives together is written together: many messages and results as one SQL statement.

Python's threads take turns, and a thread that comes back from SQLite waits for its turn, for
milliseconds when the reactor is busy.  With a few statements for each message, group commit would spend
its time waiting.  So a batch is *one* statement: an INSERT into a view, whose trigger does the work on
JSON arrays and one long BLOB.  It costs the storage thread one or two turns, however many
messages there are, and it is a transaction by itself.

The rule that must not be broken: a batch holds each recipient once at most as finished or changed, or
else in an order that does not matter: what is finished goes first, and what is gone is not changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from relay.queue.rows import dumps
from relay.queue.schema import json_text

if TYPE_CHECKING:
    import apsw

DEFINITION: Final = """
CREATE TEMP TABLE gone(id INTEGER PRIMARY KEY, size INTEGER, large INTEGER);

CREATE TEMP VIEW batch(messages, blobs, octets, recipients, finished, changed, ids_below, journal, journal_octets) AS
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL;

CREATE TEMP TRIGGER batch_written INSTEAD OF INSERT ON batch BEGIN
    DELETE FROM gone;

    DELETE FROM recipients
        WHERE (message, number) IN (SELECT value->>0, value->>1 FROM jsonb_each(NEW.finished));
    UPDATE tally SET recipients = recipients - changes() + json_array_length(NEW.recipients);

    -- (an operator's hold outlives a deferral, with its note)
    UPDATE recipients SET
        lane = new.lane, due_at = new.due_at, attempts = new.attempts, warned = new.warned, final = new.final,
        note = iif(recipients.state = 2 AND new.state = 0, recipients.note, new.note),
        state = iif(recipients.state = 2 AND new.state = 0, 2, new.state)
        FROM (SELECT value->>0 AS message, value->>1 AS number, value->>2 AS lane, value->>3 AS due_at,
                     value->>4 AS attempts, value->>5 AS state, value->>6 AS note, value->>7 AS warned,
                     value->>8 AS final
              FROM jsonb_each(NEW.changed)) AS new
        WHERE recipients.message = new.message AND recipients.number = new.number;

    INSERT INTO gone
        SELECT id, size, content IS NULL FROM messages
        WHERE id IN (SELECT value->>0 FROM jsonb_each(NEW.finished))
          AND NOT EXISTS (SELECT 1 FROM recipients WHERE message = messages.id);
    DELETE FROM messages WHERE id IN (SELECT id FROM gone);

    INSERT INTO messages(id, accepted_at, sender, size, envelope, head, content)
        SELECT value->>4, value->>5, value->>6, value->>7, value->>8,
               substr(NEW.blobs, value->>0, value->>1), substr(NEW.blobs, value->>2, value->>3)
        FROM jsonb_each(NEW.messages);
    INSERT INTO recipients(message, number, local, domain, wishes, lane, due_at, attempts, state, note, final)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4,
               value->>5, value->>6, value->>7, value->>8, value->>9, value->>10
        FROM jsonb_each(NEW.recipients);

    INSERT INTO journal(message, at, entry)
        SELECT value->>0, value->>1, substr(NEW.blobs, value->>2, value->>3) FROM jsonb_each(NEW.journal);

    UPDATE tally SET (messages, octets) = (
            SELECT tally.messages + json_array_length(NEW.messages) - count(*),
                   tally.octets + NEW.octets - coalesce(sum(size), 0)
            FROM gone),
        ids_below = max(ids_below, NEW.ids_below), journal = journal + NEW.journal_octets;
END;

-- Held and owing are rare: these count them whatever statement makes or ends them, and cost nothing else.
CREATE TEMP TRIGGER rare_begun AFTER INSERT ON recipients WHEN NEW.state >= 2 BEGIN
    UPDATE tally SET held = held + (NEW.state = 2), owing = owing + (NEW.state = 3);
END;
CREATE TEMP TRIGGER rare_ended AFTER DELETE ON recipients WHEN OLD.state >= 2 BEGIN
    UPDATE tally SET held = held - (OLD.state = 2), owing = owing - (OLD.state = 3);
END;
CREATE TEMP TRIGGER rare_changed AFTER UPDATE OF state ON recipients
WHEN NEW.state <> OLD.state AND (NEW.state >= 2 OR OLD.state >= 2) BEGIN
    UPDATE tally SET held = held + (NEW.state = 2) - (OLD.state = 2),
                     owing = owing + (NEW.state = 3) - (OLD.state = 3);
END;
"""

TALLY: Final = """
SELECT json_array(messages, octets, recipients, held, owing, set_aside, ids_below, journal,
                  (SELECT accepted_at FROM messages ORDER BY id LIMIT 1)) FROM tally
"""

WRITE: Final = f"""
INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
RETURNING ({TALLY}), (SELECT json_group_array(id) FROM gone WHERE large)
"""

IDS_AHEAD: Final = 1_000_000 << 8
"""How far ``ids_below`` runs ahead, so that it is seldom moved: a second's worth.  Ids are ahead of the clock by so
much after a start, and no start takes less; more would add up from start to start."""

ENTRY_OCTETS: Final = 48
"""What an entry of the journal costs on the disk beside its text, about."""


@dataclass(slots=True)
class Change:
    """What one job puts into a batch, encoded by rows.py.

    messages    (row without its brackets, head, content or None when it is in a file)
    recipients  rows of new recipients
    finished    ``[message,number]`` of recipients that go
    changed     rows of recipients as they are from now on
    octets      size of the new messages
    lanes       (lane, due_at) of every new and changed recipient that waits
    newest_id   the largest id among the new messages and journeys
    entries     (message, when, what) for the journal
    result      what the job's Deferred fires with
    """

    messages: Sequence[tuple[str, bytes, bytes | None]] = ()
    recipients: Sequence[str] = ()
    finished: Sequence[str] = ()
    changed: Sequence[str] = ()
    octets: int = 0
    lanes: Sequence[tuple[str, float]] = ()
    newest_id: int = 0
    entries: Sequence[tuple[int, float, bytes]] = ()
    result: Any = None

    @property
    def is_new_mail(self) -> bool:
        """Whether it only adds: then it is refused first when the disk is full."""
        return bool(self.messages or self.entries) and not self.finished and not self.changed

    @property
    def weight_octets(self) -> int:
        """About what it adds to a transaction."""
        rows = len(self.recipients) + len(self.finished) + len(self.changed)
        return self.octets + 256 * rows + 1024 * len(self.entries)


@dataclass(frozen=True, slots=True)
class Tally:
    """The queue in numbers, as the database keeps them."""

    messages: int = 0
    octets: int = 0
    recipients: int = 0
    held: int = 0
    owing: int = 0
    set_aside: int = 0
    ids_below: int = 0
    journal: int = 0
    oldest_at: float | None = None


@dataclass(slots=True)
class Written:
    """What a batch left behind: the tally, and messages that are gone and had a file."""

    tally: Tally
    gone: list[int] = field(default_factory=list)


def write(db: apsw.Connection, changes: Sequence[Change], ids_below: int, journaled: bool = True) -> Written:
    """Writes all changes in one statement; a transaction of its own unless one is open.  Raises apsw.Error.

    ids_below  the mark in the database; it is moved when an id has reached it
    journaled  whether their entries are written too
    """
    messages: list[str] = []
    entries: list[str] = []
    blobs = [b"."]  # substr() of no octets at all would be NULL
    at = 2
    octets = newest = journal_octets = 0
    for change in changes:
        octets += change.octets
        newest = max(newest, change.newest_id)
        for row, head, content in change.messages:
            begins = at + len(head)
            if content is None:
                messages.append(f"[{at},{len(head)},0,null,{row}]")
                blobs.append(head)
                at = begins
            else:
                messages.append(f"[{at},{len(head)},{begins},{len(content)},{row}]")
                blobs += (head, content)
                at = begins + len(content)
        if journaled:
            for message, when, text in change.entries:
                length = len(text)
                entries.append(f"[{message},{int(when * 1_000_000)},{at},{length}]")
                blobs.append(text)
                at += length
                journal_octets += length + ENTRY_OCTETS
    values = (
        _array(messages),
        b"".join(blobs),
        octets,
        _array(row for change in changes for row in change.recipients),
        _array(key for change in changes for key in change.finished),
        _array(row for change in changes for row in change.changed),
        newest + IDS_AHEAD if newest >= ids_below else 0,
        _array(entries),
        journal_octets,
    )
    tally, gone = db.execute(WRITE, values).fetchall()[0]
    return Written(Tally(*json.loads(str(tally))), json.loads(str(gone)))


def read_tally(db: apsw.Connection) -> Tally:
    return Tally(*json.loads(json_text(db, TALLY)))


def keys(pairs: Iterable[tuple[int, int]]) -> str:
    """Recipients' keys as the JSON array that the queries take."""
    return dumps(list(pairs))


def _array(members: Iterable[str]) -> str:
    return f"[{','.join(members)}]"
