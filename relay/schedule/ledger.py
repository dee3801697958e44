"""Writing down what became of mail, until it is written.

The rule that must not be broken: what was delivered is recorded, however long the store refuses to: until then it stays
in hand and is not tried again.  And while much is unwritten nothing new is tried: if we died now, it
would be delivered twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.message.envelope import Message
from relay.message.step import Tell
from relay.message.value import value
from relay.queue.store import QueuedRecipient, Settlement, Store
from relay.schedule.active import Admission
from relay.schedule.alarm import Alarm
from relay.schedule.hand import Carried
from relay.schedule.settings import ScheduleSettings

Queued = Sequence[tuple[Message, tuple[QueuedRecipient, ...]]]


@value(frozen=True, slots=True)
class Entry:
    """A settlement, and what to do when it is written.

    carried     the message it is about
    admissions  for each of its reports: what was decided about taking it in hand
    keeps_owing the report for those recorded as owing is in the making: they stay in hand
    """

    settlement: Settlement
    carried: Carried
    admissions: Sequence[Admission] = ()
    keeps_owing: bool = True


class Ledger:
    """Records entries.

    written  called with each entry that is on disk, and the reports that entered the queue with it
    resumed  called when nothing unwritten is left after there was something
    """

    def __init__(
        self,
        store: Store,
        clock: IReactorTime,
        settings: ScheduleSettings,
        tell: Tell,
        written: Callable[[Entry, Queued], None],
        resumed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.pending = 0
        self._store = store
        self._clock = clock
        self._tell = tell
        self._written = written
        self._resumed = resumed
        self._unwritten: list[Entry] = []
        self._offered = 0  # of those, so many are with the store once more
        self._alarm = Alarm(clock, self._offer_again)
        self._closed = False

    @property
    def is_blocked(self) -> bool:
        """Whether so much is unwritten that nothing new may be tried."""
        return len(self._unwritten) + self._offered >= self.settings.unwritten

    @property
    def is_empty(self) -> bool:
        return not (self.pending or self._unwritten)

    def record(self, entry: Entry) -> None:
        """Writes this down, now or as soon as the store takes it."""
        self._record(entry, 0)

    def close(self) -> None:
        """Offers nothing again.  What is unwritten will be tried again when its lease has run out."""
        self._closed = True
        self._alarm.cancel()

    def _record(self, entry: Entry, again: int) -> None:
        self.pending += 1
        answer = self._store.record(entry.settlement)
        answer.addCallbacks(self._was_written, self._was_refused, (entry, again), {}, (entry, again))

    def _was_written(self, queued: Queued, entry: Entry, again: int) -> None:
        self.pending -= 1
        self._offered -= again
        self._written(entry, queued)
        if again and not (self._offered or self._unwritten):
            self._resumed()

    def _was_refused(self, failure: Failure, entry: Entry, again: int) -> None:
        self.pending -= 1
        self._offered -= again
        if not self._unwritten:
            self._tell(
                "trouble",
                error=f"results of deliveries cannot be written: {failure.getErrorMessage()}",
                id=entry.carried.message.id,
            )
        self._unwritten.append(entry)
        if not self._closed:
            self._alarm.at(self._clock.seconds() + self.settings.rewrite_s)

    def _offer_again(self) -> None:
        entries, self._unwritten = self._unwritten, []
        self._offered += len(entries)
        for entry in entries:
            self._record(entry, 1)
