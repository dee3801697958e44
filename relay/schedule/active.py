"""The active set: the part of the queue that is in memory, and whose turn it is.

Bounded in recipients and octets, and shared: no destination may hold more of it than is still free.  What finds no
room waits in the store, due now, and is taken in hand when there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from relay.message.address import Address
from relay.message.envelope import Message, Recipient
from relay.message.step import Tell
from relay.queue.store import Leased, NewRecipient, QueuedRecipient, State
from relay.schedule.destination import Destination, Destinations
from relay.schedule.hand import Attempt, Carried, Hand
from relay.schedule.settings import ScheduleSettings

LaneOf = Callable[[Address | None, Address], str]
"""The lane of mail from this sender (None: the null sender) to this recipient.  Equal lane: equal way."""

HeldBy = Callable[[Address | None, Address], str]
"""Why fresh mail from this sender to this recipient is held; empty when it is not."""


class Admission:
    """What is decided of a fresh message before it goes to disk.

    rows     its recipients; those taken in hand carry their lease already
    taken    by destination, the numbers of those taken in hand
    count    how many these are
    spilled  some were left to the store though their destination could take them
    held     the numbers of those that are held from the beginning
    owing    the last of the rows: there is nothing to try, but a report is owed
    """

    __slots__ = ("count", "held", "owing", "rows", "spilled", "taken")

    def __init__(self) -> None:
        self.rows: list[NewRecipient] = []
        self.taken: list[tuple[Destination, list[int]]] = []
        self.count = 0
        self.spilled = False
        self.held: Sequence[int] = ()
        self.owing: Sequence[NewRecipient] = ()

    def queued(self, number: int) -> QueuedRecipient:
        """The recipient as it is in the queue when the message is on disk."""
        new = self.rows[number]
        return QueuedRecipient(
            number, new.recipient, new.lane, new.due_at, new.attempts, new.state, new.note, False, new.final
        )

    def rows_owing(self) -> Sequence[QueuedRecipient]:
        first = len(self.rows) - len(self.owing)
        return [self.queued(number) for number in range(first, len(self.rows))]


class Active:
    """What is in memory, by destination, and the ring of those that may begin an attempt.

    lane_of    the lane of a sender and a recipient, by the routes of now
    held_by    why fresh mail is held; None: none is
    is_closed  nothing more is taken in hand
    stranded   destinations that got mail which cannot wait there, as they rest or all is closed
    """

    def __init__(
        self, hand: Hand, destinations: Destinations, lane_of: LaneOf, settings: ScheduleSettings, tell: Tell
    ) -> None:
        self.lane_of = lane_of
        self.held_by: HeldBy | None = None
        self.settings = settings
        self.is_closed = False
        self._hand = hand
        self._destinations = destinations
        self._tell = tell
        self.stranded: list[Destination] = []
        self._ready: deque[Destination] = deque()

    # -- fresh mail -----------------------------------------------------------------------------

    def admit(self, sender: Address | None, recipients: Sequence[Recipient], now: float, free: int) -> Admission:
        """Decides which recipients of a fresh message are taken in hand at once, and reserves the room.

        free  how much room there is for fresh mail, in recipients
        """
        admission = Admission()
        due = self._held(admission, sender, recipients, now) if self.held_by is not None else {}
        lanes: dict[str, list[int]] = {}
        for number, recipient in enumerate(recipients):
            if number not in due:
                lanes.setdefault(self.lane_of(sender, recipient.address), []).append(number)
        for lane, numbers in lanes.items():
            due_at, attempts = now, 0
            if self._reserve(admission, lane, numbers, free - admission.count):
                due_at, attempts = now + self.settings.lease_s, 1
            for number in numbers:
                due[number] = NewRecipient(recipients[number], lane, due_at, attempts)
        in_order = len(lanes) == 1 and not admission.held
        admission.rows = list(due.values()) if in_order else [due[number] for number in range(len(due))]
        self._hand.reserve(admission.count)
        return admission

    def _held(
        self, admission: Admission, sender: Address | None, recipients: Sequence[Recipient], now: float
    ) -> dict[int, NewRecipient]:
        """Those that are held from the beginning, by their number."""
        assert self.held_by is not None
        held: dict[int, NewRecipient] = {}
        for number, recipient in enumerate(recipients):
            why = self.held_by(sender, recipient.address)
            if why:
                lane = self.lane_of(sender, recipient.address)
                held[number] = NewRecipient(recipient, lane, now, state=State.HELD, note=why)
        admission.held = list(held)
        return held

    def _reserve(self, admission: Admission, lane: str, numbers: list[int], free: int) -> bool:
        destination = self._destinations.of(lane)
        count = len(numbers)
        if not self.is_closed and free > 0 and destination.admits(count, free):
            destination.in_hand += count
            admission.count += count
            admission.taken.append((destination, numbers))
            return True
        if destination.is_full(max(free, 1)):
            destination.left_behind = True
        else:
            admission.spilled = True
        return False

    def begin(self, message: Message, admission: Admission) -> None:
        """The message is on disk: what was admitted of it waits its turn."""
        self._hand.unreserve(admission.count)
        for number in admission.held:
            row = admission.rows[number]
            self._tell("held", id=message.id, recipient=str(row.recipient.address), error=row.note)
        for destination, numbers in admission.taken:
            rows = [admission.queued(number) for number in numbers]
            self._queue(self._hand.take(message, rows), destination, rows)

    def forget(self, admission: Admission) -> None:
        """The message did not come to the queue."""
        self._hand.unreserve(admission.count)
        for destination, numbers in admission.taken:
            destination.in_hand -= len(numbers)

    # -- mail from the store --------------------------------------------------------------------

    def take(self, leased: Leased) -> None:
        """Takes in hand what was leased, by the routes of now: the store's lanes may be old."""
        rows = self._hand.fresh(leased.message.id, leased.recipients)
        if rows:
            self._lane(self._hand.take(leased.message, rows), rows)

    def relane(self) -> None:
        """The routes have changed: what waits its turn is given to the destinations of now."""
        withdrawn = [attempt for destination in self._destinations for attempt in self.withdraw(destination)]
        for attempt in withdrawn:
            self._lane(attempt.carried, attempt.rows, attempt.relaned)

    def _lane(self, carried: Carried, rows: Sequence[QueuedRecipient], relaned: bool = False) -> None:
        sender = carried.message.envelope.reverse_path
        lanes: dict[str, list[QueuedRecipient]] = {}
        for row in rows:
            lanes.setdefault(self._lane_of_now(sender, row), []).append(row)
        for lane, those in lanes.items():
            changed = any(row.lane != lane for row in those)
            ours = [replace(row, lane=lane) for row in those] if changed else those
            destination = self._destinations.of(lane)
            destination.in_hand += len(ours)
            self._queue(carried, destination, ours, relaned or changed)

    def _lane_of_now(self, sender: Address | None, row: QueuedRecipient) -> str:
        try:
            return self.lane_of(sender, row.recipient.address)
        except Exception as error:  # a defect; the lane is a hint, and the attempt itself asks for the route
            self._tell("trouble", recipient=str(row.recipient.address), error=f"no lane: {error!r}")
            return row.lane

    def _queue(
        self, carried: Carried, destination: Destination, rows: Sequence[QueuedRecipient], relaned: bool = False
    ) -> None:
        size = self.settings.per_transaction
        for at in range(0, len(rows), size):
            destination.waiting.append(Attempt(carried, destination, rows[at : at + size], relaned))
            carried.attempts += 1
        if self.is_closed or destination.window.size == 0:
            self.stranded.append(destination)
        else:
            self.mark(destination)

    # -- whose turn it is -----------------------------------------------------------------------

    def mark(self, destination: Destination) -> None:
        """Gives it a place in the ring if it may begin an attempt."""
        if not destination.is_ready and destination.may_begin:
            destination.is_ready = True
            self._ready.append(destination)

    def next(self) -> Attempt | None:
        """The attempt whose turn it is: one of each destination before a second of any.  It is in flight now."""
        ready = self._ready
        while ready:
            destination = ready.popleft()
            if not destination.may_begin:
                destination.is_ready = False
                continue
            attempt = destination.waiting.popleft()
            destination.in_flight += 1
            if destination.may_begin:
                ready.append(destination)
            else:
                destination.is_ready = False
            return attempt
        return None

    def withdraw(self, destination: Destination) -> Sequence[Attempt]:
        """These attempts do not wait their turn any longer; their recipients stay in hand."""
        withdrawn = list(destination.waiting)
        destination.waiting.clear()
        for attempt in withdrawn:
            destination.in_hand -= len(attempt.rows)
            attempt.carried.attempts -= 1
        return withdrawn

    def withdraw_lapsed(self, destination: Destination, now: float) -> Sequence[Attempt]:
        """As ``withdraw``, those only whose lease has run out while they waited; the oldest stand first."""
        lapsed = []
        while destination.waiting and destination.waiting[0].rows[0].due_at <= now:
            attempt = destination.waiting.popleft()
            destination.in_hand -= len(attempt.rows)
            attempt.carried.attempts -= 1
            lapsed.append(attempt)
        return lapsed
