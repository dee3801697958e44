"""A file that was long becomes short again, and big changes leave the mail its way."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from relay.queue import committer, schema, sqlite
from relay.queue.sqlite import SqliteStore
from relay.queue.store import EVERYTHING, Settlement
from tests.conformance.mail import NOW, clock_at, now, queue
from tests.fakes.executors import inline

MANY = 40
CONTENT = b"Subject: long\r\n\r\n" + b"x" * 50_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "COMPACT_FROM_OCTETS", 1_000_000)
    monkeypatch.setattr(committer, "COMPACT_BELOW_OCTETS", 100_000)


def opened(spool: Path, clock: Clock | None = None) -> SqliteStore:
    return SqliteStore(spool, clock=clock or clock_at(), executors=inline(), reserve_octets=0)


def pages(spool: Path) -> tuple[int, int]:
    """Pages of the database in its file, and those of them that are empty."""
    db = schema.open_for_reading(str(spool / "queue.db"))
    found = schema.pragma(db, "page_count"), schema.pragma(db, "freelist_count")
    db.close()
    return found


def test_the_disk_gets_back_what_a_long_queue_took(tmp_path: Path) -> None:
    """After an outage the file would keep its largest size for ever."""
    store = opened(tmp_path)
    ids = [queue(store, content=CONTENT).id for _ in range(MANY)]
    long, _ = pages(tmp_path)
    for one in ids[1:]:
        now(store.record(Settlement(one, finished=(0,))))
    short, empty = pages(tmp_path)
    assert short < long / 5
    assert empty < 20
    assert store.counts().messages == 1
    assert now(store.read(ids[0]))[0].content == CONTENT
    now(store.close())
    assert (tmp_path / "queue.db").stat().st_size < 200_000


def test_what_a_former_life_left_is_given_back_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    with monkeypatch.context() as never:
        never.setattr(committer, "COMPACT_BELOW_OCTETS", -1)
        ids = [queue(store, content=CONTENT).id for _ in range(MANY)]
        for one in ids:
            now(store.record(Settlement(one, finished=(0,))))
        now(store.close())
    assert (tmp_path / "queue.db").stat().st_size > 1_000_000
    now(opened(tmp_path).close())
    assert (tmp_path / "queue.db").stat().st_size < 200_000


def test_a_short_file_is_left_alone(tmp_path: Path) -> None:
    store = opened(tmp_path)
    ids = [queue(store, content=CONTENT).id for _ in range(5)]
    for one in ids:
        now(store.record(Settlement(one, finished=(0,))))
    assert pages(tmp_path)[1] > 30
    now(store.close())


class Hurried(Clock):
    """A clock by which each look at it takes a moment."""

    def seconds(self) -> float:
        self.rightNow += 0.001
        return self.rightNow


def test_a_big_change_waits_while_mail_comes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows made due by an operator must not take the mail's time."""
    monkeypatch.setattr(sqlite, "STEP_RECIPIENTS", 10)
    clock = Hurried()
    clock.rightNow = NOW
    store = opened(tmp_path, clock)
    for _ in range(30):
        queue(store)
    done: list[int] = []
    adding = store.committer.add

    def beside_mail(job: object) -> object:
        store.committer.added += 1  # as when somebody else's comes in between
        return adding(job)  # type: ignore[arg-type]

    monkeypatch.setattr(store.committer, "add", beside_mail)
    store.hold(EVERYTHING, "why").addCallback(done.append)
    assert not done
    for _ in range(3):
        clock.advance(1)
    assert done == [30]
    monkeypatch.setattr(store.committer, "add", adding)
    assert now(store.release(EVERYTHING, NOW)) == 30, "and goes on at once when there is none"
    now(store.close())
