"""How many failed logins are too many: by client, and by user.

Failures are forgotten one by one as time goes.  Who has failed too often is locked out until enough is forgotten, and
hears so whether the password would have been right or not.  A client that this user has logged in from before is not
locked out because of what others try with the user's name.

The rule that must not be broken: memory is bounded whatever names and addresses an attacker thinks up.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

LONGEST_DELAY_S = 8.0


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """failures   so many without a pause lock out
    forget_s   one failure is forgotten in this time; so it takes ``failures`` times as long until none is left
    remembered  clients, users and known pairs, each
    """

    failures: int = 10
    forget_s: float = 60.0
    remembered: int = 10_000


class _Failures:
    """A score for each key, that goes down with time.  The keys not touched for longest are dropped."""

    __slots__ = ("_scores",)

    def __init__(self) -> None:
        self._scores: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def score(self, key: str, now: float, limits: AttemptLimits) -> float:
        """Failures not yet forgotten."""
        count, at = self._scores.get(key, (0.0, now))
        # A clock that was set back forgets nothing and locks nobody out for longer.
        return max(0.0, count - max(0.0, now - at) / limits.forget_s)

    def add(self, key: str, now: float, limits: AttemptLimits) -> float:
        score = min(self.score(key, now, limits) + 1, 2.0 * limits.failures)
        self._scores[key] = (score, now)
        self._scores.move_to_end(key)
        if len(self._scores) > limits.remembered:
            self._scores.popitem(last=False)
        return score

    def clear(self, key: str) -> None:
        self._scores.pop(key, None)

    def copy(self) -> _Failures:
        copy = _Failures()
        copy._scores = self._scores.copy()
        return copy


class Attempts:
    """The failures of all clients and users.  Times are seconds since the epoch.

    limits  may be replaced at any time
    """

    def __init__(self, limits: AttemptLimits) -> None:
        self.limits = limits
        self._clients = _Failures()
        self._users = _Failures()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def copy(self) -> Attempts:
        """The same as it is now; what is counted in one does not count in the other."""
        copy = Attempts(self.limits)
        copy._clients, copy._users, copy._known = self._clients.copy(), self._users.copy(), self._known.copy()
        return copy

    def is_locked_out(self, client: str, user: str, now: float) -> bool:
        """Whether not even to look at what this client brings.

        client  whose attempts are counted together: an address, or an IPv6 network
        user    in look-up form; whether there is such a user does not matter
        """
        limits = self.limits
        if self._clients.score(client, now, limits) >= limits.failures:
            return True
        return self._users.score(user, now, limits) >= limits.failures and (client, user) not in self._known

    def failed(self, client: str, user: str, now: float) -> float:
        """Counts a failure; gives how many seconds its answer is to be held back."""
        limits = self.limits
        score = max(self._clients.add(client, now, limits), self._users.add(user, now, limits) if user else 0.0)
        return min(float(2 ** (score - 1)), LONGEST_DELAY_S)

    def succeeded(self, client: str, user: str) -> None:
        """The user's failures from here are forgiven; those of the client with other names are not."""
        self._users.clear(user)
        self._known[client, user] = None
        self._known.move_to_end((client, user))
        if len(self._known) > self.limits.remembered:
            self._known.popitem(last=False)
