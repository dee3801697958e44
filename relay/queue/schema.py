"""The database: its tables, how they change from version to version, and how it is opened.

    messages    one row a message.  A body of more than 64 KiB is a file of its own, and ``content`` NULL.
    recipients  one row a recipient that is not finished.  ``state``: see rows.py.
    tally       one row: the queue in numbers, changed in the same transaction as the queue, so that
                nobody ever has to count; and the id below which all given ids lie.
    set_aside   broken rows, whole, with the reason, for an operator.
    journal     what happened, in the order in which it was written (entries.py); ``at`` in microseconds, since a number
                with a point takes five times as long to write out and to read in.

``due`` serves the scheduler and nothing else; every query of its way is answered from it alone.  No other
index of the queue is written when an ordinary message comes or goes.  ``journey`` finds the entries of a message.

The rule that must not be broken: one connection writes and checkpoints, and it syncs before it
promises.  ``PRAGMA user_version`` is the version of the schema; a newer one than ours is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw

VERSION_1: Final = """
CREATE TABLE messages(
    id INTEGER PRIMARY KEY,
    accepted_at REAL NOT NULL,
    sender TEXT NOT NULL,
    size INTEGER NOT NULL,
    envelope TEXT NOT NULL,
    head BLOB NOT NULL,
    content BLOB);
CREATE INDEX large ON messages(id) WHERE content IS NULL;

CREATE TABLE recipients(
    message INTEGER NOT NULL,
    number INTEGER NOT NULL,
    local TEXT NOT NULL,
    domain TEXT NOT NULL,
    wishes TEXT,
    lane TEXT NOT NULL,
    due_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    state INTEGER NOT NULL,
    note TEXT NOT NULL,
    warned INTEGER NOT NULL DEFAULT 0,
    final TEXT,
    PRIMARY KEY(message, number)) WITHOUT ROWID;
CREATE INDEX due ON recipients(lane, due_at, message, number, state) WHERE state < 2;
CREATE INDEX owing ON recipients(due_at, message, number, state) WHERE state = 3;

CREATE TABLE tally(
    id INTEGER PRIMARY KEY CHECK (id = 1),
    messages INTEGER NOT NULL DEFAULT 0,
    octets INTEGER NOT NULL DEFAULT 0,
    recipients INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    owing INTEGER NOT NULL DEFAULT 0,
    set_aside INTEGER NOT NULL DEFAULT 0,
    ids_below INTEGER NOT NULL DEFAULT 0);
INSERT INTO tally(id) VALUES (1);

CREATE TABLE set_aside(
    at REAL NOT NULL,
    why TEXT NOT NULL,
    message INTEGER NOT NULL,
    accepted_at REAL,
    sender TEXT,
    size INTEGER,
    envelope TEXT,
    head BLOB,
    content BLOB,
    recipients TEXT);
"""

# Not WITHOUT ROWID by message: at the end of a table a row is appended, pages are filled to the brim, and an entry of
# a thousand octets needs no page of its own.
JOURNAL: Final = """
CREATE TABLE journal(
    n INTEGER PRIMARY KEY,
    message INTEGER NOT NULL,
    at INTEGER NOT NULL,
    entry BLOB NOT NULL);
CREATE INDEX journey ON journal(message);
"""

VERSION_2: Final = f"""{JOURNAL}
ALTER TABLE tally ADD COLUMN journal INTEGER NOT NULL DEFAULT 0;
"""

STEPS: Final[tuple[str, ...]] = (VERSION_1, VERSION_2)
"""The n-th step makes version n of version n-1.  Steps are only ever added."""

CHECKED_BELOW_OCTETS: Final = 64 * 1024 * 1024
CACHE_KIB: Final = 16 * 1024
CHECKPOINT_PAGES: Final = 2000
BUSY_WAIT_MS: Final = 5000  # an operator's own sqlite3 shell may hold the database for a moment


class SchemaTooNew(Exception):
    """The database was written by a newer relay; ``str()`` says which versions.  Nothing was touched."""


class DatabaseBroken(Exception):
    """This file is no database of ours any more; ``str()`` says what is wrong with it."""


class JournalBroken(Exception):
    """The journal cannot be read, and the queue can; ``str()`` says why."""


DatabaseError: Final = apsw.Error
BROKEN: Final = (apsw.NotADBError, apsw.CorruptError, DatabaseBroken)
"""What says that the file itself is damaged, not that it cannot be used just now."""


def pragma(db: apsw.Connection, text: str) -> Any:
    """Runs one PRAGMA to its end (apsw runs no further than it is read) and gives its first value."""
    rows = db.execute(f"PRAGMA {text}").fetchall()
    return rows[0][0] if rows else None


def open_for_writing(path: str, vfs: str | None = None) -> apsw.Connection:
    """The one connection that writes.  Raises apsw.Error."""
    db = apsw.Connection(path, vfs=vfs, statementcachesize=64)
    try:
        db.set_busy_timeout(BUSY_WAIT_MS)
        pragma(db, "journal_mode = WAL")
        pragma(db, "synchronous = FULL")
        pragma(db, f"wal_autocheckpoint = {CHECKPOINT_PAGES}")
        pragma(db, f"journal_size_limit = {4 * CHECKPOINT_PAGES * 4096}")
        pragma(db, f"cache_size = -{CACHE_KIB}")
        pragma(db, f"temp.cache_size = -{CACHE_KIB}")
    except BaseException:
        db.close()
        raise
    return db


def open_for_reading(path: str, vfs: str | None = None) -> apsw.Connection:
    """A connection that can neither write nor checkpoint.  Raises apsw.Error."""
    db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs, statementcachesize=64)
    db.set_busy_timeout(BUSY_WAIT_MS)
    return db


def migrate(db: apsw.Connection, steps: Sequence[str] = STEPS) -> None:
    """Brings the database to the newest version, in one transaction.  Raises SchemaTooNew, apsw.Error."""
    version = pragma(db, "user_version")
    if version > len(steps):
        raise SchemaTooNew(f"the queue has schema version {version}, this relay knows versions up to {len(steps)}")
    if version == len(steps):
        return
    with db:
        for step in steps[version:]:
            db.execute(step).fetchall()
        pragma(db, f"user_version = {len(steps)}")


QUEUE: Final = ("messages", "recipients", "tally", "set_aside")


def check(db: apsw.Connection, octets: int) -> None:
    """Looks whether the database is whole: all of it when it is small, else its roots only.

    Raises DatabaseBroken, JournalBroken, apsw.Error.  A database of many gigabytes would take minutes to
    read; a page that turns out to be broken later makes single messages fail, and they are tried again.
    """
    if octets < CHECKED_BELOW_OCTETS:
        found = pragma(db, "quick_check(1)")
        if found != "ok":
            raise JournalBroken(str(found)) if _is_the_queue_whole(db) else DatabaseBroken(str(found))
    for table in QUEUE:
        db.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()
    try:
        db.execute("SELECT * FROM journal LIMIT 1").fetchall()
    except (apsw.CorruptError, apsw.SQLError) as error:
        raise JournalBroken(str(error)) from error


def _is_the_queue_whole(db: apsw.Connection) -> bool:
    return all(pragma(db, f"quick_check({table})") == "ok" for table in QUEUE)


def begin_journal_anew(db: apsw.Connection) -> None:
    """Drops a broken journal, its pages unread, and makes an empty one.  Raises apsw.Error.

    Copies the queue: only for a start, and for a journal that is broken.
    """
    pragma(db, "writable_schema = ON")
    db.execute("DELETE FROM sqlite_schema WHERE tbl_name = 'journal'").fetchall()
    pragma(db, "writable_schema = RESET")
    db.execute("VACUUM").fetchall()  # or its pages would belong to nobody
    with db:
        db.execute(JOURNAL).fetchall()
        db.execute("UPDATE tally SET journal = 0").fetchall()


def json_text(db: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> str:
    """What a query gives that answers with one JSON text.

    Many rows as one text cost the thread one turn instead of one each (see batch.py).
    """
    text = db.execute(sql, bindings).fetchall()[0][0]
    assert isinstance(text, str)
    return text
