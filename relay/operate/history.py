"""How often each step was made in each of the last sixty minutes, for charts.

A minute costs one look at the counters, and a message costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.operate.merging import sums

EVERY_S = 60
KEPT = 60


class History:
    """Looks at the counters when a minute of the clock is over.

    counts  step -> how often it was made since the start
    """

    def __init__(self, clock: IReactorTime, counts: Mapping[str, int]) -> None:
        self._clock = clock
        self._counts = counts
        self._before: dict[str, int] = {}
        self._minutes: dict[int, dict[str, int]] = {}  # minutes since the epoch that are over
        self._minute = 0
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        self._before = dict(self._counts)
        self._minute = self._now()
        self._next()

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def row(self) -> dict[str, object]:
        """
        every_s  what one number is about
        from_at  when the first of them began, seconds since the epoch
        now_at   now: the last number is of a minute that is not over yet
        steps    step -> sixty numbers, oldest first; a step that was not made in all that time is left out
        """
        last = self._now()
        minutes = {**self._minutes, self._minute: self._so_far()}
        first = last - KEPT + 1
        steps = sorted({step for minute, made in minutes.items() if minute >= first for step in made})
        none: Mapping[str, int] = {}
        return {
            "every_s": EVERY_S,
            "from_at": float(first * EVERY_S),
            "now_at": self._clock.seconds(),
            "steps": {
                step: [minutes.get(minute, none).get(step, 0) for minute in range(first, last + 1)] for step in steps
            },
        }

    def _now(self) -> int:
        return int(self._clock.seconds() // EVERY_S)

    def _next(self) -> None:
        at = self._clock.seconds()
        self._call = self._clock.callLater(EVERY_S - at % EVERY_S, self._minute_over)

    def _minute_over(self) -> None:
        self._minutes[self._minute] = self._so_far()
        self._before = dict(self._counts)
        self._minute = now = self._now()
        for old in [minute for minute in self._minutes if not now - KEPT < minute <= now]:
            del self._minutes[old]
        self._next()

    def _so_far(self) -> dict[str, int]:
        """Of the minute under way; some of it may be there already, when a timer came early or the clock was set."""
        return sums((self._minutes.get(self._minute, {}), self._made()))

    def _made(self) -> dict[str, int]:
        """What was made since the last look."""
        before = self._before
        made = {step: count - before.get(step, 0) for step, count in self._counts.items()}
        return {step: count for step, count in made.items() if count}
