"""What is in hand: the messages in memory, which of their recipients, and how much that is.

A recipient is in hand from the time it is leased until what became of it is on disk.  While it is, it is not
taken again, though its lease may have run out: one that is being tried is never tried twice at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.message.envelope import Message
from relay.message.journey import Entry
from relay.message.outcome import Final
from relay.queue.store import INLINE_LIMIT_OCTETS, QueuedRecipient
from relay.schedule.destination import Destination
from relay.schedule.settings import ScheduleSettings


class Carried:
    """A message in hand.

    numbers    its recipients in hand
    attempts   attempts of it that are under way or wait their turn
    owing      recipients that failed, or succeeded and it is to be reported: the report is not made yet
    delayed    recipients of whose delay the sender is to be warned, as they are to be recorded then
    said       entries of the journal about the last attempts of those
    gathering  a report waits for attempts that are under way
    reporting  a report is being made
    """

    __slots__ = ("attempts", "delayed", "gathering", "message", "numbers", "octets", "owing", "reporting", "said")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.octets = len(message.head) + len(message.content or b"")
        self.numbers: set[int] = set()
        self.attempts = 0
        self.owing: list[QueuedRecipient] = []
        self.delayed: list[tuple[QueuedRecipient, Final]] = []
        self.said: list[Entry] = []
        self.gathering = False
        self.reporting = False


class Attempt:
    """Recipients of one message at one destination, to be tried together.

    relaned  the store knows them by another lane
    """

    __slots__ = ("carried", "destination", "relaned", "rows")

    def __init__(
        self, carried: Carried, destination: Destination, rows: Sequence[QueuedRecipient], relaned: bool = False
    ) -> None:
        self.carried = carried
        self.destination = destination
        self.rows = rows
        self.relaned = relaned


class Hand:
    """All that is in hand, and how much it is.

    committing  messages on their way to disk whose content we are going to carry; how much that is, is
                not known yet

    The store's answer may be overtaken: it gives a recipient whose lease had run out, and before the answer is here,
    what became of him is written and he is let go.  So who is let go while an answer is awaited is not fresh in it.
    """

    __slots__ = ("_awaited", "_overtook", "carried", "committing", "octets", "recipients", "settings")

    def __init__(self, settings: ScheduleSettings) -> None:
        self.settings = settings
        self.carried: dict[str, Carried] = {}
        self.recipients = 0
        self.octets = 0
        self.committing = 0
        self._awaited = 0
        self._overtook: set[tuple[str, int]] = set()

    def free(self) -> int:
        """For how many more recipients there is room."""
        if self.octets + self.committing * INLINE_LIMIT_OCTETS >= self.settings.active_octets:
            return 0
        return max(0, self.settings.active_recipients - self.recipients)

    def reserve(self, recipients: int) -> None:
        self.committing += 1
        self.recipients += recipients

    def unreserve(self, recipients: int) -> None:
        self.committing -= 1
        self.recipients -= recipients

    def take(self, message: Message, rows: Sequence[QueuedRecipient]) -> Carried:
        """Takes recipients in hand that are not in hand already (``fresh``)."""
        carried = self.carried.get(message.id)
        if carried is None:
            carried = self.carried[message.id] = Carried(message)
            self.octets += carried.octets
        carried.numbers.update([row.number for row in rows])
        self.recipients += len(rows)
        return carried

    def fresh(self, message_id: str, rows: Sequence[QueuedRecipient]) -> Sequence[QueuedRecipient]:
        """Those of these recipients that are not in hand, nor were when the store was asked for them."""
        if self._overtook:
            rows = [row for row in rows if (message_id, row.number) not in self._overtook]
        carried = self.carried.get(message_id)
        return rows if carried is None else [row for row in rows if row.number not in carried.numbers]

    def let_go(self, carried: Carried, numbers: Sequence[int]) -> None:
        """What became of these recipients is on disk, or they were given back."""
        if self._awaited:
            self._overtook.update([(carried.message.id, number) for number in numbers])
        before = len(carried.numbers)
        carried.numbers.difference_update(numbers)
        self.recipients -= before - len(carried.numbers)
        if before and not carried.numbers:
            del self.carried[carried.message.id]
            self.octets -= carried.octets

    def store_asked(self) -> None:
        """The store is asked for mail."""
        self._awaited += 1

    def store_answered(self) -> None:
        """What it gave has been taken in hand."""
        self._awaited -= 1
        if not self._awaited:
            self._overtook.clear()
