"""The journal's envelopes through two configurations, one after the other, and what is different.

The rule that must not be broken: what is kept in memory has a bound, however long the journal is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from relay.operate.whatif.differing import Difference, differences
from relay.operate.whatif.fate import Fate
from relay.operate.whatif.past import Past, Row, past_of, untold
from relay.operate.whatif.tally import Tally

REMEMBERED_LIMIT = 20_000
RECIPIENTS_REMEMBERED = 20
"""An envelope with more recipients is decided each time."""


class Decides(Protocol):
    """A configuration: what it makes of an envelope, one fate for each recipient, or for the sender where nobody was
    named."""

    def fates(self, past: Past, /) -> Sequence[Fate]: ...


class Replay:
    """See the module."""

    def __init__(self, old: Decides, new: Decides) -> None:
        self._old = old
        self._new = new
        self._remembered: dict[Past, tuple[Sequence[Difference], Sequence[bool]]] = {}
        self.tally = Tally()

    def take(self, row: Row) -> None:
        """One more: the first entry of a journey, as relay.message.journey reads it."""
        tally, found = self.tally, past_of(row)
        if found is None:
            tally.untold[untold(row)] += int(row["count"]) if "count" in row else 1
            return
        past, were_taken = found
        differing, are_taken = self._decided(past)
        tally.envelopes += 1
        tally.recipients += len(past.recipients)
        tally.otherwise += sum(then != now for then, now in zip(were_taken, are_taken, strict=True))
        tally.take(past, differing)

    def _decided(self, past: Past) -> tuple[Sequence[Difference], Sequence[bool]]:
        """What is different, and of each recipient whether the old configuration accepts him."""
        found = self._remembered.get(past)
        if found is None:
            found = self._decide(past)
            if len(past.recipients) <= RECIPIENTS_REMEMBERED:
                if len(self._remembered) >= REMEMBERED_LIMIT:
                    self._remembered.clear()
                self._remembered[past] = found
        return found

    def _decide(self, past: Past) -> tuple[Sequence[Difference], Sequence[bool]]:
        old, new = self._old.fates(past), self._new.fates(past)
        named = past.recipients or ("",)
        differing = [
            one
            for about, before, after in zip(named, old, new, strict=True)
            for one in differences(about, before, after)
        ]
        return differing, [one.decision == "accepted" for one in old]
