"""The database: opened as it must be, changed only forwards, and asked without reading what is not wanted."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

from relay.queue import batch, entries, lanes, leasing, listing, schema
from relay.queue.lanes import Lanes
from relay.queue.sqlite import SqliteStore
from relay.queue.store import EVERYTHING, Selection, Settlement, State, StoreUnavailable
from tests.conformance.mail import NOW, all_of, clock_at, now, queue, whole
from tests.fakes.executors import inline


@pytest.fixture
def db(tmp_path: Path) -> apsw.Connection:
    db = schema.open_for_writing(str(tmp_path / "queue.db"))
    schema.migrate(db)
    db.execute(batch.DEFINITION).fetchall()
    Lanes(db)
    return db


def test_it_syncs_every_commit(db: apsw.Connection) -> None:
    assert schema.pragma(db, "journal_mode") == "wal"
    assert schema.pragma(db, "synchronous") == 2


def test_the_reading_connection_cannot_write(db: apsw.Connection, tmp_path: Path) -> None:
    reading = schema.open_for_reading(str(tmp_path / "queue.db"))
    with pytest.raises(apsw.ReadOnlyError):
        reading.execute("UPDATE tally SET messages = 1").fetchall()


def test_a_new_database_has_the_newest_version(db: apsw.Connection) -> None:
    assert schema.pragma(db, "user_version") == len(schema.STEPS)
    schema.migrate(db)


ALONG_THE_KEY = "SEARCH recipients USING PRIMARY KEY ((message,number)>(?,?))"
BACK_ALONG_THE_KEY = ALONG_THE_KEY.replace(">", "<")
OLDEST_FIRST = {"beyond": ">", "order": "ASC"}
NEWEST_FIRST = {"beyond": "<", "order": "DESC"}
OF_A_LANE = listing.conditions(Selection(lanes=("lane",)), (State.WAITING,))[0]

PLANS = {
    "journeys": (entries._IDS, 3, ["SEARCH journal USING COVERING INDEX journey (message>? AND message<?)"]),
    "of one message": (entries._ENTRIES, 3, ["SEARCH journal USING INDEX journey (message=? AND rowid>?)"]),
    "with words": (entries._WITH_WORDS, 2, []),
    "old": (entries._OLD_UP_TO, 3, ["SEARCH journal USING INTEGER PRIMARY KEY (rowid>?)"]),
    "ended": (
        entries._ENDED,
        2,
        [
            "SEARCH last USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
            "SEARCH later USING COVERING INDEX journey (message=? AND rowid>?)",
            "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)",
        ],
    ),
    "choose lanes": (lanes.CHOOSE, 3, ["SEARCH lanes USING COVERING INDEX claims (claim<?)"]),
    "first due": (lanes.FIRST, 3, ["SEARCH recipients USING COVERING INDEX due (lane=? AND due_at<?)"]),
    "due": (leasing.DUE, 1, ["SEARCH recipients USING COVERING INDEX due (lane=? AND due_at=? AND message=?)"]),
    "take": (leasing.TAKE, 2, ["SEARCH recipients USING PRIMARY KEY (message=? AND number=?)"]),
    "served": (lanes.SERVED, 3, ["SEARCH recipients USING COVERING INDEX due (lane=?)"]),
    "earliest": (lanes.EARLIEST, 2, ["SEARCH recipients USING COVERING INDEX due (lane=?)"]),
    "correct claims": (lanes.CORRECT, 1, ["SEARCH recipients USING COVERING INDEX due (lane=?)"]),
    "earliest owing": (leasing.EARLIEST_OWING, 0, []),
    "owing": (leasing.OWING, 2, ["SEARCH recipients USING PRIMARY KEY (message=?)"]),
    "take owing": (leasing.TAKE_OWING, 2, ["SEARCH recipients USING PRIMARY KEY (message=? AND number=?)"]),
    "still due": (leasing.STILL_DUE, 2, ["SEARCH recipients USING PRIMARY KEY (message=? AND number=?)"]),
    "give back": (leasing.GIVE_BACK, 3, ["SEARCH recipients USING PRIMARY KEY (message=? AND number=?)"]),
    "rebuild": (lanes.REBUILD, 0, ["SCAN recipients USING COVERING INDEX due"]),
    "list": (listing._ROWS.format(conditions="", **OLDEST_FIRST), 3, [ALONG_THE_KEY]),
    "list a lane": (listing._ROWS.format(conditions=OF_A_LANE, **OLDEST_FIRST), 4, [ALONG_THE_KEY]),
    "list, newest first": (listing._ROWS.format(conditions="", **NEWEST_FIRST), 3, [BACK_ALONG_THE_KEY]),
    "list a lane, newest first": (listing._ROWS.format(conditions=OF_A_LANE, **NEWEST_FIRST), 4, [BACK_ALONG_THE_KEY]),
    "lanes": (
        listing._LANES_WITHIN,
        4,
        ["SEARCH recipients USING PRIMARY KEY ((message,number)>(?,?) AND (message,number)<(?,?))"],
    ),
    "change a lane": (listing._KEYS.format(conditions=OF_A_LANE), 4, [ALONG_THE_KEY]),
    "write": (batch.WRITE, 9, []),
}


@pytest.mark.parametrize("name", PLANS)
def test_no_query_of_the_mails_way_reads_the_queue(db: apsw.Connection, name: str) -> None:
    """With 100,000 due rows behind a lane, or a million rows, a lease costs what it takes and no more."""
    sql, bindings, wanted = PLANS[name]
    plan = [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * bindings).fetchall()]
    for line in wanted:
        assert line in plan, plan
    if ALONG_THE_KEY in wanted or BACK_ALONG_THE_KEY in wanted:
        assert not [line for line in plan if "ORDER BY" in line], plan  # nothing is sorted
    reads_one_row_or_is_the_start = name in ("earliest owing", "write", "rebuild")
    scans = [line for line in plan if line.startswith(("SCAN recipients", "SCAN messages", "SCAN journal"))]
    assert reads_one_row_or_is_the_start or not scans, plan


def test_the_statements_within_a_batch_find_rows_by_their_keys(db: apsw.Connection) -> None:
    """EXPLAIN does not look into triggers, so each statement is asked for by itself."""
    body = batch.DEFINITION.split("INSTEAD OF INSERT ON batch BEGIN")[1].split("\nEND;")[0]
    for statement in body.split(";"):
        if statement.strip():
            sql = statement
            sql = re.sub(r"NEW\.\w+", "?", sql)
            plan = [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?")).fetchall()]
            assert not [line for line in plan if line in ("SCAN recipients", "SCAN messages", "SCAN journal")], (
                statement,
                plan,
            )


# -- versions ---------------------------------------------------------------------------------------


def test_a_newer_database_is_not_touched(tmp_path: Path) -> None:
    """An older relay would write what the newer one cannot read."""
    spool = tmp_path / "spool"
    store = SqliteStore(spool, clock=clock_at(), executors=inline(), reserve_octets=0)
    message = queue(store)
    now(store.close())
    newer = apsw.Connection(str(spool / "queue.db"))
    schema.pragma(newer, "user_version = 99")
    newer.close()
    with pytest.raises(schema.SchemaTooNew, match=r"version 99.*up to 2"):
        SqliteStore(spool, clock=clock_at(), executors=inline(), reserve_octets=0)
    older = apsw.Connection(str(spool / "queue.db"))
    assert older.execute("SELECT count(*) FROM messages WHERE id > 0").fetchall() == [(1,)]
    schema.pragma(older, f"user_version = {len(schema.STEPS)}")
    older.close()
    store = SqliteStore(spool, clock=clock_at(), executors=inline(), reserve_octets=0)
    assert whole(store, message.id)[0] == message
    now(store.close())


def database_of_version_1(path: Path) -> None:
    """As the first relay left it: one message with one recipient.  Never to be changed."""
    db = apsw.Connection(str(path))
    schema.pragma(db, "journal_mode = WAL")
    db.execute(schema.VERSION_1).fetchall()
    envelope = (
        '[["ann","client.example"],"8BITMIME",true,"HDRS","QQ314",'
        '"192.0.2.1","host.client.example","client.example","ESMTP",null]'
    )
    db.execute(
        "INSERT INTO messages VALUES (460800000064000000, 1.8e9, 'ann@client.example', 9, ?, ?, ?)",
        (envelope, b"H: 1\r\n", b"..."),
    ).fetchall()
    db.execute(
        "INSERT INTO recipients VALUES (460800000064000000, 0, 'bob', 'example.org', '[4,\"rfc822;b@example.org\"]',"
        " 'example.org', 1.8e9, 2, 0, '451 later', 1, NULL)"
    ).fetchall()
    db.execute("UPDATE tally SET messages = 1, octets = 9, recipients = 1, ids_below = 460800000128000000").fetchall()
    schema.pragma(db, "user_version = 1")
    db.close()


def test_the_queue_of_the_first_version_is_understood(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    database_of_version_1(spool / "queue.db")
    store = SqliteStore(spool, clock=clock_at(), executors=inline(), reserve_octets=0)
    (row,) = all_of(store.list(EVERYTHING))
    message, (bob,) = whole(store, row.message_id)
    assert (message.envelope.envid, message.content, message.size) == ("QQ314", b"...", 9)
    assert (str(bob.recipient.address), bob.attempts, bob.warned) == ("bob@example.org", 2, True)
    assert (store.counts().messages, store.counts().octets, store.counts().journal) == (1, 9, 0)
    now(store.record(Settlement(row.message_id, finished=(0,), entries=((NOW, b'["attempted"]'),))))
    assert all_of(store.journey(row.message_id)) == [(NOW, b'["attempted"]')]
    now(store.close())


def test_a_step_is_taken_once_and_keeps_the_mail(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    database_of_version_1(path)
    steps = (
        *schema.STEPS,
        "ALTER TABLE messages ADD COLUMN priority INTEGER NOT NULL DEFAULT 0; CREATE TABLE other(a)",
    )
    for _ in range(2):
        db = schema.open_for_writing(str(path))
        schema.migrate(db, steps)
        assert schema.pragma(db, "user_version") == len(steps)
        assert db.execute("SELECT priority FROM messages").fetchall() == [(0,)]
        db.close()


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    database_of_version_1(path)
    db = schema.open_for_writing(str(path))
    with pytest.raises(apsw.SQLError):
        schema.migrate(db, (*schema.STEPS, "CREATE TABLE other(a)", "ALTER TABLE nonsense ADD COLUMN a"))
    assert schema.pragma(db, "user_version") == 1
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'other'").fetchall() == [(0,)]
    schema.migrate(db)


def test_a_database_that_cannot_be_opened_now_is_left_alone(tmp_path: Path) -> None:
    """A disk that is not there, or a permission: it may pass, and nothing may be begun anew."""
    spool = tmp_path / "spool"
    spool.mkdir(0o700)
    (spool / "queue.db").mkdir()
    with pytest.raises((StoreUnavailable, OSError)):
        SqliteStore(spool, clock=clock_at(), executors=inline(), reserve_octets=0)
    assert (spool / "queue.db").is_dir()
    assert not (spool / "set-aside").exists()
