"""The store on disk and the one in memory, side by side through any history: they never tell different things.

The memory store is simple enough to be seen to be right; the one on disk has batches, lanes, claims, tallies.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock

from relay.message.envelope import Envelope, Origin
from relay.message.outcome import Action, Final
from relay.queue.sqlite import RECLAIM_S, SqliteStore
from relay.queue.store import (
    EVERYTHING,
    Leased,
    NewMessage,
    NewRecipient,
    QueuedRecipient,
    Selection,
    Settlement,
    State,
    Store,
)
from tests.conformance.mail import NOW, all_of, clock_at, now, queue, to
from tests.examples import examples
from tests.fakes.executors import inline
from tests.fakes.memory_store import MemoryStore

LANES = ("one.example", "two.example", "three.example")
FINAL = Final(Action.FAILED, "5.1.1", "550 no", "mx", NOW)

lanes = st.sampled_from(LANES)
resting = st.frozensets(lanes, max_size=2)
soon = st.integers(-20, 40)
new_recipients = st.lists(st.tuples(lanes, soon, st.sampled_from(State), st.booleans()), min_size=1, max_size=4)
selections = st.one_of(
    st.just(EVERYTHING),
    st.builds(lambda lanes: Selection(lanes=tuple(lanes)), st.frozensets(lanes, min_size=1)),
    st.builds(lambda state: Selection(state=state), st.sampled_from(State)),
)
what_became = st.sampled_from(["finished", "waiting", "held", "owing", "given back", "lost"])


class TwoStores(RuleBasedStateMachine):
    """``names`` says which message of the one is which of the other."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock: Clock = clock_at()
        self.memory = MemoryStore(self.clock)
        self.names: dict[str, str] = {}
        self.open()

    def open(self) -> None:
        place = Path(self.folder.name) / "spool"
        self.disk = SqliteStore(place, clock=self.clock, executors=inline(), reserve_octets=0)

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            now(self.disk.close())
            self.folder.cleanup()

    @property
    def both(self) -> tuple[Store, Store]:
        return self.memory, self.disk

    @rule(recipients=new_recipients, is_large=st.booleans())
    def commit(self, recipients: list[tuple[str, int, State, bool]], is_large: bool) -> None:
        content = b"x" * (70_000 if is_large else 10)
        new = [self.new(*one) for one in recipients]
        at = self.clock.seconds()
        came = ((at, b'["accepted"]'),)
        memory, disk = (queue(store, *new, content=content, accepted_at=at, entries=came) for store in self.both)
        self.names[disk.id] = memory.id

    def new(self, lane: str, due_in: int, state: State, is_in_hand: bool) -> NewRecipient:
        attempts = int(is_in_hand and state is State.WAITING and due_in > 0)
        final = FINAL if state is State.OWING else None
        due_at = self.clock.seconds() + due_in
        return replace(to("bob@example.org", lane, due_at, state=state, attempts=attempts), final=final)

    @rule(resting=resting, lane=st.one_of(st.none(), lanes), then=st.lists(what_became, min_size=5, max_size=5))
    def lease(self, resting: frozenset[str], lane: str | None, then: list[str]) -> None:
        at = self.clock.seconds()
        memory, disk = (now(store.lease(at, at + 15, 1000, resting, lane)) for store in self.both)
        self.compare(memory, disk)
        for number, (one, other) in enumerate(zip(by_name(memory, {}), by_name(disk, self.names), strict=True)):
            self.settle(one, other, then[number % 5])

    @rule(warn=st.integers(0, 60), expire=st.integers(0, 120))
    def overdue(self, warn: int, expire: int) -> None:
        at = self.clock.seconds()
        memory, disk = (now(store.overdue(at, at + 15, 1000, at - warn, at - expire)) for store in self.both)
        self.compare(memory, disk)

    def compare(self, memory: Sequence[Leased], disk: Sequence[Leased]) -> None:
        assert by_name(memory, {}) == [renamed(one, self.names) for one in by_name(disk, self.names)]

    def settle(self, memory: Leased, disk: Leased, what: str) -> None:
        assert memory.recipients == disk.recipients
        numbers = tuple(one.number for one in memory.recipients)
        at = self.clock.seconds()
        readers = (to("ann@client.example", LANES[0]),)
        report = NewMessage(Envelope(None), Origin(), b"", b"report", readers, at, ((at, b'["accepted"]'),))
        tried = ((at, f'["attempted","{what}"]'.encode()),)
        for store, message_id in ((self.memory, memory.message.id), (self.disk, disk.message.id)):
            if what == "given back":
                now(store.release_lease(message_id, numbers, self.clock.seconds() + 3))
            elif what == "finished":
                reports = (report,) * (len(numbers) % 2)
                reported = now(store.record(Settlement(message_id, numbers, (), reports, numbers, tried)))
                if reported and store is self.memory:
                    made = reported[0][0].id
                elif reported:
                    self.names[reported[0][0].id] = made
            elif what != "lost":
                changed = tuple(self.changed(one, what) for one in memory.recipients)
                now(store.record(Settlement(message_id, changed=changed, entries=tried)))

    def changed(self, one: QueuedRecipient, what: str) -> QueuedRecipient:
        final = FINAL if what == "owing" else None
        lane = LANES[(LANES.index(one.lane) + 1) % 3]
        due_at = self.clock.seconds() + 5 + one.number
        return replace(one, state=State(what), lane=lane, due_at=due_at, final=final, warned=True, note=what)

    @rule(selection=selections, what=st.sampled_from(["hold", "release", "retry", "remove"]))
    def operate(self, selection: Selection, what: str) -> None:
        at = self.clock.seconds()
        memory, disk = (
            {
                "hold": lambda store: now(store.hold(selection, "held")),
                "release": lambda store: now(store.release(selection, at)),
                "retry": lambda store: now(store.retry(selection, at)),
                "remove": lambda store: now(store.remove(selection)),
            }[what](store)
            for store in self.both
        )
        assert memory == disk

    @rule(words=st.sampled_from(["", "finished", "HELD"]), seconds=st.integers(0, 60))
    def search(self, words: str, seconds: int) -> None:
        at = self.clock.seconds()
        memory, disk = (all_of(store.journeys(at - seconds, at, words)) for store in self.both)
        assert [one for one, _ in memory] == [self.names[one] for one, _ in disk]

    @rule(seconds=st.integers(0, 60))
    def forget(self, seconds: int) -> None:
        at = self.clock.seconds()
        for store in self.both:
            now(store.forget(at - seconds, 1 << 30))

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.names)
    @rule()
    def start_again(self) -> None:
        """A new life knows that nobody is in hand, and changes nothing else."""
        now(self.disk.close())
        self.open()
        at = self.clock.seconds()
        for stored in self.memory.messages.values():
            for number, one in stored.recipients.items():
                due_at = one.due_at
                if one.state is State.OWING:
                    due_at = min(due_at, at)
                elif one.state is State.WAITING and number in stored.in_hand:
                    due_at = min(due_at, at + RECLAIM_S * max(one.attempts, 1))
                stored.recipients[number] = replace(one, due_at=due_at)
            stored.in_hand.clear()

    @rule(resting=resting)
    def look(self, resting: frozenset[str]) -> None:
        memory, disk = (now(store.next_due(resting)) for store in self.both)
        at = self.clock.seconds()
        assert memory == disk or (None not in (memory, disk) and max(memory or 0, disk or 0) <= at)

    @invariant()
    def they_tell_the_same(self) -> None:
        if not hasattr(self, "disk"):
            return
        assert self.memory.counts() == self.disk.counts()
        listed = [replace(row, message_id=self.names[row.message_id]) for row in all_of(self.disk.list())]
        assert listed == all_of(self.memory.list())
        on_disk, in_memory = now(self.disk.lanes()), now(self.memory.lanes())
        assert on_disk == in_memory
        for on_disk_id, in_memory_id in self.names.items():
            told = [(at, json.loads(text)) for at, text in all_of(self.disk.journey(on_disk_id))]
            for _, entry in told:
                if entry[0] == "reported":
                    entry[1] = self.names[entry[1]]
            assert told == [(at, json.loads(text)) for at, text in all_of(self.memory.journey(in_memory_id))]


def by_name(leased: Sequence[Leased], names: dict[str, str]) -> list[Leased]:
    """In an order that does not depend on the store."""
    return sorted(leased, key=lambda one: (names.get(one.message.id, one.message.id), one.recipients[0].number))


def renamed(leased: Leased, names: dict[str, str]) -> Leased:
    return replace(leased, message=replace(leased.message, id=names[leased.message.id]))


class TestTwoStores(TwoStores.TestCase):  # type: ignore[valid-type,misc]
    settings = examples(8, stateful_step_count=25, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
class TestTwoStoresForLong(TwoStores.TestCase):  # type: ignore[valid-type,misc]
    settings = examples(80, stateful_step_count=50, suppress_health_check=list(HealthCheck))
