"""A start after anything: what is broken is set aside and told, and mail goes on."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from relay.queue.files import DiskFiles
from relay.queue.sqlite import SqliteStore
from relay.queue.store import EVERYTHING, Settlement, State, StoreUnavailable
from tests.conformance.mail import NOW, all_of, clock_at, content_of, lease, now, queue, to, whole
from tests.fakes.executors import inline

Steps = list[tuple[str, dict[str, Any]]]


class Life:
    """One life of a relay after the other on the same spool."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.steps: Steps = []
        self.at = NOW

    def begin(self) -> SqliteStore:
        self.at += 3600
        self.steps.clear()
        return SqliteStore(
            self.spool,
            clock=clock_at(self.at),
            executors=inline(),
            reserve_octets=0,
            tell=lambda step, **fields: self.steps.append((step, fields)),
        )

    def sql(self, statement: str, *bindings: Any) -> None:
        """What a broken disk, or a hand, does between two lives."""
        db = apsw.Connection(str(self.spool / "queue.db"))
        db.execute(statement, bindings).fetchall()
        db.close()

    def files(self) -> list[Path]:
        return sorted(path for path in (self.spool / "bodies").rglob("*") if path.is_file())


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path / "spool")


def number_of(store: SqliteStore) -> int:
    return int(store.committer._writer.value("SELECT max(id) FROM messages"))


def test_the_queue_is_there_in_the_next_life(life: Life) -> None:
    store = life.begin()
    small = queue(store, to("a@one.example"), to("b@two.example", state=State.HELD, note="why"))
    large = queue(store, content=b"x" * 100_000)
    counts = store.counts()
    rows = all_of(store.list())
    now(store.close())
    store = life.begin()
    assert store.counts() == counts
    assert all_of(store.list()) == rows
    assert content_of(store, large.id) == b"x" * 100_000
    assert {one.message.id for one in lease(store)} == {small.id, large.id}
    assert life.steps == []
    assert queue(store).id > large.id
    now(store.close())


def test_a_lease_of_a_former_life_stands_but_may_be_retried(life: Life) -> None:
    """A crash does not hammer a peer; an operator who has mended something need not wait."""
    store = life.begin()
    queue(store)
    lease(store)
    queue(store, to("b@two.example", due_at=NOW + 900, attempts=1))
    now(store.close())
    store = life.begin()
    assert not lease(store)
    assert now(store.next_due()) == NOW + 900
    assert now(store.retry(EVERYTHING, NOW)) == 2
    assert len(lease(store)) == 2
    now(store.close())


def test_what_was_in_hand_at_a_crash_is_due_again_soon_and_later_each_time(life: Life) -> None:
    """A lease is long; after a crash nobody should wait for its end, and a message that kills us not hammer a peer."""
    store = life.begin()
    queue(store)
    at = life.at
    for attempts in (1, 2, 3):
        assert len(lease(store, at)) == 1
        assert now(store.next_due()) == at + 900
        now(store.close())
        life.at = at + 10 - 3600
        store = life.begin()
        at = life.at + 60 * attempts
        assert now(store.next_due()) == at
        assert not lease(store, at - 1)
    now(store.close())


def test_drafts_of_a_former_life_are_swept(life: Life) -> None:
    """Nobody was told 250."""
    store = life.begin()
    draft = store.begin()
    draft.write(b"x" * 300_000)
    assert len(life.files()) == 1
    now(store.close())
    now(life.begin().close())
    assert life.files() == []
    assert life.steps == []


def test_a_body_whose_row_is_gone_is_swept(life: Life) -> None:
    """The crash came between the commit that finished the message and the removal of its file."""
    store = life.begin()
    message = queue(store, content=b"x" * 100_000)
    (path,) = life.files()
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    now(store.record(Settlement(message.id, finished=(0,))))
    now(store.close())
    copy.rename(path)
    now(life.begin().close())
    assert life.files() == []
    assert life.steps == []


def test_a_body_that_this_database_never_gave_an_id_is_set_aside(life: Life) -> None:
    """Somebody put back an old database: the files may be all that is left of the mail."""
    store = life.begin()
    queue(store, content=b"x" * 100_000)
    (path,) = life.files()
    now(store.close())
    for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
        (life.spool / name).unlink(missing_ok=True)
    store = life.begin()
    assert (life.spool / "set-aside" / path.name).read_bytes() == b"x" * 100_000
    assert [step for step, _ in life.steps] == ["set_aside"]
    assert store.counts().set_aside == 1
    now(store.close())


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(("harm", "why"), [(remove, "missing"), (cut, "99999 octets, not 100000")])
def test_a_message_without_its_whole_body_is_set_aside(life: Life, harm: Callable[[Path], None], why: str) -> None:
    """Half a message is worse than none: the operator is told, and the start goes on."""
    store = life.begin()
    broken = queue(store, to("a@one.example"), to("b@two.example", state=State.HELD), content=b"x" * 100_000)
    good = queue(store)
    now(store.close())
    harm(life.files()[0])
    store = life.begin()
    assert [(step, fields["id"]) for step, fields in life.steps] == [("set_aside", broken.id)]
    assert why in life.steps[0][1]["error"]
    assert [row.message_id for row in all_of(store.list())] == [good.id]
    counts = store.counts()
    assert (counts.messages, counts.octets, counts.set_aside) == (1, good.size, 1)
    assert counts.recipients == {State.WAITING: 1, State.HELD: 0, State.OWING: 0}
    now(store.close())
    store = life.begin()
    assert store.counts().set_aside == 1
    assert len(life.files()) == (harm is cut)  # what is left of it stays, for the operator
    now(store.close())


BROKEN = [
    "UPDATE messages SET envelope = 'nonsense' WHERE id = ?",
    "UPDATE messages SET envelope = '[]' WHERE id = ?",
    "UPDATE messages SET envelope = CAST(x'ff00' AS TEXT) WHERE id = ?",
    "UPDATE messages SET envelope = '[[\"a\"],7,8,9,0,1,2,3,4,5,6]' WHERE id = ?",
    "UPDATE messages SET head = 'text' WHERE id = ?",
    "UPDATE recipients SET wishes = '{' WHERE message = ?",
    "UPDATE recipients SET wishes = '[\"x\",null]' WHERE message = ?",
    "UPDATE recipients SET final = '[\"no such action\"]' WHERE message = ?",
    "UPDATE recipients SET local = x'ff' WHERE message = ?",
    "UPDATE recipients SET local = CAST(x'ff' AS TEXT) WHERE message = ?",
    "DELETE FROM messages WHERE id = ?",
]


@pytest.mark.parametrize("harm", BROKEN)
def test_a_broken_row_is_set_aside_when_it_is_met(life: Life, harm: str) -> None:
    store = life.begin()
    before = queue(store)
    broken = queue(store)
    number = number_of(store)
    after = queue(store)
    now(store.close())
    life.sql(harm, number)
    store = life.begin()
    assert len(all_of(store.list())) == (2 if harm.startswith("DELETE") else 3)
    assert {one.message.id for one in lease(store)} == {before.id, after.id}
    assert [(step, fields["id"]) for step, fields in life.steps] == [("set_aside", broken.id)]
    assert store.counts().set_aside == 1
    assert store.counts().recipients[State.WAITING] == 2
    assert now(store.read(broken.id)) is None
    kept = store.committer._writer.db.execute("SELECT message, why, CAST(recipients AS BLOB) FROM set_aside").fetchall()
    assert kept[0][0] == number
    assert kept[0][1]
    assert "example.org" in str(kept[0][2])
    assert not lease(store, NOW + 10_000)[2:]
    now(store.close())


def test_a_broken_row_met_by_an_operator_is_set_aside_too(life: Life) -> None:
    store = life.begin()
    broken = queue(store)
    now(store.close())
    life.sql("UPDATE messages SET envelope = ''")
    store = life.begin()
    with pytest.raises(StoreUnavailable, match="set aside"):
        now(store.read(broken.id))
    assert now(store.read(broken.id)) is None
    now(store.close())


def garbage(spool: Path) -> None:
    (spool / "queue.db").write_bytes(b"This is no database." * 1000)


def torn(spool: Path) -> None:
    octets = bytearray((spool / "queue.db").read_bytes())
    octets[4096:8192] = b"\xff" * 4096
    (spool / "queue.db").write_bytes(octets)


@pytest.mark.parametrize("harm", [garbage, torn])
def test_a_broken_database_is_moved_aside_whole_and_a_new_one_begun(life: Life, harm: Callable[[Path], None]) -> None:
    """Nothing of it is deleted; the bodies go with it, or the next start would sweep them."""
    store = life.begin()
    queue(store)
    queue(store, content=b"x" * 100_000)
    (body,) = life.files()
    now(store.close())
    harm(life.spool)
    spoilt = (life.spool / "queue.db").read_bytes()
    store = life.begin()
    ((step, fields),) = life.steps
    assert step == "set_aside"
    assert "queue.db" in "".join(path.name for path in Path(fields["place"]).iterdir())
    assert (Path(fields["place"]) / "queue.db").read_bytes() == spoilt
    assert list((Path(fields["place"]) / "bodies").rglob(body.name))
    assert store.counts().messages == 0
    assert (store.counts().set_aside, store.counts().databases) == (1, (fields["place"],))
    message = queue(store, content=b"y" * 100_000)
    now(store.close())
    store = life.begin()
    assert whole(store, message.id)[0] == message
    assert life.steps == []
    now(store.close())
    assert store.counts().databases == (fields["place"],), "the next start finds it there"
    Path(fields["place"]).rename(life.spool / "recovered")
    assert (store.counts().set_aside, store.counts().databases) == (0, ())


def test_a_crash_at_any_moment_leaves_what_was_promised(life: Life, tmp_path: Path) -> None:
    """The spool is copied at many moments, as a crash leaves it: what was acknowledged is there, whole."""
    store = life.begin()
    acknowledged: dict[str, bytes] = {}
    for number in range(12):
        content = b"%d" % number * (100_000 if number % 3 == 0 else 100)
        acknowledged[queue(store, content=content).id] = content
        if number % 4 == 3:
            oldest = next(iter(acknowledged))
            now(store.record(Settlement(oldest, finished=(0,))))
            del acknowledged[oldest]
        store.begin().write(b"x" * 70_000)
        copy = Life(tmp_path / f"copy{number}")
        shutil.copytree(life.spool, copy.spool)
        again = copy.begin()
        assert {row.message_id for row in all_of(again.list())} == set(acknowledged)
        for message_id, content in acknowledged.items():
            message, _ = whole(again, message_id)
            assert (message.content or content_of(again, message_id)) == content
        assert copy.steps == []
        assert len(copy.files()) == sum(len(content) > 65536 for content in acknowledged.values())
        now(again.close())
    now(store.close())


@pytest.mark.parametrize("harm", [garbage, torn])
def test_a_database_that_the_disk_fails_to_read_is_left_alone(life: Life, harm: Callable[[Path], None]) -> None:
    """To SQLite an EIO is a malformed database, but it may pass: the queue is not put away for it."""
    store = life.begin()
    message = queue(store)
    now(store.close())
    whole_octets = (life.spool / "queue.db").read_bytes()
    harm(life.spool)  # stands for what SQLite makes of the EIO

    class Failing(DiskFiles):
        def read(self, fd: int, octets: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output error"):
        SqliteStore(life.spool, clock=clock_at(NOW), executors=inline(), reserve_octets=0, files=Failing())
    assert not (life.spool / "set-aside").exists()
    (life.spool / "queue.db").write_bytes(whole_octets)
    store = life.begin()
    assert [leased.message.id for leased in lease(store)] == [message.id]
    now(store.close())


def test_a_row_that_the_disk_fails_to_read_once_is_looked_at_again(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its lease, and is tried when that has run out; only one that is met so again is set aside."""
    store = life.begin()
    message = queue(store)
    listing = store._listing
    read, fails = listing._taken, [True, False, True, True]

    def taken(wanted: Any) -> Any:
        if fails.pop(0):
            raise StoreUnavailable("the database cannot be read") from apsw.CorruptError("malformed")
        return read(wanted)

    monkeypatch.setattr(listing, "_taken", taken)
    assert lease(store, NOW + 10_000) == []
    assert [(step, fields["id"]) for step, fields in life.steps] == [("trouble", message.id)]
    assert [leased.message.id for leased in lease(store, NOW + 20_000)] == [message.id]
    assert lease(store, NOW + 30_000) == []
    assert store.counts().set_aside == 0
    assert lease(store, NOW + 40_000) == []
    assert [step for step, _ in life.steps] == ["trouble", "trouble", "set_aside"]
    assert store.counts().set_aside == 1
    now(store.close())
