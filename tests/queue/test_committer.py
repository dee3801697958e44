"""Group commit: one transaction for all that waits, and nobody pays for another's fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.message.address import Address
from relay.message.envelope import Envelope, Message, Recipient
from relay.queue import committer
from relay.queue.company import BEGIN_JOBS, ENOUGH_JOBS, REMEMBERED, WAIT_S
from relay.queue.sqlite import SqliteStore
from relay.queue.store import NewRecipient, Settlement, StoreUnavailable
from relay.queue.threads import Executors
from relay.queue.writer import Task
from tests.conformance.mail import FULL_ENVELOPE, NOW, ORIGIN, clock_at, now, to
from tests.fakes.executors import ByHand, Inline


@pytest.fixture
def storage() -> ByHand:
    return ByHand()


@pytest.fixture
def steps() -> list[tuple[str, dict[str, object]]]:
    return []


class Pauses(list[float]):
    """The storage thread's; and what happens in them."""

    def meanwhile(self) -> None: ...

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
        self.meanwhile()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def store(tmp_path: Path, storage: ByHand, steps: list[Any], pauses: Pauses) -> Iterator[SqliteStore]:
    store = SqliteStore(
        tmp_path,
        clock=clock_at(),
        executors=Executors(storage, Inline(), Inline(), pauses),
        reserve_octets=0,
        tell=lambda step, **fields: steps.append((step, fields)),
    )
    yield store
    closed = store.close()
    storage.run_all()
    now(closed)


def commit(store: SqliteStore, content: bytes = b"x", address: str = "bob@example.org") -> Deferred[Message]:
    draft = store.begin()
    draft.write(content)
    return draft.commit(FULL_ENVELOPE, ORIGIN, b"", (to(address),), NOW)


def meanwhile(store: SqliteStore, do: Callable[[], object]) -> None:
    """Does something while the next batch is being written."""
    store.committer.add(Task(lambda writer: do() and None))


def transactions(store: SqliteStore) -> Callable[[], int]:
    """Counts commits from now on."""
    count = [0]
    db = store.committer._writer.db

    def committed() -> int:
        count[0] += 1
        return 0

    db.set_commit_hook(lambda: bool(committed()))
    return lambda: count[0]


def test_all_that_arrives_while_one_is_written_is_one_transaction(store: SqliteStore, storage: ByHand) -> None:
    committed = transactions(store)
    first, later = commit(store), []
    meanwhile(store, lambda: later.extend(commit(store) for _ in range(200)))
    assert not first.called
    storage.run_one()
    assert first.called
    assert not any(one.called for one in later)
    storage.run_one()
    assert all(one.called for one in later)
    assert not storage.queue
    assert committed() == 2


def test_results_ride_in_the_same_transaction_as_new_mail_and_leases(store: SqliteStore, storage: ByHand) -> None:
    done = commit(store)
    storage.run_all()
    committed = transactions(store)
    together = [
        commit(store),
        store.record(Settlement(now(done).id, finished=(0,))),
        store.lease(NOW, NOW + 9, 10),
        store.next_due(),
    ]
    storage.run_one()
    assert all(one.called for one in together)
    assert committed() == 1
    assert store.counts().messages == 1


def test_what_comes_due_in_a_batch_is_known_to_the_question_behind_it(store: SqliteStore, storage: ByHand) -> None:
    """Else the scheduler would sleep over it."""
    commit(store)
    waiting = commit(store)
    due = store.next_due()
    storage.run_all()
    assert waiting.called
    assert now(due) == NOW


def test_the_next_batch_is_on_its_way_before_anybody_hears_of_the_last(store: SqliteStore, storage: ByHand) -> None:
    """The disk works while the reactor does."""
    under_way = []
    commit(store).addCallback(lambda _: under_way.append(len(storage.queue)))
    meanwhile(store, lambda: commit(store))
    storage.run_one()
    assert under_way == [1]


def crowded(store: SqliteStore, storage: ByHand) -> None:
    """Batches have been large for a while."""
    for _ in range(REMEMBERED):
        for _ in range(2 * BEGIN_JOBS):
            commit(store)
        storage.run_all()


def test_while_batches_are_large_the_next_one_waits_a_moment_for_company(
    store: SqliteStore, storage: ByHand, pauses: Pauses
) -> None:
    crowded(store, storage)
    committed = transactions(store)
    first = commit(store)
    company: list[Deferred[Any]] = []
    pauses.meanwhile = lambda: company.extend(commit(store) for _ in range(ENOUGH_JOBS - 1))
    storage.run_one()
    assert pauses == [WAIT_S]
    assert first.called and company[-1].called
    assert committed() == 1


def test_it_waits_once_more_when_few_have_come(store: SqliteStore, storage: ByHand, pauses: Pauses) -> None:
    crowded(store, storage)
    commit(store)
    company: list[Deferred[Any]] = []
    pauses.meanwhile = lambda: company.append(commit(store))
    storage.run_one()
    assert pauses == [WAIT_S, WAIT_S]
    assert [one.called for one in company] == [True, True]


def test_nobody_waits_for_company_while_batches_are_small(store: SqliteStore, storage: ByHand, pauses: Pauses) -> None:
    for _ in range(20):
        commit(store)
        storage.run_all()
    assert not pauses


def test_a_store_that_is_closed_while_it_waits_for_company_commits_first(store: SqliteStore, storage: ByHand) -> None:
    crowded(store, storage)
    last = commit(store)
    closed = store.close()
    storage.run_all()
    assert last.called and closed.called


def test_a_batch_is_bounded(store: SqliteStore, storage: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction is not to grow until memory is short, and nobody is to wait for thousands."""
    monkeypatch.setattr(committer, "BATCH_OCTETS", 100_000)
    monkeypatch.setattr(committer, "BATCH_JOBS", 5)
    large = [commit(store, b"x" * 60_000) for _ in range(5)]
    small = [commit(store) for _ in range(7)]
    fired = []
    while storage.queue:
        storage.run_one()
        fired.append(sum(one.called for one in large + small))
    assert fired == [2, 4, 9, 12]


def test_one_that_cannot_be_written_fails_alone(store: SqliteStore, storage: ByHand, steps: list[Any]) -> None:
    """A poison message blocks nothing else."""
    first = commit(store)
    before = commit(store)
    poison = store.committer.add(Task(lambda writer: writer.db.execute("INSERT INTO tally(id) VALUES (1)").fetchall()))
    bug = store.committer.add(Task(lambda writer: 1 // 0))
    after = commit(store)
    storage.run_all()
    for one in (first, before, after):
        assert now(one).size == 1
    for failing in (poison, bug):
        with pytest.raises(StoreUnavailable):
            now(failing)
    assert store.counts().messages == 3
    assert [step for step, _ in steps] == ["trouble", "trouble"]


def test_batches_are_counted_by_their_size_and_a_poison_job_is_no_trouble_of_the_store(
    store: SqliteStore, storage: ByHand
) -> None:
    before = sum(store.condition().batches.counts)
    for _ in range(4):
        commit(store)
    storage.run_all()
    condition = store.condition()
    assert (sum(condition.batches.counts) - before, condition.batches.total) == (1, 4)
    assert sum(condition.took_s.counts) == sum(condition.batches.counts)
    poison = store.committer.add(Task(lambda writer: 1 // 0))
    storage.run_all()
    with pytest.raises(StoreUnavailable):
        now(poison)
    assert (store.condition().trouble, store.condition().is_full) == ("", False)


def test_two_messages_with_one_id_do_not_overwrite_each_other(store: SqliteStore, storage: ByHand) -> None:
    ids = store._ids
    first = commit(store, b"first")
    ids._last -= 1
    second = commit(store, b"second")
    third = commit(store, b"third")
    storage.run_all()
    assert now(first).content == b"first"
    with pytest.raises(StoreUnavailable):
        now(second)
    assert now(third).content == b"third"


def test_an_address_that_is_no_text_fails_alone(store: SqliteStore, storage: ByHand) -> None:
    draft = store.begin()
    bad = NewRecipient(Recipient(Address("b\udc80b", "example.org")), "lane", NOW)
    with pytest.raises(StoreUnavailable):
        now(draft.commit(FULL_ENVELOPE, ORIGIN, b"", (bad,), NOW))
    draft = store.begin()
    sender = Envelope(Address("b\udc80b", "example.org"))
    with pytest.raises(StoreUnavailable):
        now(draft.commit(sender, ORIGIN, b"", (to("bob@example.org"),), NOW))
    assert not storage.queue


def test_a_message_without_recipients_is_refused(store: SqliteStore) -> None:
    """Nobody would ever finish it."""
    with pytest.raises(StoreUnavailable):
        now(store.begin().commit(FULL_ENVELOPE, ORIGIN, b"", (), NOW))


def test_closing_commits_what_is_under_way(store: SqliteStore, storage: ByHand) -> None:
    waiting = [commit(store) for _ in range(3)]
    closed = store.close()
    with pytest.raises(StoreUnavailable):
        store.begin()
    storage.run_all()
    assert all(one.called for one in waiting)
    now(closed)


def test_whoever_closes_it_hears_when_the_spool_is_free(tmp_path: Path) -> None:
    """A relay that was told twice to stop took itself for stopped while its spool was still locked."""
    reading = ByHand()
    store = SqliteStore(
        tmp_path / "spool", clock=clock_at(), executors=Executors(Inline(), reading, Inline()), reserve_octets=0
    )
    first, second = store.close(), store.close()
    assert not (first.called or second.called)
    reading.run_all()
    assert first.called and second.called
    SqliteStore(
        tmp_path / "spool", clock=clock_at(), executors=Executors(Inline(), Inline(), Inline()), reserve_octets=0
    ).close()
