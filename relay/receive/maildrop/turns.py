"""Whose mail is next: one message of each user in turn, so that nobody's flood keeps another's one message waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relay.receive.maildrop.looking import Waiting

RESTING_LIMIT = 100
"""So many messages of one user may wait for another try; those that come then are not looked at meanwhile."""
FIRST_REST_S = 10.0
LONGEST_REST_S = 300.0


def in_turn(waiting: Iterable[Waiting]) -> Sequence[Waiting]:
    """The longest waiting message of each user, then the second of each, and so on."""
    seen: Counter[int] = Counter()
    placed: list[tuple[int, Waiting]] = []
    for one in sorted(waiting):
        placed.append((seen[one.uid], one))
        seen[one.uid] += 1
    return [one for _, one in sorted(placed)]


@dataclass(slots=True)
class _Rest:
    uid: int
    until: float
    failures: int
    left: tuple[int, ...] | None


class Rests:
    """Messages that could not be taken in whole, each until it is tried again.  Times are seconds since the epoch.

    What is left of a message is remembered here alone: after a crash it is tried for all of its recipients again.
    """

    def __init__(self) -> None:
        self._rests: dict[str, _Rest] = {}
        self._of_user: Counter[int] = Counter()

    def begin(self, waiting: Waiting, left: tuple[int, ...] | None, now: float) -> bool:
        """It is tried again after a while that grows.  Whether it is the first time.

        left  places of the recipients that it is still for; None: for all
        """
        older = self._rests.get(waiting.name)
        failures = older.failures + 1 if older is not None else 1
        rest_s = min(LONGEST_REST_S, FIRST_REST_S * 2 ** min(failures - 1, 10))
        if older is None:
            self._of_user[waiting.uid] += 1
        self._rests[waiting.name] = _Rest(waiting.uid, now + rest_s, failures, left)
        return older is None

    def end(self, name: str) -> None:
        """It is taken in, or gone."""
        rest = self._rests.pop(name, None)
        if rest is not None:
            self._of_user[rest.uid] -= 1
            if not self._of_user[rest.uid]:
                del self._of_user[rest.uid]

    def only(self, there: Iterable[str], now: float) -> None:
        """Of those that rest no longer, only these are there still."""
        left = set(there)
        for name in [name for name, rest in self._rests.items() if rest.until <= now and name not in left]:
            self.end(name)

    def left_of(self, name: str) -> tuple[int, ...] | None:
        """Places of the recipients that have not had it yet; None when nobody has."""
        rest = self._rests.get(name)
        return rest.left if rest is not None else None

    def resting(self, now: float) -> frozenset[str]:
        """Names of those that rest still."""
        return frozenset(name for name, rest in self._rests.items() if rest.until > now)

    def is_resting(self, name: str, now: float) -> bool:
        """Whether it rests still."""
        rest = self._rests.get(name)
        return rest is not None and rest.until > now

    def may_come(self, waiting: Waiting) -> bool:
        """Whether it is to be looked at."""
        return waiting.name in self._rests or self._of_user[waiting.uid] < RESTING_LIMIT

    def next_at(self, now: float) -> float | None:
        """When the first of those that rest still is to be tried again."""
        return min((rest.until for rest in self._rests.values() if rest.until > now), default=None)
