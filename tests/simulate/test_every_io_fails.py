"""Every operation on the disk fails once: the 1st, the 2nd, the 3rd …, until a run has no fault.

After each the machine may go on, be killed, or lose its power; then the queue is opened again, and holds what was
promised: what was acknowledged and is not finished is there, whole; what was finished is gone, with its
report in its place.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from relay.message.envelope import Message
from relay.queue import schema
from relay.queue.batch import ENTRY_OCTETS
from relay.queue.ids import to_text
from relay.queue.sqlite import SqliteStore
from relay.queue.store import NewMessage, QueuedRecipient, Settlement, State, StoreUnavailable
from relay.testing.database import SimulatedVfs
from relay.testing.disk import Disk, SimulatedFiles, in_memory
from tests.conformance.mail import (
    ANN,
    FULL_ENVELOPE,
    NOW,
    ORIGIN,
    all_of,
    clock_at,
    content_of,
    lease,
    now,
    to,
    whole,
)
from tests.fakes.executors import inline

SMALL, LARGE = b"Subject: small\r\n\r\n.\r\n", b"Subject: large\r\n\r\n" + b"x" * 400_000 + b"\r\n"
CAME, TRIED = b'["accepted"]', b'["attempted"]'
LATER = NOW + 7200  # the next lives: the clock has gone on, and no lease holds any more


class Machine:
    """A disk, and one life of a store after the other on it.

    kept      contents that were acknowledged and are not finished, by message id
    doubtful  ids of which the store said neither yes nor no, for the machine died over it
    was_left_out  the journal may have been: its trouble keeps no mail from going
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        folder.mkdir()
        self.disk = Disk(folder, Random(seed))
        self.kept: dict[str, bytes] = {}
        self.doubtful: set[str] = set()
        self.at = NOW
        self.aside: set[object] = set()
        self.was_left_out = False
        self._vfs = SimulatedVfs(self.disk)
        self._store: SqliteStore | None = None

    def begin(self) -> SqliteStore:
        self.files = SimulatedFiles(self.disk)
        self.clock = clock_at(self.at)
        self._store = SqliteStore(
            self.disk.folder,
            clock=self.clock,
            executors=inline(),
            files=self.files,
            tell=self.tell,
            reserve_octets=64 * 1024,
            vfs=self._vfs.name,
        )
        return self._store

    def tell(self, step: str, /, **fields: object) -> None:
        if step == "set_aside":
            self.aside.add(fields.get("id"))
        self.was_left_out = self.was_left_out or "journal" in str(fields.get("error"))

    def begin_at_last(self) -> SqliteStore:
        """A start that is refused for a fault that passes is tried again, as an operator would."""
        try:
            return self.begin()
        except (StoreUnavailable, OSError):
            if self.disk.is_dead:
                raise
            return self.begin()

    def end(self, power: bool) -> None:
        """The process is gone, or the whole machine, and is there again."""
        self.disk.is_dead = True
        if self._store is not None:
            self._store._listing.close()
            self._store._writer.close()
            self._store._spool.close()
            self._store = None
        self.files.let_go()
        if power:
            self.disk.lose_power()
        self.disk.restart()
        self.at = LATER

    # -- what is done, and what was said to it ---------------------------------------------------

    def accept(self, store: SqliteStore, content: bytes) -> str:
        try:
            message = hand_in(store, content)
        except StoreUnavailable:
            return ""
        self.kept[message.id] = content
        return message.id

    def finish(self, store: SqliteStore, message_id: str, report: bytes = b"") -> None:
        null = replace(FULL_ENVELOPE, reverse_path=None)
        new = NewMessage(null, ORIGIN, b"", report, (to(str(ANN)),), self.at, ((self.at, CAME),))
        reports = (new,) if report else ()
        settlement = Settlement(message_id, (0,), (), reports, (0,), ((self.at, TRIED),))
        try:
            reported = now(store.record(settlement))
        except StoreUnavailable:
            self.doubtful.add(message_id)
            return
        self.kept.pop(message_id, None)
        for message, _ in reported:
            self.kept[message.id] = report

    def check(self) -> None:
        """Opens the queue again without any fault, and holds it against what was said."""
        self.disk.fail_at.clear()
        self.disk.crash_at = None
        store = self.begin()
        there = {row.message_id for row in all_of(store.list())}
        for message_id in self.kept:
            assert message_id in there or message_id in self.doubtful, f"{message_id} is lost"
        contents = {}
        for message_id in there:
            message, recipients = whole(store, message_id)
            assert recipients
            contents[message_id] = message.content if message.content is not None else content_of(store, message_id)
        for message_id, content in contents.items():
            assert content == self.kept.get(message_id, content)
        # A commit that was refused because the log could not be synced may come back when the power goes next; then
        # its body is gone, and it is set aside.  Nobody was told 250.
        assert not self.aside & self.kept.keys()
        assert None not in self.aside
        bodies = [path for path in (self.disk.folder / "bodies").rglob("*") if path.is_file()]
        assert len(bodies) == sum(len(content) > 65536 for content in contents.values())
        assert store.counts().messages == len(there)
        self.check_journal(store, there)
        now(store.close())
        self._store = None

    def check_journal(self, store: SqliteStore, there: set[str]) -> None:
        """What is journaled is journaled with what it tells of, or neither is done."""
        told = {one: [text for _, text in entries] for one, entries in all_of(store.journeys())}
        assert store.counts().journal == sum(len(text) + ENTRY_OCTETS for texts in told.values() for text in texts)
        if self.was_left_out:
            return
        assert there <= told.keys()
        for message_id, texts in told.items():
            assert texts[0] == CAME
            assert (TRIED in texts) == (message_id not in there) or message_id in self.aside


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, where there is one: hundreds of spools are made in it."""
    with TemporaryDirectory(prefix="relay-io-", dir=in_memory()) as folder:
        yield Path(folder)


def hand_in(store: SqliteStore, content: bytes) -> Message:
    """As a listener does it.  Raises StoreUnavailable."""
    draft = store.begin()
    try:
        for at in range(0, len(content), 16384):
            wait = draft.write(content[at : at + 16384])
            if wait is not None:
                now(wait)
        entries = [(NOW, CAME)]
        return now(draft.commit(FULL_ENVELOPE, ORIGIN, b"Received: by us\r\n", [to("bob@example.org")], NOW, entries))
    except StoreUnavailable:
        draft.abort()
        raise


def fill(machine: Machine, store: SqliteStore) -> None:
    """Commits, small and large."""
    for content in (SMALL, LARGE, SMALL + b"second\r\n"):
        machine.accept(store, content)


def settle(machine: Machine, store: SqliteStore) -> None:
    """Results: delivered; failed, with a small report and with a large one; and one that waits again."""
    fill(machine, store)
    ids = list(machine.kept)
    for message_id, report in zip(ids, (b"", SMALL, LARGE), strict=False):
        machine.finish(store, message_id, report)


def lease_and_wait(machine: Machine, store: SqliteStore) -> None:
    """Leases, deferrals, leases given back."""
    fill(machine, store)
    try:
        for leased in lease(store):
            row: QueuedRecipient = replace(leased.recipients[0], state=State.WAITING, due_at=NOW + 60, note="later")
            now(store.record(Settlement(leased.message.id, changed=(row,))))
            now(store.release_lease(leased.message.id, [0], NOW + 30))
    except StoreUnavailable:
        pass


def give_up_drafts(machine: Machine, store: SqliteStore) -> None:
    """Drafts that are aborted half way, and one that is left lying."""
    fill(machine, store)
    for is_aborted in (True, False):
        try:
            draft = store.begin()
            for at in range(0, len(LARGE), 16384):
                wait = draft.write(LARGE[at : at + 16384])
                if wait is not None:
                    wait.addErrback(lambda _: None)
        except StoreUnavailable:
            continue
        if is_aborted:
            draft.abort()


def start_again(machine: Machine, store: SqliteStore) -> None:
    """A sweep over what a crash has left, and a stop in order."""
    give_up_drafts(machine, store)
    if machine.disk.is_dead:
        return
    machine.end(power=False)
    store = machine.begin_at_last()
    machine.accept(store, SMALL + b"third\r\n")
    now(store.close())
    machine._store = None


def go_on(machine: Machine, store: SqliteStore) -> None:
    """Commits, with time enough between them for the store to recover from trouble."""
    for number in range(4):
        machine.accept(store, SMALL + b"%d\r\n" % number)
        machine.clock.advance(10)


STORIES = [
    settle,
    *(pytest.param(one, marks=pytest.mark.slow) for one in (lease_and_wait, give_up_drafts, start_again)),
]


def live(machine: Machine, story: Callable[[Machine, SqliteStore], None]) -> None:
    """Goes through the story, as far as the disk lets it."""
    try:
        story(machine, machine.begin_at_last())
    except Exception:
        if not machine.disk.is_dead:
            raise


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("story", STORIES)
def test_any_operation_may_fail(story: Callable[[Machine, SqliteStore], None], code: int, memory: Path) -> None:
    for at in range(1, 10_000):
        machine = Machine(memory / str(at))
        machine.disk.fail_at[at] = code
        machine.was_left_out = code == errno.ENOSPC
        live(machine, story)
        had_no_fault = bool(machine.disk.fail_at)
        machine.end(power=bool(at % 2))
        machine.check()
        if had_no_fault:
            assert at > 30
            return


@pytest.mark.parametrize("gap", [*range(1, 5), *(pytest.param(gap, marks=pytest.mark.slow) for gap in range(5, 9))])
def test_what_was_refused_does_not_come_back_while_we_live(gap: int, memory: Path) -> None:
    """A commit failed, and so did what SQLite does when its last connection is closed.  Then the octets of that commit
    are in the log, and whoever opens it anew takes them for committed: mail that nobody has in hand (seed 31905)."""
    for at in range(1, 10_000):
        machine = Machine(memory / str(at))
        store = machine.begin()
        first = machine.disk.operations + at
        machine.disk.fail_at |= {first: errno.EIO, first + gap: errno.EIO}
        go_on(machine, store)
        assert {row.message_id for row in all_of(store.list())} == machine.kept.keys()
        had_no_fault = len(machine.disk.fail_at) == 2
        machine.end(power=False)
        if had_no_fault:
            assert at > 20
            return


@pytest.mark.slow
def test_trouble_may_come_in_the_midst_of_trouble(memory: Path) -> None:
    """A commit failed, so the database was opened anew with a new log; the sync of that log's name failed too, which
    SQLite keeps to itself.  What was acknowledged later was lost with the power."""
    for at in range(1, 10_000):
        for gap in range(1, 16):
            machine = Machine(memory / f"{at}-{gap}", seed=gap)
            store, first = machine.begin(), machine.disk.operations + at
            machine.disk.fail_at |= {first: errno.EIO, first + gap: errno.EIO}
            go_on(machine, store)
            had_no_fault = bool(machine.disk.fail_at)
            machine.end(power=True)
            machine.check()
            if had_no_fault and gap == 1:
                assert at > 20
                return


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("story", STORIES)
def test_the_machine_may_die_in_any_operation(
    story: Callable[[Machine, SqliteStore], None], power: bool, memory: Path
) -> None:
    for at in range(1, 10_000):
        machine = Machine(memory / str(at), seed=at)
        machine.disk.crash_at = at
        live(machine, story)
        has_died = machine.disk.is_dead
        machine.end(power)
        machine.check()
        if not has_died:
            assert at > 30
            return


@pytest.mark.parametrize("power", [False, True])
def test_a_migration_may_die_in_any_operation(power: bool, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done whole or not at all, and the mail is there whichever."""
    newer = (*schema.STEPS, "ALTER TABLE messages ADD COLUMN colour TEXT; UPDATE messages SET colour = 'blue';")
    older = schema.migrate.__defaults__
    for at in range(1, 10_000):
        machine = Machine(memory / str(at), seed=at)
        store = machine.begin()
        fill(machine, store)
        now(store.close())
        machine._store = None
        monkeypatch.setattr(schema.migrate, "__defaults__", (newer,))
        machine.disk.crash_at = machine.disk.operations + at
        live(machine, lambda machine, store: None)
        has_died = machine.disk.is_dead
        machine.end(power)
        machine.check()
        monkeypatch.setattr(schema.migrate, "__defaults__", older)
        if not has_died:
            assert at > 5
            return


def as_the_first_relay_left_it(machine: Machine) -> None:
    """A queue of the first version, without a journal, with one message."""
    SimulatedFiles(machine.disk).make_directory(machine.disk.folder)
    db = schema.open_for_writing(str(machine.disk.folder / "queue.db"), machine._vfs.name)
    schema.migrate(db, schema.STEPS[:1])
    envelope = '[["ann","client.example"],"7BIT",false,null,null,"192.0.2.1","unknown","client","ESMTP",null]'
    number = 460_800_000_064_000_000
    with db:
        values = (number, envelope, b"H: 1\r\n", SMALL)
        db.execute("INSERT INTO messages VALUES (?, 1.8e9, 'ann@client.example', 9, ?, ?, ?)", values).fetchall()
        db.execute(
            "INSERT INTO recipients VALUES (?, 0, 'bob', 'x.example', NULL, 'x.example', 1.8e9, 1, 0, '', 0, NULL)",
            (number,),
        ).fetchall()
        db.execute("UPDATE tally SET messages = 1, octets = 9, recipients = 1, ids_below = ?", (number + 1,)).fetchall()
    db.close()
    for folder in (machine.disk.folder, machine.disk.folder.parent):
        SimulatedFiles(machine.disk).sync_directory(folder)
    machine.kept[to_text(number)] = SMALL
    machine.was_left_out = True  # nobody journaled that it came


@pytest.mark.parametrize("power", [False, True])
def test_the_journal_may_be_added_and_the_machine_die_in_any_operation(power: bool, memory: Path) -> None:
    for at in range(1, 10_000):
        machine = Machine(memory / str(at), seed=at)
        as_the_first_relay_left_it(machine)
        machine.disk.crash_at = machine.disk.operations + at
        live(machine, lambda machine, store: None)
        has_died = machine.disk.is_dead
        machine.end(power)
        machine.check()
        if not has_died:
            assert at > 5
            return
