"""Reports: what failed together is told together.

A recipient whose outcome the sender is to hear of is *owing* while other recipients of its message are still being
tried.  When the last of these attempts has ended, or after a while, one report is composed of all that is
owing, and enters the queue in the transaction that finishes them (or marks the delay as warned of).

The rule that must not be broken: what is owing leaves the queue only with its report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, Protocol

from twisted.internet.defer import DeferredSemaphore, ensureDeferred
from twisted.internet.interfaces import IReactorTime

from relay.message import journey
from relay.message.envelope import Composed, Message, Origin, Recipient
from relay.message.journey import Entry
from relay.message.outcome import Action, Final
from relay.message.step import Tell
from relay.message.tail import Said, is_attempt, numbers_in, tail
from relay.message.value import value
from relay.queue.store import NewMessage, QueuedRecipient, Settlement, State, Store, StoreUnavailable
from relay.schedule import journaled, ledger
from relay.schedule.active import Admission
from relay.schedule.alarm import Alarm
from relay.schedule.hand import Carried, Hand
from relay.schedule.ledger import Ledger
from relay.schedule.plan import Planned
from relay.schedule.settings import ScheduleSettings

Finals = Sequence[tuple[Recipient, Final]]

_OURS = Origin(protocol="local")
_READ_AT_ONCE = 8
"""So many large contents are read at once: a storm of failures must not fill the memory."""
ATTEMPTS_READ = 20
"""So many of a message's last attempts are looked at, for what was said."""


class Reporter(Protocol):
    """Writes reports.  Does no I/O."""

    def content_wanted(self, message: Message, finals: Finals) -> int:
        """How many octets from the beginning of the content the report can use."""
        ...

    def compose(
        self,
        message: Message,
        finals: Finals,
        content: bytes | None,
        now: float,
        retry_until: float | None = None,
        said: Sequence[Said] = (),
    ) -> Composed | None:
        """One report of all these outcomes; None when nobody is to be told.

        said  what was said when they were tried the last time
        """
        ...

    def undeliverable(
        self, message: Message, finals: Finals, content: bytes | None, now: float, said: Sequence[Said] = ()
    ) -> Composed | Literal["hold", "discard"]:
        """What becomes of a message from the null sender that failed: a notice to the postmaster, or no notice."""
        ...


@value(frozen=True, slots=True)
class Settled:
    """What one attempt made of its recipients.

    finished  numbers of those that are done
    changed   those that wait again or are held
    owing     those whose outcome is to be reported
    delayed   those that wait again, and whose delay is to be reported
    entries   of the journal, about all of them
    """

    finished: list[int]
    changed: list[QueuedRecipient]
    owing: list[QueuedRecipient]
    delayed: list[tuple[QueuedRecipient, Final]]
    entries: Sequence[Entry] = ()

    @classmethod
    def of(cls, rows: Sequence[QueuedRecipient], planned: Sequence[Planned], entries: Sequence[Entry] = ()) -> Settled:
        settled = cls([], [], [], [], entries)
        for row, one in zip(rows, planned, strict=True):
            if one.row is None:
                settled.finished.append(row.number)
            elif one.row.state is State.OWING:
                settled.owing.append(one.row)
            elif one.warning is not None:
                settled.delayed.append((one.row, one.warning))
            else:
                settled.changed.append(one.row)
        return settled


class Reports:
    """Records what attempts made of a message, and makes its reports.

    admit  decides whether a report is taken in hand at once, as for any fresh message
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: IReactorTime,
        reporter: Reporter,
        hand: Hand,
        ledger: Ledger,
        admit: Callable[[Sequence[Recipient], float], Admission],
        settings: ScheduleSettings,
        tell: Tell,
    ) -> None:
        self.settings = settings
        self._store = store
        self._clock = clock
        self._reporter = reporter
        self._hand = hand
        self._ledger = ledger
        self._admit = admit
        self._tell = tell
        self._readers = DeferredSemaphore(_READ_AT_ONCE)
        self._gathering: deque[tuple[float, Carried]] = deque()
        self._alarm = Alarm(clock, self._gathered)

    def settle(self, carried: Carried, settled: Settled) -> None:
        """Records what became of these recipients, with the report if it can be made at once."""
        carried.owing += settled.owing
        carried.delayed += settled.delayed
        if not (carried.owing or carried.delayed):  # nearly all mail
            self._write(carried, settled.finished, settled.changed, settled.entries)
            return
        if settled.owing or settled.delayed:
            carried.said += filter(is_attempt, settled.entries)
        others_are_tried = carried.attempts > 0
        if not others_are_tried and not carried.reporting and not self._must_read(carried):
            self._report(carried, carried.message.content, settled)
            return
        owing = [replace(row, due_at=self._owing_until()) for row in settled.owing]
        self._write(carried, settled.finished, [*settled.changed, *owing], settled.entries)
        if others_are_tried:
            self._gather(carried)
        else:
            self.report(carried)

    def take(self, message: Message, owing: Sequence[QueuedRecipient]) -> None:
        """What is owing in the store and not in hand: from the beginning, or left by a crash."""
        rows = self._hand.fresh(message.id, owing)
        if not rows:
            return
        carried = self._hand.take(message, rows)
        carried.owing += rows
        if carried.attempts:
            self._gather(carried)
        else:
            self.report(carried)

    def report(self, carried: Carried) -> None:
        """Reports what is owing of this message, if anything is; reads what it needs for that first."""
        if carried.reporting or not (carried.owing or carried.delayed):
            return
        if not self._must_read(carried):
            self._report(carried, carried.message.content)
            return
        carried.reporting = True
        ensureDeferred(self._read_and_report(carried)).addErrback(
            lambda failure: self._tell("trouble", id=carried.message.id, error=f"report: {failure.getErrorMessage()}")
        )

    def stop(self) -> None:
        self._alarm.cancel()

    # -- waiting for the others -----------------------------------------------------------------

    def _gather(self, carried: Carried) -> None:
        if (carried.owing or carried.delayed) and not carried.gathering:
            carried.gathering = True
            at = self._clock.seconds() + self.settings.gather_s
            self._gathering.append((at, carried))
            self._alarm.at(self._gathering[0][0])

    def _gathered(self) -> None:
        now = self._clock.seconds()
        while self._gathering and self._gathering[0][0] <= now:
            _, carried = self._gathering.popleft()
            carried.gathering = False
            self.report(carried)
        if self._gathering:
            self._alarm.at(self._gathering[0][0])

    def _owing_until(self) -> float:
        """When a report that is being made now should long be made: if we die, it is made then."""
        return self._clock.seconds() + 2 * self.settings.gather_s

    # -- making it ------------------------------------------------------------------------------

    def _must_read(self, carried: Carried) -> bool:
        return carried.message.content is None or bool(self._unheard(carried))

    def _unheard(self, carried: Carried) -> set[int]:
        """Those of whose last attempt nothing is known here: given up untried, or tried in a former life."""
        if not self._store.journals:
            return set()
        tried = [row.number for row in carried.owing if row.final is not None and row.final.action is Action.FAILED]
        tried += [row.number for row, _ in carried.delayed]
        return set(tried) - numbers_in(carried.said)

    async def _read_and_report(self, carried: Carried) -> None:
        """A body that cannot be read must not keep the sender from hearing: then the report goes without it."""
        await self._readers.acquire()
        try:
            content = carried.message.content
            if content is None:
                wanted = self._reporter.content_wanted(carried.message, _finals(carried.owing, carried.delayed))
                content = await self._beginning(carried.message.id, wanted)
            if self._unheard(carried):
                carried.said += await self._last_attempts(carried.message.id)
            carried.reporting = False
            self._report(carried, content)
        finally:
            carried.reporting = False
            self._readers.release()

    async def _beginning(self, message_id: str, octets: int) -> bytes | None:
        content = self._store.open(message_id)
        pieces: list[bytes] = []
        try:
            while octets > 0 and (piece := await content.read()):
                pieces.append(piece[:octets])
                octets -= len(piece)
        except StoreUnavailable as error:
            self._tell("trouble", id=message_id, error=f"the content cannot be read for a report: {error}")
        finally:
            content.close()
        return b"".join(pieces) or None

    async def _last_attempts(self, message_id: str) -> Sequence[Entry]:
        last: deque[Entry] = deque(maxlen=ATTEMPTS_READ)
        try:
            async for entry in self._store.journey(message_id):
                if is_attempt(entry):
                    last.append(entry)
        except StoreUnavailable as error:
            self._tell("trouble", id=message_id, error=f"the journal cannot be read for a report: {error}")
        return last

    def _report(self, carried: Carried, content: bytes | None, settled: Settled | None = None) -> None:
        """Composes and records the report of all that is owing, together with what has just been settled."""
        owing, carried.owing = carried.owing, []
        delayed, carried.delayed = carried.delayed, []
        said, carried.said = carried.said, []
        now = self._clock.seconds()
        finished = settled.finished if settled else ()
        changed = settled.changed if settled else ()
        entries = settled.entries if settled else ()
        try:
            composed = self._compose(carried.message, owing, delayed, content, said)
            admission = self._admit(composed.recipients, now) if isinstance(composed, Composed) else None
        except Exception as error:  # a defect of ours, and the queue must go on: what is owing is reported later
            self._tell("trouble", id=carried.message.id, error=f"no report could be made: {error!r}")
            later = now + self.settings.lease_s
            kept = [replace(row, due_at=later) for row in owing] + [replace(row, warned=False) for row, _ in delayed]
            self._write(carried, finished, [*changed, *kept], entries, keeps_owing=False)
            return
        if composed == "hold":
            held = [self._held(carried.message, row) for row in owing]
            changed = [*changed, *held]
            entries = [*entries, *((now, journey.changed("held", "", row.note, (row.number,))) for row in held)]
        else:
            finished = [*finished, *(row.number for row in owing)]
        changed = [*changed, *(row for row, _ in delayed)]
        if isinstance(composed, Composed) and admission is not None:
            if delayed:
                entries = [*entries, (now, journey.warned([_warned(row, final) for row, final in delayed]))]
            report = self._new(composed, admission, carried.message.id, now)
            told = [row.number for row in owing] + [row.number for row, _ in delayed]
            settlement = Settlement(
                carried.message.id, tuple(finished), tuple(changed), (report,), tuple(told), tuple(entries)
            )
            self._ledger.record(ledger.Entry(settlement, carried, (admission,)))
            self._tell_warned(carried.message, delayed)
        else:
            self._write(carried, finished, changed, entries)

    def _new(self, composed: Composed, admission: Admission, about: str, now: float) -> NewMessage:
        readers = [str(one.address) for one in composed.recipients]
        began = now, journey.composed("<>", composed.content, readers, about)
        entries = (began, *journaled.held(admission.rows, admission.held, now))
        return NewMessage(composed.envelope, _OURS, b"", composed.content, tuple(admission.rows), now, entries)

    def _compose(
        self,
        message: Message,
        owing: Sequence[QueuedRecipient],
        delayed: Sequence[tuple[QueuedRecipient, Final]],
        content: bytes | None,
        entries: Sequence[Entry],
    ) -> Composed | Literal["hold", "discard"] | None:
        if not owing and not delayed:
            return None
        now = self._clock.seconds()
        finals = _finals(owing, delayed)
        rows = [row for row in owing if row.final is not None] + [row for row, _ in delayed]
        said = tail(entries, [row.number for row in rows], {str(row.recipient.address) for row in rows})
        if message.envelope.reverse_path is None:
            return self._reporter.undeliverable(message, finals, content, now, said)
        retry_until = self.settings.retry.expires_at(message.accepted_at) if delayed else None
        return self._reporter.compose(message, finals, content, now, retry_until, said)

    def _tell_warned(self, message: Message, delayed: Sequence[tuple[QueuedRecipient, Final]]) -> None:
        for row, final in delayed:
            self._tell("warned", id=message.id, recipient=str(row.recipient.address), reply=final.reply)

    def _write(
        self,
        carried: Carried,
        finished: Sequence[int],
        changed: Sequence[QueuedRecipient],
        entries: Sequence[Entry],
        keeps_owing: bool = True,
    ) -> None:
        if finished or changed:
            settlement = Settlement(carried.message.id, tuple(finished), tuple(changed), (), (), tuple(entries))
            self._ledger.record(ledger.Entry(settlement, carried, (), keeps_owing))

    def _held(self, message: Message, row: QueuedRecipient) -> QueuedRecipient:
        why = f"its sender cannot be told that it failed: {row.note}"
        self._tell("held", id=message.id, recipient=str(row.recipient.address), error=why)
        return replace(row, state=State.HELD, final=None, note=why)


def _warned(row: QueuedRecipient, final: Final) -> tuple[int, str, str]:
    return row.number, str(row.recipient.address), final.reply


def _finals(owing: Sequence[QueuedRecipient], delayed: Sequence[tuple[QueuedRecipient, Final]]) -> Finals:
    told = [(row.recipient, row.final) for row in owing if row.final is not None]
    return told + [(row.recipient, final) for row, final in delayed]
