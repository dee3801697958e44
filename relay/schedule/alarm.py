"""One timer for many wishes."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

LONGEST_SLEEP_S = 60.0


class Alarm:
    """Rings once it is time.  Of several times asked for the earliest counts; whoever is rung asks anew.

    It sleeps a minute at most and then looks at the clock again: a clock that leaps ahead is noticed soon,
    and one that leaps back makes nothing ring early.
    """

    __slots__ = ("_at", "_call", "_clock", "_ring")

    def __init__(self, clock: IReactorTime, ring: Callable[[], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._at: float | None = None
        self._call: IDelayedCall | None = None

    def at(self, when: float) -> None:
        """Ring at this time (seconds since the epoch), or before if that was asked for already."""
        if self._at is None or when < self._at:
            self._at = when
            self._sleep(when - self._clock.seconds())

    def cancel(self) -> None:
        self._at = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _sleep(self, seconds: float) -> None:
        seconds = max(0.0, min(seconds, LONGEST_SLEEP_S))
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._look)
        else:
            self._call.reset(seconds)

    def _look(self) -> None:
        self._call = None
        if self._at is None:
            return
        ahead = self._at - self._clock.seconds()
        if ahead > 0:
            self._sleep(ahead)
        else:
            self._at = None
            self._ring()
