"""What becomes of the queue if nothing changes: the scheduler's own planning, with a clock that runs ahead.

    held                      stays
    owing                     its report goes at once
    its destination is down   waits behind the rests, is warned of, expires; one probe after each rest
    refused so far            is refused again at each retry, is warned of, expires
    else                      is delivered when it is due

Rows come one message at a time and are forgotten again: a million of them cost time and no memory.  What chance
decides (jitter) is taken to be in the middle.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from relay.message.address import Address
from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.notify import is_undeliverable_report
from relay.message.outcome import Action, Deferred
from relay.message.reply import reply
from relay.queue.store import QueuedRecipient, QueueRow, State
from relay.schedule.plan import Planned, plan, plan_untried
from relay.schedule.retry import RetrySettings
from relay.schedule.window import Window, WindowSettings

EVENTS = ("tried", "delivered", "warned", "bounced", "held", "dropped")
"""Attempts, and what becomes of recipients.  ``bounced``: the sender is told; ``held``: a report that cannot be
delivered; ``dropped``: the sender wished to hear nothing."""

SPANS_S = (60, 300, 900, 3600, 4 * 3600, 86400, 7 * 86400)
SPANS_SHOWN = 72
BOUNCES_SHOWN = 20
DESTINATIONS_LIMIT = 10_000
OTHERS = "(others)"

_MIDDLE = 0.5
_SOMEBODY = Address("somebody", "invalid")  # of a sender only matters whether there is one
_AGAIN = Deferred(reply(450, "4.0.0", "As before"), "forecast")
_DOWN = Deferred(reply(451, "4.4.1", "The destination is down"), whole_destination=True)


@dataclass(frozen=True, slots=True)
class Down:
    """A destination that is taken to be down.

    rests          how often in a row it has rested already
    resting_until  seconds since the epoch; None: the first attempt will find out
    """

    rests: int = 0
    resting_until: float | None = None


@dataclass(slots=True)
class Course:
    """What becomes of the recipients of one destination, as far as the forecast looks.

    counts    of EVENTS
    bounces   when the first and the last of its recipients bounces, seconds since the epoch
    down      None: it does well
    empty_at  when the last of its recipients is gone, seconds since the epoch
    """

    recipients: int = 0
    next_at: float | None = None
    counts: Counter[str] = field(default_factory=Counter)
    bounces: tuple[float, float] | None = None
    down: Down | None = None
    empty_at: float = 0.0


@dataclass(frozen=True, slots=True, order=True)
class Bounce:
    """A recipient that will be given up."""

    at: float
    id: str
    sender: str
    recipient: str
    destination: str


@dataclass(frozen=True, slots=True)
class Forecasted:
    """A forecast.

    from_at, every_s  the spans of time: the n-th begins at from_at + n * every_s
    events            for each of EVENTS its number in each span
    messages, octets  in the queue at the end of each span
    destinations      by the scheduler's name
    bounces           the first to come
    """

    from_at: float
    every_s: float
    events: dict[str, list[int]]
    messages: list[int]
    octets: list[int]
    destinations: dict[str, Course]
    bounces: list[Bounce]


class Forecast:
    """Takes the rows of a queue, a message at a time, and sums up what becomes of them.

    now, until  from when and until when, seconds since the epoch
    down        whether a destination is down, and since when it rests; None: it does well
    """

    def __init__(
        self,
        now: float,
        until: float,
        retry: RetrySettings,
        window: WindowSettings,
        down: Callable[[str], Down | None],
    ) -> None:
        self._now = now
        self._until = until
        self._retry = retry
        self._window = window
        self._down = down
        self._every_s = span_for(until - now)
        spans = max(1, int(-(-(until - now) // self._every_s)))
        self._events = {event: [0] * spans for event in EVENTS}
        self._left_messages = [0] * spans
        self._left_octets = [0] * spans
        self._messages = self._octets = 0
        self._courses: dict[str, Course] = {}
        self._bounces: list[tuple[float, Bounce]] = []  # a heap of the first ones: the last of them on top

    def add(self, rows: Sequence[QueueRow]) -> None:
        """Takes all rows of one message."""
        first = rows[0]
        sender = None if first.sender == "<>" else _SOMEBODY
        message = Message(first.message_id, Envelope(sender), Origin(), first.accepted_at, b"", None, first.size)
        gone_at = 0.0
        for row in rows:
            ended_at = None
            course = self._course(row.lane)
            course.recipients += 1
            for at, event in self._of(message, row, course):
                if at >= self._until:
                    break
                self._count(at, event, row, course)
                if event in ("delivered", "bounced", "dropped"):
                    ended_at = at
            left_at = ended_at if ended_at is not None else self._until
            course.empty_at = max(course.empty_at, left_at)
            gone_at = max(gone_at, left_at)
        self._messages += 1
        self._octets += first.size
        if gone_at < self._until:
            span = self._span(gone_at)
            self._left_messages[span] += 1
            self._left_octets[span] += first.size

    def sum_up(self) -> Forecasted:
        """The forecast of all that was added; to be asked once."""
        for course in self._courses.values():
            self._probe(course)
        return Forecasted(
            self._now,
            self._every_s,
            self._events,
            _left(self._messages, self._left_messages),
            _left(self._octets, self._left_octets),
            self._courses,
            sorted(bounce for _, bounce in self._bounces),
        )

    # -- one recipient -------------------------------------------------------------------------

    def _of(self, message: Message, row: QueueRow, course: Course) -> Iterator[tuple[float, str]]:
        """What happens to a recipient, in order of time."""
        if row.state is State.HELD:
            return iter(())
        if row.state is State.OWING:
            return iter([(self._now, "bounced")])
        queued = QueuedRecipient(
            0, Recipient(_SOMEBODY, row.notify), row.lane, max(row.due_at, self._now), row.attempts, warned=row.warned
        )
        if course.down is not None:
            return self._waiting(message, queued)
        if row.attempts and row.note:
            return self._refused(message, queued)
        return iter([(queued.due_at, "tried"), (queued.due_at, "delivered")])

    def _waiting(self, message: Message, row: QueuedRecipient) -> Iterator[tuple[float, str]]:
        """Behind the rests of its destination: what it is looked at for is to be warned of, and to be given up."""
        warns_at, expires_at = self._retry.warns_at(message.accepted_at), self._retry.expires_at(message.accepted_at)
        for at in (max(warns_at, self._now), max(expires_at, self._now)):
            if at < self._until:
                planned = plan_untried(message, row, _DOWN, at, self._retry)
                yield from _events(at, message, planned)
                if planned.row is None or planned.row.state is not State.WAITING:
                    return
                row = planned.row

    def _refused(self, message: Message, row: QueuedRecipient) -> Iterator[tuple[float, str]]:
        while row.due_at < self._until:
            at = row.due_at
            row = QueuedRecipient(0, row.recipient, row.lane, at, row.attempts + 1, warned=row.warned)
            yield at, "tried"
            planned = plan(message, row, _AGAIN, at, self._retry, _MIDDLE)
            yield from _events(at, message, planned)
            if planned.row is None or planned.row.state is not State.WAITING:
                return
            row = planned.row

    # -- one destination -----------------------------------------------------------------------

    def _course(self, lane: str) -> Course:
        if lane not in self._courses and len(self._courses) >= DESTINATIONS_LIMIT:
            lane = OTHERS
        course = self._courses.get(lane)
        if course is None:
            course = self._courses[lane] = Course(down=self._down(lane) if lane != OTHERS else None)
        return course

    def _probe(self, course: Course) -> None:
        """One attempt after each rest, each of which is longer than the one before, while there is mail."""
        if course.down is None:
            return
        window = Window(self._window)
        window.rests = course.down.rests
        at = max(self._now, course.down.resting_until or self._now)
        while at < course.empty_at:
            self._count(at, "tried", None, course)
            window.size = 1
            window.rests = max(window.rests, 1)  # what is to come finds it down: no window to close first
            window.troubled(at, _MIDDLE)
            at = window.resting_until

    # -- sums ----------------------------------------------------------------------------------

    def _count(self, at: float, event: str, row: QueueRow | None, course: Course) -> None:
        self._events[event][self._span(at)] += 1
        course.counts[event] += 1
        if event == "tried":
            course.next_at = at if course.next_at is None else min(course.next_at, at)
        elif event == "bounced" and row is not None:
            first, last = course.bounces or (at, at)
            course.bounces = (min(first, at), max(last, at))
            bounce = Bounce(at, row.message_id, row.sender, row.recipient, row.lane)
            if len(self._bounces) < BOUNCES_SHOWN:
                heapq.heappush(self._bounces, (-at, bounce))
            elif -self._bounces[0][0] > at:
                heapq.heapreplace(self._bounces, (-at, bounce))

    def _span(self, at: float) -> int:
        return min(int((at - self._now) // self._every_s), len(self._left_messages) - 1)


def span_for(whole_s: float) -> float:
    """The length of a span, so that there are not too many of them."""
    return next((float(one) for one in SPANS_S if whole_s <= one * SPANS_SHOWN), float(SPANS_S[-1]))


def _events(at: float, message: Message, planned: Planned) -> Iterator[tuple[float, str]]:
    """What a plan means for the recipient."""
    if planned.warning is not None:
        yield at, "warned"
    if planned.step == "expired":
        if planned.row is None:
            yield at, "dropped"
        else:
            yield at, "held" if is_undeliverable_report(message.envelope, Action.FAILED) else "bounced"


def _left(whole: int, leaving: Sequence[int]) -> list[int]:
    left = []
    for gone in leaving:
        whole -= gone
        left.append(whole)
    return left
