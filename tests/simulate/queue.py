"""The queue as another program reads it, out of the database itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import apsw

from relay.operate.shards import folder_of, shards_in
from relay.queue.ids import to_text
from tests.simulate.ledger import Key, key_of

_STATES = ("waiting", "waiting", "held", "owing")
_ROWS = """
SELECT message, sender, accepted_at, local, domain, recipients.state, lane, due_at, attempts, warned
FROM recipients JOIN messages ON messages.id = message
"""


@dataclass(slots=True)
class Row:
    """One recipient in the queue."""

    message_id: str
    sender: str
    accepted_at: float
    recipient: str
    state: str
    lane: str
    due_at: float
    attempts: int
    warned: int


@dataclass(slots=True)
class Queue:
    """What is in it.

    rows     recipients of letters
    reports  those reports that were not seen before: (message id, reader, content)
    report_ids  all reports in it
    waiting  recipients that are neither finished nor held
    faults   what is wrong with it in itself
    """

    rows: dict[Key, Row]
    reports: list[tuple[str, str, bytes]]
    report_ids: set[str]
    waiting: int
    faults: list[str]


def read(spool: Path, seen: set[str]) -> Queue:
    """Reads it, with all its shards; ``seen`` learns the reports that are in it."""
    whole = Queue({}, [], set(), 0, [])
    for shard in shards_in(spool):
        part = read_shard(folder_of(spool, shard), seen)
        whole.faults += [f"m{a}r{b} is in two shards" for a, b in whole.rows.keys() & part.rows.keys()] + part.faults
        whole.rows |= part.rows
        whole.reports += part.reports
        whole.report_ids |= part.report_ids
        whole.waiting += part.waiting
    return whole


def read_shard(folder: Path, seen: set[str]) -> Queue:
    """Reads one shard."""
    db = apsw.Connection(str(folder / "queue.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return _read(db, seen, folder)
    finally:
        db.close()


def _read(db: apsw.Connection, seen: set[str], folder: Path) -> Queue:
    rows: dict[Key, Row] = {}
    reports: list[tuple[str, str, bytes]] = []
    report_ids: set[str] = set()
    waiting = 0
    counted = [0, 0, 0]
    for message, sender, accepted_at, local, domain, state, *others in db.execute(_ROWS).fetchall():
        message_id = to_text(message)
        row = Row(message_id, sender or "", accepted_at, f"{local}@{domain}", _STATES[state], *others)
        waiting += row.state != "held"
        counted[max(0, state - 1)] += 1
        key = key_of(f"{local}@{domain}")
        if key is not None:
            rows[key] = row
            continue
        report_ids.add(message_id)
        if message_id not in seen:
            seen.add(message_id)
            content = db.execute("SELECT head, content FROM messages WHERE id = ?", (message,)).fetchall()[0]
            body = content[1] if content[1] is not None else _body(folder, message_id, message)
            reports.append((message_id, f"{local}@{domain}", content[0] + body))
    tally = db.execute("SELECT messages, recipients, held, owing, set_aside FROM tally").fetchall()[0]
    messages = db.execute("SELECT count(*) FROM messages").fetchall()[0][0]
    there = (messages, sum(counted), counted[1], counted[2], 0)
    faults = [] if tally == there else [f"the tally says {tally}, and there are {there}"]
    return Queue(rows, reports, report_ids, waiting, faults)


def _body(folder: Path, message_id: str, number: int) -> bytes:
    return (folder / "bodies" / f"{number >> 8 & 0xFF:02x}" / message_id).read_bytes()
