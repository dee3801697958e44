"""How long to wait, when to warn, when to give up: arithmetic over points of time.

No wait jumps over the hour of the warning or of giving up: both fall together with a last attempt, and
for all recipients of a message at once, so that the sender gets one report and not one for each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """The back-off of one message (RFC 5321 §4.5.4.1), all times in seconds.

    first_s          the wait after the first attempt
    factor           each wait is this many times the one before
    longest_s        no wait is longer
    spread           each wait is longer or shorter by up to this part of it, by chance: those that failed
                     together do not come back together
    warn_after_s     the sender is warned once of a delay this long; None: never
    give_up_after_s  then the sender gets the message back (RFC 5321: at least 4 to 5 days)
    """

    first_s: float = 60.0
    factor: float = 2.0
    longest_s: float = 3600.0
    spread: float = 0.2
    warn_after_s: float | None = 4 * 3600.0
    give_up_after_s: float = 5 * 86400.0

    def wait_s(self, failures: int, jitter: float) -> float:
        """The wait after so many failures in a row (1 or more); jitter 0.0..1.0 by chance."""
        try:
            wait_s = min(self.first_s * self.factor ** (failures - 1), self.longest_s)
        except OverflowError:
            wait_s = self.longest_s
        return wait_s * (1.0 + self.spread * (2.0 * jitter - 1.0))

    def warns_at(self, accepted_at: float) -> float:
        """When the sender is to hear of the delay; infinity for never."""
        return math.inf if self.warn_after_s is None else accepted_at + self.warn_after_s

    def expires_at(self, accepted_at: float) -> float:
        return accepted_at + self.give_up_after_s

    def next_attempt(
        self, accepted_at: float, now: float, failures: int, jitter: float, not_before: float = 0.0
    ) -> float | None:
        """The time of the next attempt, or None when the message has expired.

        accepted_at, now  seconds since the epoch
        failures          attempts made so far, 1 or more
        jitter            0.0..1.0, from the caller's random source (RFC 5321 §4.5.4.1)
        not_before        nothing is warned of or expires before this: set when the clock has leapt
        """
        expires_at = max(self.expires_at(accepted_at), not_before)
        if now >= expires_at:
            return None
        next_at = min(now + self.wait_s(failures, jitter), expires_at)
        warns_at = max(self.warns_at(accepted_at), not_before)
        if now < warns_at < next_at:
            next_at = warns_at
        return max(next_at, now + min(self.first_s, self.longest_s) * (1.0 - self.spread))
