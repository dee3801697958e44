"""The journal in trouble: it never keeps mail from going, and what is broken in it takes no mail along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest
from twisted.internet.task import Clock

from relay.message.journey import Entry
from relay.queue import committer, schema
from relay.queue.batch import Change
from relay.queue.ids import to_number
from relay.queue.sqlite import SqliteStore
from relay.queue.store import EVERYTHING, Settlement, StoreFull, StoreUnavailable
from relay.queue.writer import Task
from tests.conformance.mail import NOW, all_of, clock_at, now, queue, to
from tests.fakes.executors import inline
from tests.queue.faults import FaultyDisk, FaultyFiles, FaultyVfs

CAME: Entry = (NOW, b'["accepted","ann@client.example"]')
TRIED: Entry = (NOW + 1, b'["attempted","bob@example.org"]')

Steps = list[tuple[str, dict[str, Any]]]


def opened(spool: Path, clock: Clock, steps: Steps, **others: Any) -> SqliteStore:
    return SqliteStore(
        spool,
        clock=clock,
        executors=inline(),
        tell=lambda step, **fields: steps.append((step, fields)),
        **{"reserve_octets": 0, **others},
    )


def journaled(store: SqliteStore, message_id: str) -> list[Entry]:
    return all_of(store.journey(message_id))


def break_it(store: SqliteStore) -> None:
    """No entry can be written from now on."""
    bad = "CREATE TEMP TRIGGER bad BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'a broken page'); END"
    store.committer._writer.db.execute(bad).fetchall()


def mend_it(store: SqliteStore) -> None:
    store.committer._writer.db.execute("DROP TRIGGER bad").fetchall()


# -- while it runs ----------------------------------------------------------------------------------


def test_mail_goes_on_when_the_journal_cannot_be_written(tmp_path: Path) -> None:
    """A broken page in it is nobody's mail.  It is tried again after a minute."""
    steps: Steps = []
    clock = clock_at()
    store = opened(tmp_path / "spool", clock, steps)
    break_it(store)
    message = queue(store, entries=[CAME])
    now(store.record(Settlement(message.id, (0,), entries=(TRIED,))))
    assert [step for step, _ in steps] == ["trouble"]
    assert "journal cannot be written" in steps[0][1]["error"]
    assert now(store.read(message.id)) is None
    assert store.counts().journal == 0
    mend_it(store)
    assert journaled(store, queue(store, entries=[CAME]).id) == []
    clock.advance(61)
    assert journaled(store, queue(store, entries=[CAME]).id) == [CAME]
    now(store.close())


def test_what_operators_do_is_done_without_it(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool", clock_at(), [])
    queue(store)
    break_it(store)
    assert now(store.hold(EVERYTHING, "x")) == 1
    assert now(store.remove(EVERYTHING)) == 1
    now(store.close())


def test_the_fault_of_one_job_costs_no_other_its_entry(tmp_path: Path) -> None:
    """They are done one by one, with what they have for the journal."""
    store = opened(tmp_path / "spool", clock_at(), [])

    def broken(_: object) -> None:
        raise apsw.CorruptError("a broken row")

    writer = store.committer._writer
    message = queue(store, entries=[CAME])
    done = writer.perform([Task(broken), Task(lambda writer: writer.write(change_of(TRIED, message.id)))])
    assert isinstance(done.outcomes[0], StoreUnavailable)
    assert done.outcomes[1] is None
    assert journaled(store, message.id) == [CAME, TRIED]
    now(store.close())


def change_of(entry: Entry, message_id: str) -> Change:
    return Change(entries=[(to_number(message_id), *entry)])


def test_on_a_full_disk_results_are_written_and_entries_are_not(tmp_path: Path) -> None:
    """The reserve is for results."""
    disk = FaultyDisk()
    vfs = FaultyVfs(disk)
    clock = clock_at()
    store = opened(tmp_path / "spool", clock, [], files=FaultyFiles(disk), vfs=vfs.name, reserve_octets=1 << 20)
    messages = [queue(store, entries=[CAME]) for _ in range(3)]
    disk.full = True
    with pytest.raises(StoreFull):
        queue(store, entries=[CAME])

    class Room:
        """What giving up the reserve leaves."""

        def release(self) -> bool:
            disk.full = False
            return True

    store.committer._writer.reserve = Room()  # type: ignore[assignment]
    now(store.record(Settlement(messages[0].id, (0,), entries=(TRIED,))))
    assert now(store.read(messages[0].id)) is None
    assert journaled(store, messages[0].id) == [CAME]
    clock.advance(61)
    now(store.record(Settlement(messages[1].id, (0,), entries=(TRIED,))))
    assert journaled(store, messages[1].id) == [CAME, TRIED]
    now(store.close())


# -- at the start -----------------------------------------------------------------------------------


def spoil(spool: Path, name: str) -> None:
    """Writes nonsense over the root page of a table or an index."""
    db = apsw.Connection(str(spool / "queue.db"))
    (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchall()[0]
    db.close()
    with (spool / "queue.db").open("r+b") as file:
        file.seek((page - 1) * 4096)  # type: ignore[operator]
        file.write(b"\xff" * 4096)


@pytest.mark.parametrize("name", ["journal", "journey"])
def test_a_broken_journal_is_begun_anew_and_the_mail_is_there(tmp_path: Path, name: str) -> None:
    steps: Steps = []
    spool = tmp_path / "spool"
    store = opened(spool, clock_at(), steps)
    message = queue(store, to("a@one.example"), content=b"x" * 9000, entries=[CAME])
    now(store.close())
    spoil(spool, name)
    store = opened(spool, clock_at(), steps)
    assert [step for step, _ in steps] == ["trouble"]
    assert "journal is broken" in steps[0][1]["error"]
    found = now(store.read(message.id))
    assert found is not None
    assert found[0].content == b"x" * 9000
    assert store.counts().journal == 0
    now(store.record(Settlement(message.id, (0,), entries=(TRIED,))))
    assert journaled(store, message.id) == [TRIED]
    assert schema.pragma(store.committer._writer.db, "integrity_check") == "ok"
    now(store.close())
    assert not (spool / "set-aside").exists()


def test_a_journal_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    """By an operator, who had no other way with a broken one in a large database."""
    steps: Steps = []
    spool = tmp_path / "spool"
    store = opened(spool, clock_at(), steps)
    message = queue(store, entries=[CAME])
    now(store.close())
    db = apsw.Connection(str(spool / "queue.db"))
    db.execute("DROP TABLE journal").fetchall()
    db.close()
    store = opened(spool, clock_at(), steps)
    assert now(store.read(message.id)) is not None
    assert queue(store, entries=[CAME])
    assert [step for step, _ in steps] == ["trouble"]
    now(store.close())


def test_a_broken_queue_is_set_aside_with_its_journal(tmp_path: Path) -> None:
    steps: Steps = []
    spool = tmp_path / "spool"
    store = opened(spool, clock_at(), steps)
    queue(store, entries=[CAME])
    now(store.close())
    spoil(spool, "messages")
    spoil(spool, "journal")
    store = opened(spool, clock_at(), steps)
    assert [step for step, _ in steps] == ["set_aside"]
    assert store.counts().messages == 0
    now(store.close())


def test_a_long_journal_is_not_copied_while_mail_comes_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file becomes short again when little is left in it, the journal counted too."""
    monkeypatch.setattr(committer, "COMPACT_FROM_OCTETS", 200_000)
    monkeypatch.setattr(committer, "COMPACT_BELOW_OCTETS", 100_000)
    store = opened(tmp_path / "spool", clock_at(), [])
    written = store.committer._writer
    compacted: list[int] = []
    monkeypatch.setattr(written, "compact", compacted.append)
    ids = [queue(store, content=b"x" * 50_000, entries=[(NOW, b"x" * 30_000)]).id for _ in range(5)]
    for one in ids:
        now(store.record(Settlement(one, (0,))))
    assert compacted == []
    now(store.forget(NOW + 1, 1 << 30))
    assert compacted == [200_000]
    now(store.close())
