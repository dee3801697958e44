"""When to look into the store, and what to take from it.

The store is asked when something is due and there is room for it, and not otherwise: no polling, and no busy
loop however the clock is set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.message.step import Tell
from relay.queue.store import Leased, Store
from relay.schedule.alarm import Alarm
from relay.schedule.destination import Destination, Destinations
from relay.schedule.hand import Hand
from relay.schedule.settings import ScheduleSettings

_CALM_S = 1.0


class Fetch:
    """Takes due mail in hand.

    taken  called with what was leased
    wants_room  something is due, and there was no room for it
    leasing     how many answers of the store are awaited that may bring mail
    """

    def __init__(
        self,
        store: Store,
        clock: IReactorTime,
        hand: Hand,
        destinations: Destinations,
        settings: ScheduleSettings,
        tell: Tell,
        taken: Callable[[Sequence[Leased]], None],
    ) -> None:
        self.settings = settings
        self.wants_room = False
        self.leasing = 0
        # Of what was leased last, on the average.  What is leased first is little, as nothing is known of it.
        self._recipients_each = max(1, settings.active_recipients // 10)
        self._store = store
        self._clock = clock
        self._hand = hand
        self._destinations = destinations
        self._tell = tell
        self._taken = taken
        self._next_at: float | None = None
        self._asking = False
        self._paused = True
        self._alarm = Alarm(clock, self.look)

    @property
    def portion(self) -> int:
        """So much room there must be before something is taken; while it is wanted, fresh mail leaves it free."""
        return min(self.settings.per_lease, max(1, self.settings.active_recipients // 4))

    def start(self) -> None:
        self._paused = False
        self.due(self._clock.seconds())

    def pause(self) -> None:
        """Asks no more until it is started again."""
        self._paused = True
        self._alarm.cancel()

    def due(self, at: float) -> None:
        """Something in the store is due then."""
        if self._next_at is None or at < self._next_at:
            self._next_at = at
            if not (self._paused or self._asking or self.wants_room):
                self._alarm.at(at)

    def look(self) -> None:
        """Takes what is due, as far as there is room."""
        if self._paused or self._asking or self._next_at is None:
            return
        now = self._clock.seconds()
        if self._next_at > now:
            self._alarm.at(self._next_at)
            return
        free = self._hand.free()
        # Not for each recipient that goes one that comes: in portions.
        self.wants_room = free < self.portion
        if self.wants_room:
            return
        self._asking = True
        self._next_at = None
        want = min(self.settings.per_lease, max(1, free // self._recipients_each))
        full = self._destinations.full(free)
        self.leasing += 1
        self._hand.store_asked()
        asked = self._store.lease(now, now + self.settings.lease_s, want, full)
        asked.addCallbacks(self._leased, self._lease_refused, (want,))

    def probe(self, destination: Destination) -> None:
        """Takes one message for this destination, to see whether it is there again."""
        if self._paused:
            return
        now = self._clock.seconds()
        self.leasing += 1
        self._hand.store_asked()
        asked = self._store.lease(now, now + self.settings.lease_s, 1, frozenset(), destination.lane)
        asked.addCallbacks(self._probe_leased, self._probe_refused, (destination,))

    def _probe_leased(self, leased: Sequence[Leased], destination: Destination) -> None:
        self.leasing -= 1
        self._learn(leased)
        self._taken(leased)
        self._hand.store_answered()
        if not leased:
            # Nothing was due there: from now on it is read as any other, and what comes first is the probe.
            destination.left_behind = False
            self.due(self._clock.seconds())

    def _probe_refused(self, failure: Failure) -> None:
        self.leasing -= 1
        self._hand.store_answered()
        self._taken(())
        self._tell("trouble", error=f"due mail cannot be read from the queue: {failure.getErrorMessage()}")
        self.due(self._clock.seconds() + self.settings.rewrite_s)

    def _leased(self, leased: Sequence[Leased], want: int) -> None:
        self.leasing -= 1
        self._learn(leased)
        self._taken(leased)
        self._hand.store_answered()
        if self._paused:
            self._asking = False
        elif len(leased) >= want:
            self._answered(self._clock.seconds())
        else:
            full = self._destinations.full(max(1, self._hand.free()))
            # Whatever the store says: when it gave nothing, it is not asked again at once.
            not_before = 0.0 if leased else self._clock.seconds() + _CALM_S
            self._store.next_due(full).addCallbacks(self._answered, self._refused, (not_before,))

    def _learn(self, leased: Sequence[Leased]) -> None:
        if leased:
            self._recipients_each = max(1, sum(len(one.recipients) for one in leased) // len(leased))

    def _answered(self, at: float | None, not_before: float = 0.0) -> None:
        self._asking = False
        if at is not None:
            at = max(at, not_before)
            self._next_at = at if self._next_at is None else min(at, self._next_at)
        if self._next_at is not None and not self._paused:
            self._alarm.at(self._next_at)

    def _lease_refused(self, failure: Failure) -> None:
        self.leasing -= 1
        self._hand.store_answered()
        self._taken(())
        self._refused(failure)

    def _refused(self, failure: Failure) -> None:
        self._tell("trouble", error=f"due mail cannot be read from the queue: {failure.getErrorMessage()}")
        self._next_at = None
        self._answered(self._clock.seconds() + self.settings.rewrite_s)
