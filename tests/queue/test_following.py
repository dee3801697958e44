"""The journal's numbers begin anew where its end was forgotten; who follows must notice."""

from __future__ import annotations

from pathlib import Path

from relay.queue.sqlite import SqliteStore
from relay.queue.store import BEGINNING, Settlement
from tests.conformance.mail import NOW, clock_at, now, queue
from tests.queue.test_journal import CAME, opened

DAY = 86400
GONE = 1 << 40


def finished(store: SqliteStore, at: float) -> str:
    """A message that came and went."""
    message = queue(store, entries=[(at, CAME[1])])
    now(store.record(Settlement(message.id, (0,), entries=((at, b'["attempted"]'),))))
    return message.id


def numbers(store: SqliteStore) -> list[int]:
    return [one.n for one in now(store.follow(BEGINNING, 100)).entries]


def test_after_the_whole_journal_was_forgotten_nothing_new_is_missed(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool", clock_at(), [])
    for _ in range(3):
        finished(store, NOW)
    place = now(store.journal_end())
    assert place.n == 6
    now(store.forget(NOW + 10 * DAY, GONE))
    later = finished(store, NOW + 11 * DAY)
    assert numbers(store) == [1, 2]  # they begin anew
    found = now(store.follow(place, 10))
    assert [one.message for one in found.entries] == [later, later]
    now(store.close())


def test_after_its_end_was_forgotten_nothing_new_is_missed(tmp_path: Path) -> None:
    """The last message ended long ago, and one before it waits: the last number is given a second time."""
    store = opened(tmp_path / "spool", clock_at(), [])
    queue(store, entries=[CAME])
    finished(store, NOW)
    place = now(store.journal_end())
    now(store.forget(NOW + 10 * DAY, GONE))
    assert numbers(store) == [1]
    first = finished(store, NOW + 11 * DAY)
    assert numbers(store) == [1, 2, 3]
    found = now(store.follow(place, 10))
    assert [(one.n, one.message) for one in found.entries] == [(2, first), (3, first)]
    assert [one.n for one in now(store.follow(found.place, 10)).entries] == []
    now(store.close())


def test_after_its_end_was_forgotten_and_nothing_new_came_nothing_comes_twice(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool", clock_at(), [])
    queue(store, entries=[CAME])
    finished(store, NOW)
    place = now(store.journal_end())
    now(store.forget(NOW + 10 * DAY, GONE))
    found = now(store.follow(place, 10))
    assert (found.entries, found.missed) == ((), 0)
    again = finished(store, NOW + 11 * DAY)
    assert [one.message for one in now(store.follow(found.place, 10)).entries] == [again, again]
    now(store.close())


def test_an_entry_that_is_no_json_stops_nobody(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool", clock_at(), [])
    queue(store, entries=[(NOW, b"[")])
    queue(store, entries=[CAME])
    found = now(store.follow(BEGINNING, 10))
    assert [one.entry[1] for one in found.entries] == [b"[]", CAME[1]]
    now(store.close())


def test_what_was_forgotten_in_the_midst_is_counted(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool", clock_at(), [])
    for number in range(100):
        queue(store, entries=[(NOW, b'["%d"]' % number * 50)])
    place = now(store.follow(BEGINNING, 10)).place
    now(store.forget(0.0, 0))
    later = (NOW + 1, CAME[1])
    queue(store, entries=[later])
    found = now(store.follow(place, 10))
    assert [one.entry for one in found.entries] == [later]
    for _ in range(20):
        queue(store, entries=[later])
    store.committer._writer.db.execute("DELETE FROM journal WHERE n > 1 AND n < 11").fetchall()
    found = now(store.follow(found.place, 100))
    assert (len(found.entries), found.missed) == (11, 9)
    now(store.close())
