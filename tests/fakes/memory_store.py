"""The queue in memory: the same promises as on disk, for as long as the test lives.

It passes the conformance suite of every store.  Deferreds fire at once, unless a test asks to fire
them by hand; a method fails as long as its name is in ``trouble``:

    store.trouble["commit"] = StoreFull("no room")     begin, write, commit, record, lease, open
    store.slow_commits = True                          ... store.commit_now()
    store.slow_writes = True                           ... store.write_now()
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from relay.message.envelope import Envelope, Message, Origin
from relay.message.histogram import Histogram
from relay.message.journey import Entry, changed, place_of, read, reported
from relay.message.step import Tell, tell_nobody
from relay.queue.batch import ENTRY_OCTETS
from relay.queue.selection import address_key, below_or_same
from relay.queue.store import (
    BEGINNING,
    EVERYTHING,
    FOR_EVER,
    INLINE_LIMIT_OCTETS,
    Condition,
    Counts,
    Followed,
    Leased,
    NewRecipient,
    Noted,
    Place,
    QueuedRecipient,
    QueueRow,
    Selection,
    Settlement,
    State,
    StoreUnavailable,
)

PIECE_OCTETS = 64 * 1024

T = TypeVar("T")

Reported = Sequence[tuple[Message, tuple[QueuedRecipient, ...]]]


@dataclass(slots=True)
class Stored:
    """A message in Q.  ``in_hand`` are the numbers of those that are being tried."""

    message: Message
    content: bytes
    recipients: dict[int, QueuedRecipient]
    in_hand: set[int] = field(default_factory=set)


class MemoryDraft:
    def __init__(self, store: MemoryStore, message_id: str) -> None:
        self.id = message_id
        self._store = store
        self._pieces: list[bytes] | None = []
        self._slow: list[Deferred[None]] = []

    def write(self, data: bytes) -> Deferred[None] | None:
        assert self._pieces is not None, "write after commit or abort"
        trouble = self._store.trouble.get("write")
        if trouble is not None:
            return fail(trouble)
        self._pieces.append(bytes(data))
        if not self._store.slow_writes:
            return None
        self._slow.append(self._store.slowly_written())
        return self._slow[-1]

    def commit(
        self,
        envelope: Envelope,
        origin: Origin,
        head: bytes,
        recipients: Sequence[NewRecipient],
        accepted_at: float,
        entries: Sequence[Entry] = (),
    ) -> Deferred[Message]:
        assert self._pieces is not None, "commit after commit or abort"
        content, self._pieces = b"".join(self._pieces), None
        self._store.drafts.discard(self.id)
        carried = content if len(content) <= INLINE_LIMIT_OCTETS else None
        message = Message(self.id, envelope, origin, accepted_at, head, carried, len(head) + len(content))
        return self._store.commit(message, content, recipients, entries)

    def abort(self) -> None:
        self._pieces = None
        self._store.drafts.discard(self.id)
        for waiting in self._slow:
            if not waiting.called:
                waiting.errback(StoreUnavailable("the draft was aborted"))


class MemoryContent:
    def __init__(self, store: MemoryStore, message_id: str) -> None:
        self._store = store
        self._id = message_id
        self._at = 0
        self._content: bytes | None = None

    def read(self) -> Deferred[bytes]:
        trouble = self._store.trouble.get("open")
        if trouble is not None:
            return fail(trouble)
        if self._content is None:
            stored = self._store.messages.get(self._id)
            if stored is None or stored.message.content is not None:
                return fail(StoreUnavailable(f"there is no content of {self._id} to read"))
            self._content = stored.content
        piece = self._content[self._at : self._at + PIECE_OCTETS]
        self._at += len(piece)
        return succeed(piece)

    def close(self) -> None:
        self._content = b""


class MemoryStore:
    """A Store without a disk.

    trouble       method name -> the exception with which it fails
    messages      what is in Q: id -> Stored, in the order of acceptance
    drafts        the ids in D
    journal       entries by message id, in the order in which the first of each was written
    slow_commits  commits wait for ``commit_now``
    slow_writes   writes give a Deferred that waits for ``write_now``
    """

    def __init__(self, clock: IReactorTime, tell: Tell = tell_nobody) -> None:
        self.messages: dict[str, Stored] = {}
        self.drafts: set[str] = set()
        self.journal: dict[str, list[Entry]] = {}
        self.written: list[tuple[str, Entry]] = []  # the journal in the order in which it came
        self.journals = True
        self.trouble: dict[str, StoreUnavailable] = {}
        self.slow_commits = False
        self.slow_writes = False
        self.closed = False
        self._clock = clock
        self._tell = tell
        self._last = 0
        self._turn = 0
        self._served: dict[str, int] = {}
        self._commits: deque[tuple[Deferred[Message], Callable[[], Message]]] = deque()
        self._writes: deque[Deferred[None]] = deque()

    # -- by hand, for tests ---------------------------------------------------------------------

    def commit_now(self, how_many: int | None = None) -> None:
        """Lets the oldest waiting commits happen, all of them by default."""
        for _ in range(len(self._commits) if how_many is None else how_many):
            fired, put = self._commits.popleft()
            trouble = self.trouble.get("commit")
            if trouble is not None:
                fired.errback(trouble)
            else:
                fired.callback(put())

    def write_now(self) -> None:
        """Lets the oldest waiting write happen, if nobody has given it up."""
        oldest = self._writes.popleft()
        if not oldest.called:
            oldest.callback(None)

    @property
    def waiting_commits(self) -> int:
        return len(self._commits)

    def slowly_written(self) -> Deferred[None]:
        self._writes.append(Deferred())
        return self._writes[-1]

    # -- the way in -----------------------------------------------------------------------------

    def begin(self) -> MemoryDraft:
        self._check("begin")
        draft = MemoryDraft(self, self._new_id())
        self.drafts.add(draft.id)
        return draft

    def commit(
        self, message: Message, content: bytes, recipients: Sequence[NewRecipient], entries: Sequence[Entry]
    ) -> Deferred[Message]:
        def put() -> Message:
            self._put(message, content, recipients)
            self._note(message.id, entries)
            return message

        if self.slow_commits:
            fired: Deferred[Message] = Deferred()
            self._commits.append((fired, put))
            return fired
        return self._answer("commit", put)

    # -- trying ---------------------------------------------------------------------------------

    def lease(
        self, now: float, until: float, limit: int, resting: frozenset[str] = frozenset(), lane: str | None = None
    ) -> Deferred[Sequence[Leased]]:
        return self._answer("lease", lambda: self._lease(now, until, limit, resting, lane))

    def _lease(
        self, now: float, until: float, limit: int, resting: frozenset[str], lane: str | None
    ) -> Sequence[Leased]:
        taken: list[Leased] = []
        if lane is None:
            owing = dict.fromkeys(
                message_id for _, message_id, name in sorted(self._due(now), key=first) if name is None
            )
            taken += [self._take(message_id, None, now, until) for message_id in list(owing)[:limit]]
        while len(taken) < limit:
            due = [
                (self._served.get(name, 0), at, name, message_id)
                for at, message_id, name in self._due(now)
                if name is not None and name not in resting and (lane is None or name == lane)
            ]
            if not due:
                break
            _, _, name, message_id = min(due)
            self._turn += 1
            self._served[name] = self._turn
            taken.append(self._take(message_id, name, now, until))
        return taken

    def _due(self, now: float) -> Iterator[tuple[float, str, str | None]]:
        """What is due: (due_at, message id, lane), the lane None for what is owing."""
        for message_id, stored in self.messages.items():
            for one in stored.recipients.values():
                if one.due_at <= now and one.state is not State.HELD:
                    yield one.due_at, message_id, None if one.state is State.OWING else one.lane

    def _take(self, message_id: str, lane: str | None, now: float, until: float) -> Leased:
        stored = self.messages[message_id]
        state = State.OWING if lane is None else State.WAITING
        taken = []
        for number, one in stored.recipients.items():
            if one.state is state and one.due_at <= now and lane in (None, one.lane):
                attempts = one.attempts if lane is None else one.attempts + 1
                stored.recipients[number] = replace(one, due_at=until, attempts=attempts)
                stored.in_hand.add(number)
                taken.append(stored.recipients[number])
        return Leased(stored.message, tuple(taken))

    def overdue(
        self, now: float, until: float, limit: int, warn_before: float, expire_before: float
    ) -> Deferred[Sequence[Leased]]:
        return self._answer("lease", lambda: self._overdue(now, until, limit, warn_before, expire_before))

    def _overdue(
        self, now: float, until: float, limit: int, warn_before: float, expire_before: float
    ) -> Sequence[Leased]:
        taken: list[Leased] = []
        of_messages: set[str] = set()
        for message_id, stored in self.messages.items():
            accepted_at = stored.message.accepted_at
            if accepted_at >= warn_before and accepted_at >= expire_before:
                continue
            by_lane: dict[str, list[QueuedRecipient]] = {}
            for one in stored.recipients.values():
                too_old = accepted_at < expire_before or (accepted_at < warn_before and not one.warned)
                if too_old and one.state is State.WAITING and one.due_at <= now:
                    by_lane.setdefault(one.lane, []).append(replace(one, due_at=until))
            if by_lane and len(of_messages) == limit:
                break
            for ones in by_lane.values():
                of_messages.add(message_id)
                stored.recipients.update({one.number: one for one in ones})
                stored.in_hand.update(one.number for one in ones)
                taken.append(Leased(stored.message, tuple(ones)))
        return taken

    def release_lease(self, message_id: str, numbers: Sequence[int], due_at: float) -> Deferred[None]:
        def release() -> None:
            stored = self.messages.get(message_id)
            for number in numbers:
                one = stored.recipients.get(number) if stored else None
                if stored and one:
                    attempts = one.attempts if one.state is State.OWING else max(0, one.attempts - 1)
                    stored.recipients[number] = replace(one, due_at=due_at, attempts=attempts)
                    stored.in_hand.discard(number)

        return self._answer("release_lease", release)

    def record(self, settlement: Settlement) -> Deferred[Reported]:
        return self._answer("record", lambda: self._record(settlement))

    def _record(self, settlement: Settlement) -> Reported:
        self._note(settlement.message_id, settlement.entries)
        made = []
        for new in settlement.reports:
            carried = new.content if len(new.content) <= INLINE_LIMIT_OCTETS else None
            size = len(new.head) + len(new.content)
            message = Message(self._new_id(), new.envelope, new.origin, new.accepted_at, new.head, carried, size)
            stored = self._put(message, new.content, new.recipients)
            made.append((message, tuple(stored.recipients.values())))
            readers = [str(one.recipient.address) for one in new.recipients]
            that = reported(message.id, readers, settlement.reported)
            self._note(settlement.message_id, [(new.accepted_at, that)])
            self._note(message.id, new.entries)
        stored_now = self.messages.get(settlement.message_id)
        if stored_now is not None:
            for number in settlement.finished:
                stored_now.recipients.pop(number, None)
            for one in settlement.changed:
                self._change(stored_now, one)
            if not stored_now.recipients:
                del self.messages[settlement.message_id]
        return made

    @staticmethod
    def _change(stored: Stored, one: QueuedRecipient) -> None:
        before = stored.recipients.get(one.number)
        if before is None:
            return
        if before.state is State.HELD and one.state is State.WAITING:
            one = replace(one, state=State.HELD, note=before.note)
        stored.recipients[one.number] = one
        stored.in_hand.discard(one.number)

    def open(self, message_id: str) -> MemoryContent:
        return MemoryContent(self, message_id)

    def next_due(self, resting: frozenset[str] = frozenset()) -> Deferred[float | None]:
        return self._answer(
            "next_due",
            lambda: min(
                (at for at, _, lane in self._due(float("inf")) if lane is None or lane not in resting), default=None
            ),
        )

    # -- for operators --------------------------------------------------------------------------

    async def list(
        self, selection: Selection = EVERYTHING, after: str = "", newest_first: bool = False
    ) -> AsyncIterator[QueueRow]:
        self._check("list")
        for message_id in sorted(self.messages, reverse=newest_first):
            stored = self.messages.get(message_id)
            if stored is not None and (not after or (message_id < after if newest_first else message_id > after)):
                for one in sorted(stored.recipients.values(), key=lambda one: one.number, reverse=newest_first):
                    if matches(selection, stored.message, one):
                        yield row(stored.message, one)

    def read(self, message_id: str) -> Deferred[tuple[Message, tuple[QueuedRecipient, ...]] | None]:
        def found() -> tuple[Message, tuple[QueuedRecipient, ...]] | None:
            stored = self.messages.get(message_id)
            return (stored.message, tuple(stored.recipients.values())) if stored else None

        return self._answer("read", found)

    def hold(self, selection: Selection, why: str, by: str = "") -> Deferred[int]:
        return self._each(
            "held", by, why, selection, State.WAITING, lambda one: replace(one, state=State.HELD, note=why)
        )

    def release(self, selection: Selection, now: float, by: str = "") -> Deferred[int]:
        return self._each(
            "released", by, "", selection, State.HELD, lambda one: replace(one, state=State.WAITING, due_at=now)
        )

    def retry(self, selection: Selection, now: float, by: str = "") -> Deferred[int]:
        return self._each(
            "retried", by, "", selection, State.WAITING, lambda one: replace(one, due_at=now), also_in_hand=False
        )

    def remove(self, selection: Selection, by: str = "") -> Deferred[int]:
        return self._each("removed", by, "", selection, None, lambda one: None)

    def _each(
        self,
        step: str,
        by: str,
        why: str,
        selection: Selection,
        state: State | None,
        change: Callable[[QueuedRecipient], QueuedRecipient | None],
        also_in_hand: bool = True,
    ) -> Deferred[int]:
        def change_all() -> int:
            count = 0
            for message_id, stored in list(self.messages.items()):
                numbers = []
                for number, one in list(stored.recipients.items()):
                    if state not in (None, one.state) or not matches(selection, stored.message, one):
                        continue
                    if number in stored.in_hand and one.due_at > self._clock.seconds() and not also_in_hand:
                        continue
                    new = change(one)
                    numbers.append(number)
                    stored.in_hand.discard(number)
                    if new is None:
                        del stored.recipients[number]
                    else:
                        stored.recipients[number] = new
                if not stored.recipients:
                    del self.messages[message_id]
                if numbers:
                    self._note(message_id, [(self._clock.seconds(), changed(step, by, why, numbers))])
                count += len(numbers)
            return count

        return self._answer("operate", change_all)

    def counts(self) -> Counts:
        states = [one.state for stored in self.messages.values() for one in stored.recipients.values()]
        accepted = [stored.message.accepted_at for stored in self.messages.values()]
        return Counts(
            messages=len(self.messages),
            octets=sum(stored.message.size for stored in self.messages.values()),
            recipients={state: states.count(state) for state in State},
            oldest_at=min(accepted, default=None),
            journal=sum(len(text) + ENTRY_OCTETS for entries in self.journal.values() for _, text in entries),
        )

    def condition(self) -> Condition:
        return Condition(False, "", Histogram(()), Histogram(()))

    def lanes(self, limit: int = 20) -> Deferred[Mapping[str, int]]:
        def largest() -> Mapping[str, int]:
            sizes: dict[str, int] = {}
            for stored in self.messages.values():
                for one in stored.recipients.values():
                    if one.state is State.WAITING:
                        sizes[one.lane] = sizes.get(one.lane, 0) + 1
            return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:limit])

        return self._answer("lanes", largest)

    def lanes_that(self, is_wanted: Callable[[str], bool]) -> Deferred[frozenset[str]]:
        def found() -> frozenset[str]:
            rows = [one for stored in self.messages.values() for one in stored.recipients.values()]
            return frozenset(one.lane for one in rows if is_wanted(one.lane))

        return self._answer("lanes_that", found)

    def ages(self, spans: Sequence[tuple[float, float]], limit: int) -> Deferred[Sequence[int]]:
        def counted() -> Sequence[int]:
            kept = [(stored.message.accepted_at, len(stored.recipients)) for stored in self.messages.values()]
            return [min(limit, sum(n for at, n in kept if after <= at < until)) for after, until in spans]

        return self._answer("ages", counted)

    # -- the journal ----------------------------------------------------------------------------

    def note(self, entries: Sequence[Entry]) -> Deferred[Sequence[str]]:
        def note() -> Sequence[str]:
            ids = [self._new_id() for _ in entries] if self.journals else []
            for one, entry in zip(ids, entries, strict=bool(ids)):
                self._note(one, [entry])
            return ids

        return self._answer("note", note)

    def _note(self, message_id: str, entries: Sequence[Entry]) -> None:
        if entries and self.journals:
            self.journal.setdefault(message_id, []).extend(entries)
            self.written += [(message_id, entry) for entry in entries]

    def follow(self, after: Place, limit: int) -> Deferred[Followed]:
        def follow() -> Followed:
            there = [
                (n, one, entry)
                for n, (one, entry) in enumerate(self.written, 1)
                if n > after.n and entry in self.journal.get(one, ())
            ][:limit]
            if not there:
                return Followed((), after, 0)
            n, _, (at, _) = there[-1]
            missed = n - after.n - len(there)
            return Followed([self._noted(*one) for one in there], Place(n, at), missed, len(self.written) - n)

        return self._answer("follow", follow)

    def _noted(self, n: int, message_id: str, entry: Entry) -> Noted:
        first = read(self.journal[message_id][0])
        named = [str(first.get(field) or "") for field in ("sender", "message_id")]
        row = json.loads(entry[1].partition(b"\n")[0])
        if row[0] == "attempted":
            row[place_of("attempted", "dialogue")] = []
        text = json.dumps(row, separators=(",", ":"))
        return Noted(n, message_id, (entry[0], text.encode()), *named)

    def journal_end(self) -> Deferred[Place]:
        def end() -> Place:
            return Place(len(self.written), self.written[-1][1][0]) if self.written else BEGINNING

        return self._answer("journal_end", end)

    async def journey(self, message_id: str) -> AsyncIterator[Entry]:
        self._check("journey")
        for entry in list(self.journal.get(message_id, ())):
            yield entry

    async def journeys(
        self, since: float = 0.0, until: float = FOR_EVER, words: str = "", before: str = ""
    ) -> AsyncIterator[tuple[str, Sequence[Entry]]]:
        """The ids of this store do not tell the time: the first entry does."""
        self._check("journey")
        for one in sorted(self.journal, reverse=True):
            entries = list(self.journal[one])
            is_wanted = since <= entries[0][0] < until and (not before or one < before)
            if is_wanted and any(words.lower().encode() in text.lower() for _, text in entries):
                yield one, entries

    def forget(self, before: float, octets: int) -> Deferred[int]:
        def forget() -> int:
            gone = 0
            for one, entries in list(self.journal.items()):
                if one not in self.messages and entries[-1][0] < before:
                    gone += len(self.journal.pop(one))
            oldest = sorted((at, one) for one, entries in self.journal.items() for at, _ in entries)
            left = self.counts().journal
            for _, one in oldest:
                if left <= octets:
                    break
                _, text = self.journal[one].pop(0)
                left -= len(text) + ENTRY_OCTETS
                gone += 1
                if not self.journal[one]:
                    del self.journal[one]
            return gone

        return self._answer("forget", forget)

    def close(self) -> Deferred[None]:
        self.commit_now()
        self.closed = True
        return succeed(None)

    # -- within ---------------------------------------------------------------------------------

    def _check(self, name: str) -> None:
        if self.closed:
            raise StoreUnavailable("the store is closed")
        if name in self.trouble:
            raise self.trouble[name]

    def _answer(self, name: str, work: Callable[[], T]) -> Deferred[T]:
        try:
            self._check(name)
        except StoreUnavailable as error:
            return fail(error)
        return succeed(work())

    def _new_id(self) -> str:
        self._last += 1
        return f"{self._last:012}"

    def _put(self, message: Message, content: bytes, recipients: Sequence[NewRecipient]) -> Stored:
        queued = {
            number: QueuedRecipient(
                number, new.recipient, new.lane, new.due_at, new.attempts, new.state, new.note, False, new.final
            )
            for number, new in enumerate(recipients)
        }
        in_hand = {number for number, one in queued.items() if one.attempts}
        stored = Stored(message, content, queued, in_hand)
        self.messages[message.id] = stored
        return stored


def first(due: tuple[float, str, str | None]) -> float:
    return due[0]


def row(message: Message, one: QueuedRecipient) -> QueueRow:
    return QueueRow(
        message_id=message.id,
        sender=str(message.envelope.reverse_path or "<>"),
        recipient=str(one.recipient.address),
        state=one.state,
        lane=one.lane,
        accepted_at=message.accepted_at,
        due_at=one.due_at,
        attempts=one.attempts,
        size=message.size,
        note=one.note,
        warned=one.warned,
        notify=one.recipient.notify,
    )


def matches(selection: Selection, message: Message, one: QueuedRecipient) -> bool:
    """Whether all given conditions hold of this recipient."""
    sender = str(message.envelope.reverse_path or "<>")
    return (
        (not selection.ids or message.id in selection.ids)
        and (selection.sender is None or address_key(selection.sender) == address_key(sender))
        and (selection.recipient is None or address_key(selection.recipient) == one.recipient.address.key)
        and (not selection.lanes or one.lane in selection.lanes)
        and selection.state in (None, one.state)
        and (
            selection.recipient_domain is None
            or _is_of(one.recipient.address.domain_key, *below_or_same(selection.recipient_domain))
        )
    )


def _is_of(domain: str, below: bool, name: str) -> bool:
    return domain.endswith(name) if below else domain == name
