"""What the journal has of a message: how it was last tried, or what became of it.

Pure: the entries come in one after the other, as relay.message.journey reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from relay.message.outline import Outline
from relay.operate.explaining.finding import Decision, Finding

Row = Mapping[str, Any]

SHOWN = 5
"""Ways, those tried last; the dialogue of an attempt has 32 KiB at most."""

_BECAME: Mapping[str, Decision] = {
    "delivered": "accepted",
    "discarded": "accepted",
    "failed": "refused",
    "refused": "refused",
}


class LastAttempts:
    """The last attempt on each way, of those that had to do with recipients who are still here.

    still_here  their numbers
    """

    def __init__(self, still_here: Set[int]) -> None:
        self._still_here = still_here
        self._last: dict[str, Row] = {}  # by destination, the latest at the end

    def add(self, row: Row) -> None:
        """The next entry."""
        if row["step"] == "attempted" and any(one["number"] in self._still_here for one in row["recipients"]):
            self._last.pop(row["destination"], None)
            self._last[row["destination"]] = row
            if len(self._last) > SHOWN:
                self._last.pop(next(iter(self._last)))

    def findings(self) -> Iterator[Finding]:
        """One for each way, in order of time."""
        for row in self._last.values():
            rule, _, place = row["rule"].partition(", ")
            details = {
                "began_at": row["began_at"],
                "took_s": row["at"] - row["began_at"],
                "hop": row["hop"],
                "tls": row["tls"],
                "recipients": [
                    {"recipient": one["recipient"], "step": one["step"], "reply": one["reply"]}
                    for one in row["recipients"]
                ],
                "dialogue": row["dialogue"],
            }
            yield Finding("queue", "attempt", row["destination"], rule=rule, place=place, details=details)


def gone(message_id: str, outline: Outline) -> Finding:
    """What became of a message that is no longer in the queue."""
    row = outline.row(message_id)
    decision = _BECAME.get(row["state"], "told")
    remedy = f"relay trace {message_id} shows its whole journey"
    return Finding("queue", "gone", message_id, decision, remedy=remedy, details=row)
