"""The queue's one small interface, and the states a message goes through.

A message is in exactly one of these states; every arrow is one transaction.

    D draft    ``begin``: the content is being written.  Nobody was told 250; swept after a crash.
    Q queued   ``Draft.commit`` has fired: on disk, *now* 250 may be said.
    G gone     every recipient is finished, and any report owed for it is itself in Q.

Within Q each recipient is in exactly one state:

    waiting    to be tried at ``due_at``.  While it is being tried it is still waiting, with ``due_at`` already
               moved ahead (the *lease*) before the network is touched: a crash or a defect cannot
               hammer a peer.  A store that outlives a crash shortens at its start the leases of what was in
               hand when it died.
    held       by an operator or a rule; is not tried, and does not expire, until released.
    owing      its outcome is final and recorded, but the report to the sender is not yet in Q.
               Never tried again; the report is made after a crash too.
    finished   delivered, or failed with its report in Q.  The row is gone.

What is finished is finished in the same transaction that puts the report in Q, so that from Q to G
a recipient is never in no state.  It may be delivered twice (the peer took it and we died before we
knew, RFC 1047), never zero times.

A *lane* is the scheduler's name for a destination at the time a recipient was last looked at.  It is a
hint for reading the queue in useful portions, not the route: that is looked up at every attempt.

The *journal* tells what happened to messages, those that are gone too: entries (relay.message.journey) are written in
the transaction of what they tell of.  What is journaled never keeps mail from going: when the disk is full, or the
journal broken, entries are left out.

Errors, named for what the caller should do: StoreFull (452, come back), StoreUnavailable (451, come
back).  Both leave the queue as it was; both pass by themselves.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from relay.message.envelope import Envelope, Message, Notify, Origin, Recipient
from relay.message.histogram import Histogram
from relay.message.journey import Entry
from relay.message.outcome import Final
from relay.message.value import value

if TYPE_CHECKING:  # so that the pure parts that use these words stay pure
    from twisted.internet.defer import Deferred

INLINE_LIMIT_OCTETS = 64 * 1024
"""Content up to this size lives in the message's row and is carried in memory."""


FOR_EVER = 1e12
"""A time that never comes, seconds since the epoch."""


class StoreUnavailable(Exception):
    """The store cannot do this now; ``str()`` says why.  Nothing has changed.  Answer 451."""


class StoreFull(StoreUnavailable):
    """No room on the disk.  Nothing has changed.  Answer 452."""


class State(enum.Enum):
    __hash__ = object.__hash__  # each is one of a kind; an Enum's own costs a call

    WAITING = "waiting"
    HELD = "held"
    OWING = "owing"


@value(frozen=True, slots=True)
class NewRecipient:
    """A recipient on its way into the queue.

    due_at   seconds since the epoch: when to try it first; for one that the scheduler takes in hand at once
             this is already the lease
    attempts 1 when it is taken in hand at once, else 0
    final    for one that is owing from the beginning (it became several by forwarding): what the sender is to be
             told, else None
    """

    recipient: Recipient
    lane: str
    due_at: float
    attempts: int = 0
    state: State = State.WAITING
    note: str = ""
    final: Final | None = None


@value(frozen=True, slots=True)
class QueuedRecipient:
    """A recipient in the queue.

    number    its place in the message, from 0; with the message's id its name
    attempts  attempts begun so far
    note      the last reply or error, in words; for one that is held, why
    warned    the sender has been told of the delay
    final     for one that is owing: what the sender is to be told, else None
    """

    number: int
    recipient: Recipient
    lane: str
    due_at: float
    attempts: int = 0
    state: State = State.WAITING
    note: str = ""
    warned: bool = False
    final: Final | None = None


@value(frozen=True, slots=True)
class Leased:
    """A message and those of its recipients that are to be tried together: all of one lane."""

    message: Message
    recipients: tuple[QueuedRecipient, ...]


@value(frozen=True, slots=True)
class NewMessage:
    """A message made by us (a report), to be put in the queue within a ``record``; with its first entry in the
    journal."""

    envelope: Envelope
    origin: Origin
    head: bytes
    content: bytes
    recipients: tuple[NewRecipient, ...]
    accepted_at: float
    entries: tuple[Entry, ...] = ()


@value(frozen=True, slots=True)
class Settlement:
    """What one attempt changed about one message; recorded in one transaction.

    finished  numbers of recipients whose rows go
    changed   recipients as they are from now on (waiting with a new due_at, held, owing)
    reports   messages of ours that enter the queue in the same transaction; that they did is journaled by the store,
              which alone knows their ids
    reported  the recipients that the reports tell of
    entries   for the journal of the message
    """

    message_id: str
    finished: tuple[int, ...] = ()
    changed: tuple[QueuedRecipient, ...] = ()
    reports: tuple[NewMessage, ...] = ()
    reported: tuple[int, ...] = ()
    entries: tuple[Entry, ...] = ()


@value(frozen=True, slots=True)
class QueueRow:
    """One recipient as the operator sees it.

    sender  the reverse-path, ``<>`` for the null sender
    warned, notify  as in QueuedRecipient and Recipient
    """

    message_id: str
    sender: str
    recipient: str
    state: State
    lane: str
    accepted_at: float
    due_at: float
    attempts: int
    size: int
    note: str
    warned: bool = False
    notify: Notify | None = None


@value(frozen=True, slots=True)
class Selection:
    """Which rows an operator means.  All given conditions must hold; none given means every row.

    Addresses and domains are compared without case, domains in A-labels; ``<>`` is the null sender.
    ``.example.org`` as recipient_domain means what is below that domain.

    lanes  of any of these, by their exact names; empty: of any
    """

    ids: tuple[str, ...] = ()
    sender: str | None = None
    recipient: str | None = None
    lanes: tuple[str, ...] = ()
    state: State | None = None
    recipient_domain: str | None = None


EVERYTHING = Selection()


@value(frozen=True, slots=True)
class Counts:
    """The queue in numbers, kept and not counted.

    messages    in Q
    octets      of all messages in Q
    recipients  by state
    oldest_at   acceptance of the oldest message, seconds since the epoch, or None
    set_aside   what is broken and was put out of the way, and waits for an operator: rows, files, whole databases
    journal     octets of the journal
    databases   the folders of those databases; no mail of theirs goes out
    """

    messages: int
    octets: int
    recipients: Mapping[State, int]
    oldest_at: float | None = None
    set_aside: int = 0
    journal: int = 0
    databases: Sequence[str] = ()


class Place(NamedTuple):
    """A place in the journal: behind the entry with this number and time."""

    n: int
    at: float


BEGINNING = Place(0, 0.0)


@value(frozen=True, slots=True)
class Noted:
    """An entry of the journal, for who follows it.

    n           its number
    entry       without what was said to a hop
    sender      of the message, ``<>`` for null; empty when its beginning is forgotten
    message_id  the Message-ID field
    """

    n: int
    message: str
    entry: Entry
    sender: str
    message_id: str


@value(frozen=True, slots=True)
class Followed:
    """What came after a place in the journal.

    place   behind the last of them
    missed  entries that were forgotten before they were read
    behind  entries that came after these, about
    """

    entries: Sequence[Noted]
    place: Place
    missed: int
    behind: int = 0


@value(frozen=True, slots=True)
class Condition:
    """How the store does.

    is_full  there is no room for new mail
    trouble  why nothing can be written just now; empty when it can
    batches  how many changes were written together
    took_s   how long each of these took, until it was on disk
    """

    is_full: bool
    trouble: str
    batches: Histogram
    took_s: Histogram


class Draft(Protocol):
    """A message on its way in (state D).  Write, then commit or abort, once."""

    id: str

    def write(self, data: bytes) -> Deferred[None] | None:
        """Takes a piece of the content.

        None: carry on.  A Deferred: it is being written to disk; stop reading from the client until
        it fires.  Fails with StoreUnavailable; then only ``abort`` is left to do.
        """
        ...

    def commit(
        self,
        envelope: Envelope,
        origin: Origin,
        head: bytes,
        recipients: Sequence[NewRecipient],
        accepted_at: float,
        entries: Sequence[Entry] = (),
    ) -> Deferred[Message]:
        """Fires when the message is synced to disk (state Q): the one commit point.

        entries  the beginning of its journey
        """
        ...

    def abort(self) -> None:
        """Forgets it.  May be called at any time before commit; does nothing after."""
        ...


class Content(Protocol):
    """The content of a queued message, to be read in pieces from its beginning."""

    def read(self) -> Deferred[bytes]:
        """The next piece, at most 256 KiB; empty at the end."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """What survives a crash.  All methods may be called from the reactor's thread only.

    journals  whether entries are written; when not, those that are given are left out, and callers need not make any
    """

    journals: bool

    def begin(self) -> Draft:
        """A new draft with an id of its own.  Raises StoreUnavailable."""
        ...

    def lease(
        self, now: float, until: float, limit: int, resting: frozenset[str] = frozenset(), lane: str | None = None
    ) -> Deferred[Sequence[Leased]]:
        """Takes due messages in hand: at most ``limit`` of them, and moves each one's ``due_at`` to ``until`` and
        counts the attempt, before it fires.

        Fair among lanes: each gives one message before any gives a second, and the one served
        longest ago comes first.  None of a lane in ``resting``; with ``lane``, of that lane only.
        Without ``lane`` it gives first what is due of the owing, whatever its lane and whether that rests or
        not, so that the report can be made: a Leased of its own, all of whose recipients
        are owing.  For these no attempt is counted.
        """
        ...

    def overdue(
        self, now: float, until: float, limit: int, warn_before: float, expire_before: float
    ) -> Deferred[Sequence[Leased]]:
        """Takes in hand what is due but too old to wait longer for its turn, as while its destination rests.

        Waiting recipients with ``due_at`` not after ``now``, of at most ``limit`` messages, whose message was accepted
        before ``expire_before``, or before ``warn_before`` while the recipient is not ``warned``.  Moves each one's
        ``due_at`` to ``until`` as ``lease`` does, but counts no attempt: they are warned of or given up, not tried.

        Each call may look at a part of the queue only, and the next goes on from there.
        """
        ...

    def record(self, settlement: Settlement) -> Deferred[Sequence[tuple[Message, tuple[QueuedRecipient, ...]]]]:
        """One attempt's results, in one transaction; fires with the reports as queued.

        A message none of whose recipients is left goes, with its content.  What is no longer there
        (an operator removed it meanwhile) is no error.  One that was held meanwhile stays held when
        ``changed`` has it waiting.  It does not wait here when the disk is full: the Deferred fails with
        StoreUnavailable, nothing has changed, and the caller keeps the settlement and records it
        again after a while; until then the lease protects the recipients.  The store keeps a reserve
        on the disk from which settlements are written long after new mail is refused.
        """
        ...

    def release_lease(self, message_id: str, numbers: Sequence[int], due_at: float) -> Deferred[None]:
        """Gives back what was leased but not tried: due at ``due_at``, the attempt not counted."""
        ...

    def open(self, message_id: str) -> Content:
        """The content of a message too large to be carried (whose ``content`` is None).

        ``read`` fails with StoreUnavailable, also when there is no such message.
        """
        ...

    def next_due(self, resting: frozenset[str] = frozenset()) -> Deferred[float | None]:
        """When there will be something to lease, seconds since the epoch; None when there is nothing to wait for.

        What is due already may be told as any time up to now.
        """
        ...

    def list(
        self, selection: Selection = EVERYTHING, after: str = "", newest_first: bool = False
    ) -> AsyncIterator[QueueRow]:
        """Rows in the order of acceptance, read in portions: a million of them are never in memory.

        after         a message id: begins with the message after it
        newest_first  the other way round, the recipients of a message too
        """
        ...

    def read(self, message_id: str) -> Deferred[tuple[Message, tuple[QueuedRecipient, ...]] | None]:
        """One message with all its recipients, for an operator."""
        ...

    # These four change many rows in steps, so that mail goes on meanwhile, and fire with how many recipients
    # they changed.  When one fails half way, the steps before it stand, and doing it again does the rest.
    # Each step journals what it changed, and by whom.

    def hold(self, selection: Selection, why: str, by: str = "") -> Deferred[int]:
        """Holds waiting recipients, with the note ``why``.  What is owing is not held."""
        ...

    def release(self, selection: Selection, now: float, by: str = "") -> Deferred[int]:
        """Held recipients wait again, due now."""
        ...

    def retry(self, selection: Selection, now: float, by: str = "") -> Deferred[int]:
        """Makes waiting recipients due now.  Held ones stay held, and those leased are being tried already."""
        ...

    def remove(self, selection: Selection, by: str = "") -> Deferred[int]:
        """Takes recipients out of the queue in whatever state they are; nobody is told."""
        ...

    # -- the journal ----------------------------------------------------------------------------

    def note(self, entries: Sequence[Entry]) -> Deferred[Sequence[str]]:
        """Journals what came to no message: each entry is a journey by itself.  Fires with their ids."""
        ...

    def journey(self, message_id: str) -> AsyncIterator[Entry]:
        """The entries of one message in their order; none when nothing is known of it.  Read in portions."""
        ...

    def journeys(
        self, since: float = 0.0, until: float = FOR_EVER, words: str = "", before: str = ""
    ) -> AsyncIterator[tuple[str, Sequence[Entry]]]:
        """Journeys, by id, the newest first, each with its entries.  A long one comes in several pieces, one after the
        other.  Read in portions, however much there is.

        since, until  those that began from this time on and before that one, seconds since the epoch
        words         only those in one of whose entries this stands, whatever its case: ASCII as it stands in JSON
        before        a message id: begins with the one before it
        """
        ...

    def follow(self, after: Place, limit: int) -> Deferred[Followed]:
        """Entries that were written after a place, at most so many, in the order in which they were written."""
        ...

    def journal_end(self) -> Deferred[Place]:
        """The place behind all that is in the journal."""
        ...

    def forget(self, before: float, octets: int) -> Deferred[int]:
        """Takes out of the journal each journey that ended before this, seconds since the epoch, and is of no message
        that is in the queue; and as long as there are more octets than this, the oldest entries, whatever they are of.

        In steps, so that mail goes on meanwhile.  Fires with how many entries went.
        """
        ...

    def counts(self) -> Counts:
        """At once, and cheap enough to be asked for every second."""
        ...

    def condition(self) -> Condition:
        """At once, and cheap."""
        ...

    def lanes(self, limit: int = 20) -> Deferred[Mapping[str, int]]:
        """The largest lanes with the number of their waiting recipients, largest first."""
        ...

    def lanes_that(self, is_wanted: Callable[[str], bool]) -> Deferred[frozenset[str]]:
        """The lanes of recipients in the queue, in whatever state these are, that somebody wants.  Looked for in
        portions, so that mail goes on meanwhile; ``is_wanted`` is called in another thread."""
        ...

    def ages(self, spans: Sequence[tuple[float, float]], limit: int) -> Deferred[Sequence[int]]:
        """How many recipients of messages accepted in each span of time are left.

        spans  from and until, seconds since the epoch; what was accepted just then is in the later one
        limit  no more are counted of each, so that a long queue keeps nobody waiting
        """
        ...

    def close(self) -> Deferred[None]:
        """Commits what is under way, and lets go of the spool."""
        ...
