"""When it is tried, by the scheduler's own arithmetic: as if every attempt failed at once, and chance in the middle."""

from __future__ import annotations

from collections.abc import Sequence

from relay.schedule.retry import RetrySettings

SHOWN = 8
_MIDDLE = 0.5


def attempts_ahead(
    retry: RetrySettings, accepted_at: float, first_at: float, failures: int, limit: int = SHOWN
) -> Sequence[float]:
    """The times of the next attempts, seconds since the epoch; at most ``limit``.

    first_at  when the next one is
    failures  attempts made before it
    """
    times = [first_at]
    while len(times) < limit:
        next_at = retry.next_attempt(accepted_at, times[-1], failures + len(times), _MIDDLE)
        if next_at is None:
            break
        times.append(next_at)
    return times
