"""Destinations: what is known in memory of the places where mail goes.

Nothing of this is kept on disk: after a restart the first attempts teach it again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from relay.message.outcome import Deferred, Delivered, Discarded, Failed, Outcome
from relay.message.step import Tell
from relay.schedule.alarm import Alarm
from relay.schedule.plan import note_of
from relay.schedule.settings import ScheduleSettings
from relay.schedule.window import Window

if TYPE_CHECKING:
    from relay.schedule.hand import Attempt

WISHED = "an operator wishes it to rest"

_FORGET_AFTER_S = 600.0  # a destination that does well and has nothing to do


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """One destination as the operator sees it.

    window         attempts that may go on at once; 0 while it rests
    waiting        recipients in memory that wait their turn; there may be more in the store
    resting_until  seconds since the epoch, or None
    failures       attempts in a row that found the destination itself in trouble
    last_error     what it said then, or that an operator wishes it to rest; empty when it does well
    rests          rests in a row without a success
    """

    lane: str
    window: int
    in_flight: int
    waiting: int
    resting_until: float | None
    failures: int
    last_error: str
    rests: int = 0


class Destination:
    """One lane: equal lane, equal way.

    waiting      attempts that wait their turn, oldest first
    in_flight    attempts under way
    in_hand      recipients in memory: waiting, under way, or on their way to disk
    is_ready     stands in the ring of those whose turn comes
    left_behind  there may be due mail for it in the store that was passed over
    trouble      the last trouble of the destination itself; None when it does well
    """

    __slots__ = ("in_flight", "in_hand", "is_ready", "lane", "left_behind", "trouble", "used_at", "waiting", "window")

    def __init__(self, lane: str, window: Window) -> None:
        self.lane = lane
        self.window = window
        self.waiting: deque[Attempt] = deque()
        self.in_flight = 0
        self.in_hand = 0
        self.is_ready = False
        self.left_behind = False
        self.trouble: Deferred | None = None
        self.used_at = 0.0

    def is_full(self, free: int) -> bool:
        """Whether no more mail may be taken in hand for it: it rests, is probed, or has its share.

        free  room for so many recipients is left in memory

        A destination may hold as much as is still free.  One alone so gets half of the memory, two slow
        ones a third each, and some is always left for the others.
        """
        window = self.window
        return window.size == 0 or self.in_hand >= (1 if window.rests else free)

    def admits(self, recipients: int, free: int) -> bool:
        """Whether so many recipients of a fresh message may be taken in hand at once.

        While older mail of it may wait in the store, fresh mail leaves that half of the share.
        """
        window = self.window
        if window.rests or window.size == 0:
            return window.size > 0 and self.in_hand == 0
        return self.in_hand + recipients <= (free // 2 if self.left_behind else free)

    @property
    def may_begin(self) -> bool:
        return bool(self.waiting) and self.in_flight < self.window.size

    def why_it_rests(self) -> str:
        """The last trouble, or the operator's wish; empty when it does well."""
        if self.window.is_wished:
            return WISHED
        return "" if self.trouble is None else note_of(self.trouble)

    def status(self) -> DestinationStatus:
        return DestinationStatus(
            lane=self.lane,
            window=self.window.size,
            in_flight=self.in_flight,
            waiting=sum(len(attempt.rows) for attempt in self.waiting),
            resting_until=self.window.resting_until if self.window.is_resting else None,
            failures=self.window.troubles,
            last_error=self.why_it_rests(),
            rests=self.window.rests,
        )


class Destinations:
    """All that are remembered, bounded; and the rests, which end here.

    woken  called with a destination whose rest is over
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        settings: ScheduleSettings,
        tell: Tell,
        woken: Callable[[Destination], None],
    ) -> None:
        self._clock = clock
        self._random = random
        self._settings = settings
        self._tell = tell
        self._woken = woken
        self._known: dict[str, Destination] = {}
        self._rests: list[tuple[float, str]] = []  # a heap; entries of rests that ended otherwise are passed over
        self._alarm = Alarm(clock, self._end_rests)
        self._forgot_a_rest = False

    def __iter__(self) -> Iterator[Destination]:
        return iter(list(self._known.values()))

    def of(self, lane: str) -> Destination:
        """The destination of this name."""
        destination = self._known.get(lane)
        if destination is None:
            if len(self._known) >= self._settings.destinations:
                self._forget_most()
            destination = self._known[lane] = Destination(lane, Window(self._settings.window))
            destination.used_at = self._clock.seconds()
        return destination

    def known(self, lane: str) -> Destination | None:
        return self._known.get(lane)

    def full(self, free: int) -> frozenset[str]:
        """The lanes of which nothing is to be taken in hand now; they are marked as left behind."""
        full = []
        for destination in self._known.values():
            if destination.is_full(free):
                destination.left_behind = True
                full.append(destination.lane)
        return frozenset(full)

    def catch_up(self, free: int) -> bool:
        """Whether any has been left behind that may have more again; it is not left behind any longer.

        Mostly the end of an attempt finds that out; this is for what no attempt follows.
        """
        found = False
        for destination in self._known.values():
            if destination.left_behind and not destination.is_full(free):
                destination.left_behind = False
                found = True
        forgot, self._forgot_a_rest = self._forgot_a_rest, False
        return found or forgot

    def any_left_behind(self) -> bool:
        return any(destination.left_behind for destination in self._known.values())

    def learn(self, destination: Destination, outcomes: Sequence[Outcome], in_flight: int) -> bool:
        """What the outcomes of an attempt say of the destination: the best of them counts.

        in_flight  attempts that were under way there, with this one

        True: it begins to rest.
        """
        destination.used_at = self._clock.seconds()
        trouble: Deferred | None = None
        answered = False
        for outcome in outcomes:
            if isinstance(outcome, Delivered | Discarded):
                destination.trouble = None
                destination.window.succeeded(in_flight)
                return False
            if isinstance(outcome, Deferred) and outcome.whole_destination:
                trouble = outcome
            elif isinstance(outcome, Deferred | Failed) and outcome.hop:
                answered = True
        if answered:
            destination.trouble = None
            destination.window.answered()
            return False
        return trouble is not None and self._troubled(destination, trouble)

    def _troubled(self, destination: Destination, trouble: Deferred) -> bool:
        destination.trouble = trouble
        if not destination.window.troubled(self._clock.seconds(), self._random.random(), lasting=trouble.lasting):
            return False
        self._began_to_rest(destination, note_of(trouble))
        return True

    def rest(self, destination: Destination, seconds: float, why: str, is_wished: bool = False) -> None:
        """It rests from now on.

        is_wished  by an operator
        """
        destination.window.rest(self._clock.seconds() + seconds, is_wished)
        self._began_to_rest(destination, why)

    def forgive(self, lane: str | None = None) -> None:
        """Rests and troubles are forgotten, of one destination or of all."""
        self._forgive(self if lane is None else filter(None, [self._known.get(lane)]))

    def begin_anew(self) -> None:
        """Other routes hold: rests and troubles are forgotten, but for those rests that an operator wishes."""
        self._forgive(destination for destination in self if not destination.window.is_wished)

    def _forgive(self, destinations: Iterable[Destination]) -> None:
        for destination in destinations:
            destination.window.forgive()
            destination.trouble = None
            destination.left_behind = False

    def reconfigure(self, settings: ScheduleSettings) -> None:
        self._settings = settings
        for destination in self:
            destination.window.resettle(settings.window)

    def clock_leapt_back(self) -> None:
        """No rest lasts longer from now on than the longest."""
        latest = self._clock.seconds() + self._settings.window.rest.longest_s
        for destination in self:
            window = destination.window
            if window.is_resting and window.resting_until > latest:
                self.rest(destination, self._settings.window.rest.longest_s, "the clock was set back")

    def forget_idle(self) -> None:
        """Forgets those with nothing to do; those in trouble later, so that their back-off is not forgotten."""
        now = self._clock.seconds()
        in_trouble_s = 2 * self._settings.window.rest.longest_s
        for destination in self:
            idle_s = now - destination.used_at
            if _is_idle(destination) and idle_s > (in_trouble_s if destination.window.rests else _FORGET_AFTER_S):
                del self._known[destination.lane]

    def stop(self) -> None:
        self._alarm.cancel()

    def _began_to_rest(self, destination: Destination, why: str) -> None:
        until = destination.window.resting_until
        destination.left_behind = True
        heapq.heappush(self._rests, (until, destination.lane))
        self._alarm.at(until)
        self._tell("rested", destination=destination.lane, next_at=until, error=why)

    def _end_rests(self) -> None:
        now = self._clock.seconds()
        while self._rests and self._rests[0][0] <= now:
            until, lane = heapq.heappop(self._rests)
            destination = self._known.get(lane)
            if destination is not None and destination.window.is_resting and destination.window.resting_until == until:
                destination.window.wake()
                destination.used_at = now
                self._tell("woken", destination=lane)
                self._woken(destination)
        if self._rests:
            self._alarm.at(self._rests[0][0])

    def _forget_most(self) -> None:
        """Room for new ones: those longest unused go, a quarter at least; what has mail in hand stays."""
        idle = sorted((one for one in self if one.in_hand == 0 and one.in_flight == 0), key=_worth)
        for destination in idle[: max(1, self._settings.destinations // 4)]:
            self._forgot_a_rest = self._forgot_a_rest or destination.left_behind
            del self._known[destination.lane]


def _is_idle(destination: Destination) -> bool:
    return not (destination.in_hand or destination.in_flight or destination.window.is_resting)


def _worth(destination: Destination) -> tuple[bool, float]:
    return destination.window.rests > 0, destination.used_at
