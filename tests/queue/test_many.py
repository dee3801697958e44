"""A million queued recipients: a quick start, quick leases, and memory that does not grow with them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from relay.queue import batch, schema
from relay.queue.lanes import Lanes
from relay.queue.sqlite import SqliteStore
from relay.queue.store import EVERYTHING, Settlement, State
from tests.conformance.mail import NOW, clock_at, lease, now, queue, to
from tests.fakes.executors import inline

FILL = """
INSERT INTO {table} WITH RECURSIVE many(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM many WHERE value < {count})
SELECT {columns} FROM many
"""
MESSAGE = """value << 8, 1.8e9, 'ann@client.example', 10,
    '[["ann","client.example"],"7BIT",false,null,null,"","","","",null]', x'', x'30313233343536373839'"""
RECIPIENT = """value << 8, 0, 'u' || value, 'example.org', NULL, 'lane' || (value % {lanes}), 1.8e9 + value / 1e3, 1,
    value % 100 = 0, '451 later', 0, NULL"""


def filled(spool: Path, count: int, lanes: int) -> SqliteStore:
    now(SqliteStore(spool, clock=clock_at(), executors=inline(), reserve_octets=0).close())
    db = schema.open_for_writing(str(spool / "queue.db"))
    db.execute(FILL.format(table="messages", count=count, columns=MESSAGE)).fetchall()
    db.execute(FILL.format(table="recipients", count=count, columns=RECIPIENT.format(lanes=lanes))).fetchall()
    db.execute("UPDATE tally SET messages = ?1, recipients = ?1, ids_below = ?1 << 9", (count,)).fetchall()
    db.close()
    return SqliteStore(spool, clock=clock_at(NOW + 10_000), executors=inline(), reserve_octets=0)


def took(seconds_at_most: float, began: float) -> None:
    """Of the processor: what else goes on on the machine does not count."""
    assert time.process_time() - began < seconds_at_most


def test_ten_thousand_lanes_are_served_without_reading_what_is_behind_them(tmp_path: Path) -> None:
    store = filled(tmp_path / "spool", 20_000, 5_000)
    began = time.process_time()
    leased = lease(store, NOW + 10_000, limit=100)
    took(0.5, began)
    assert len({one.recipients[0].lane for one in leased}) == 100
    resting = frozenset(f"lane{number}" for number in range(4_990))
    leased = lease(store, NOW + 10_000, limit=100, resting=resting)
    assert {one.recipients[0].lane for one in leased} == {f"lane{number}" for number in range(4_990, 5_000)}
    now(store.close())


@pytest.mark.slow
def test_a_million_recipients(tmp_path: Path) -> None:
    store = filled(tmp_path / "spool", 1_000_000, 20_000)
    assert store.counts().recipients[State.WAITING] == 1_000_000
    now(store.close())
    began = time.process_time()
    store = SqliteStore(tmp_path / "spool", clock=clock_at(NOW + 10_000), executors=inline(), reserve_octets=0)
    took(3, began)
    began = time.process_time()
    for turn in range(20):
        assert len(lease(store, NOW + 10_000 + turn, limit=100)) == 100
        assert now(store.next_due()) is not None
    took(3, began)
    began = time.process_time()
    for _ in range(100):
        now(store.record(Settlement(queue(store).id, finished=(0,))))
    took(3, began)
    assert now(store.retry(EVERYTHING, NOW)) > 900_000
    now(store.close())


@pytest.mark.slow
def test_a_million_lanes_do_not_live_in_memory(tmp_path: Path) -> None:
    store = filled(tmp_path / "spool", 1_000_000, 1_000_000)
    used = resident_octets()
    for turn in range(20):
        assert len(lease(store, NOW + 10_000 + turn, limit=100)) == 100
    assert now(store.next_due()) is not None
    assert resident_octets() - used < 32 * 1024 * 1024
    now(store.close())


def resident_octets() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_notes_of_lanes_are_bounded(tmp_path: Path) -> None:
    """Mail to a thousand new domains a second is not remembered by each."""
    db = schema.open_for_writing(str(tmp_path / "queue.db"))
    schema.migrate(db)
    db.execute(batch.DEFINITION).fetchall()
    lanes = Lanes(db)
    lanes.note((f"lane{number}", NOW) for number in range(5000))
    assert lanes.is_crowded
    lanes.flush()
    lanes.committed()
    assert not lanes.is_crowded
    lanes.note([("lane1", NOW - 5)])
    assert lanes.choose(NOW, 3, "[]")[0] == "lane1"


def test_notes_of_a_transaction_that_failed_are_not_forgotten(tmp_path: Path) -> None:
    """Else a lane would sleep until the next start."""
    db = schema.open_for_writing(str(tmp_path / "queue.db"))
    schema.migrate(db)
    db.execute(batch.DEFINITION).fetchall()
    lanes = Lanes(db)
    lanes.note([("lane1", NOW)])
    db.execute("BEGIN").fetchall()
    assert lanes.choose(NOW, 3, "[]") == ["lane1"]
    db.execute("ROLLBACK").fetchall()
    lanes.rolled_back()
    assert lanes.choose(NOW, 3, "[]") == ["lane1"]


def test_a_crowd_of_lanes_is_written_away_while_mail_comes_in(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "spool", clock=clock_at(), executors=inline(), reserve_octets=0)
    for first in range(0, 6000, 1000):
        queue(store, *(to("bob@example.org", f"lane{first + number}", NOW + 9) for number in range(1000)))
    assert len(store.committer._writer.lanes._noted) <= 5000
    assert now(store.next_due()) == NOW + 9
    assert len(lease(store, NOW + 9, limit=10_000)) == 6000
    now(store.close())


def test_claims_that_a_message_to_many_domains_leaves_behind_are_corrected_many_at_once(tmp_path: Path) -> None:
    """Each alone would be a question of its own, while what else is to be written waits."""
    db = schema.open_for_writing(str(tmp_path / "queue.db"))
    schema.migrate(db)
    db.execute(batch.DEFINITION).fetchall()
    lanes = Lanes(db)
    lanes.note((f"finished{number}", NOW + number / 1000) for number in range(1000))
    lanes.note([("later", NOW), ("due", NOW + 10)])
    for number, (lane, due_at) in enumerate({"later": NOW + 20.1, "due": NOW + 10.3}.items()):
        columns = RECIPIENT.replace("'lane' || (value % {lanes})", f"'{lane}'").replace("1.8e9 + value / 1e3", "?")
        db.execute(f"INSERT INTO recipients SELECT {columns} FROM (SELECT {number} AS value)", (due_at,)).fetchall()
    asked: list[str] = []

    def heard(_: object, sql: str, __: object) -> bool:
        asked.append(sql)
        return True

    db.exec_trace = heard
    assert lanes.earliest("[]") == NOW + 10.3
    assert len(asked) < 50
    assert lanes.earliest('["due"]') == NOW + 20.1
    assert lanes.earliest('["due", "later"]') is None
