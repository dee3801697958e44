"""Once a minute: what no event brings about.

- Mail that waits behind a resting destination, for room, or in memory for its turn, expires and is warned of on time.
- A clock that leaps is noticed.  Ahead: for a while nothing expires, since no time has passed that mail could
  have been delivered in.  Back: what is due only by the old clock is due now.
- Destinations with nothing to do are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from relay.message.step import Tell
from relay.queue.store import EVERYTHING, Leased, Store
from relay.schedule.destination import Destinations
from relay.schedule.fetch import Fetch
from relay.schedule.hand import Hand
from relay.schedule.settings import ScheduleSettings

PULSE_S = 60.0
LEAP_S = 600.0
"""More than this beyond the expected, and the clock was set, or the machine slept."""
LOOKS = 10
"""A store may look at a part of a large queue at a time: so many parts each minute."""


class Pulse:
    """The beat.

    taken   called with mail that has waited too long
    lapsed  called to part with what has waited in memory for longer than its lease
    """

    def __init__(
        self,
        store: Store,
        clock: IReactorTime,
        hand: Hand,
        destinations: Destinations,
        fetch: Fetch,
        settings: ScheduleSettings,
        tell: Tell,
        taken: Callable[[Sequence[Leased]], None],
        lapsed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self._not_before = 0.0
        self._store = store
        self._clock = clock
        self._hand = hand
        self._destinations = destinations
        self._fetch = fetch
        self._tell = tell
        self._taken = taken
        self._lapsed = lapsed
        self._last_at = clock.seconds()
        self._call: IDelayedCall | None = None
        self._sweeping = False

    def start(self) -> None:
        self._last_at = self._clock.seconds()
        self._call = self._clock.callLater(PULSE_S, self._beat)

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def not_before(self, now: float) -> float:
        """Nothing expires and nobody is warned before this, seconds since the epoch.

        Looks for a leap of the clock itself: a late beat must not let mail expire before it.
        """
        since_s = now - self._last_at
        if not -LEAP_S <= since_s <= PULSE_S + LEAP_S and self._call is not None:
            self._last_at = now
            self._clock_leapt(now, since_s)
        return self._not_before

    def _beat(self) -> None:
        now = self._clock.seconds()
        self.not_before(now)
        self._last_at = now
        self._call = self._clock.callLater(PULSE_S, self._beat)
        self._destinations.forget_idle()
        self._lapsed()
        if self._fetch.wants_room or self._destinations.any_left_behind():
            self._sweep(LOOKS)
        if self._destinations.catch_up(self._hand.free()):
            self._fetch.due(now)

    def _clock_leapt(self, now: float, seconds: float) -> None:
        direction = "ahead" if seconds > 0 else "back"
        self._tell("trouble", error=f"the clock leapt {direction} by {abs(seconds):.0f} seconds")
        if seconds > 0:
            self._not_before = now + self.settings.retry.longest_s
            return
        self._not_before = 0.0
        self._destinations.clock_leapt_back()
        self._store.retry(EVERYTHING, now).addCallbacks(lambda _: self._fetch.due(now), self._refused)

    def _sweep(self, looks: int) -> None:
        """Takes what is due and has waited longer than a warning or giving up allows; looks so often."""
        now = self._clock.seconds()
        if self._sweeping or self._call is None or now < self._not_before:
            return
        self._sweeping = True
        retry = self.settings.retry
        warn_before = 0.0 if retry.warn_after_s is None else now - retry.warn_after_s
        self._hand.store_asked()
        self._store.overdue(
            now, now + self.settings.lease_s, self.settings.per_lease, warn_before, now - retry.give_up_after_s
        ).addCallbacks(self._swept, self._not_swept, (looks,))

    def _swept(self, leased: Sequence[Leased], looks: int) -> None:
        self._sweeping = False
        self._taken(leased)
        self._hand.store_answered()
        if len(leased) < self.settings.per_lease:
            looks -= 1
        if looks > 0:  # when memory is full, no faster than what was taken is settled
            self._clock.callLater(0.0 if self._hand.free() else 1.0, self._sweep, looks)

    def _not_swept(self, failure: Failure) -> None:
        self._sweeping = False
        self._hand.store_answered()
        self._refused(failure)

    def _refused(self, failure: Failure) -> None:
        self._tell("trouble", error=f"the queue cannot be looked through: {failure.getErrorMessage()}")
