"""What is wrong, for a person who looks: what the health says (relay.operate.complaints), and what a person wants to
see beside it.  Pure.

Each concern is a sentence with a place to go to.  Nothing is said of what is as it should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from relay.operate.complaints import of_silence
from relay.operate.web.words import age, away, count, sentence

Row = Mapping[str, Any]

OLD_S = 4 * 3600.0
"""As long as the default of ``retry.warn_after``: now senders begin to hear of it."""


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that is wrong.

    level  ``bad``: mail does not go as it should; ``warn``: somebody should know
    what   a sentence
    do     another, about what helps; or empty
    where  a page that shows more, or empty
    """

    level: str
    what: str
    do: str = ""
    where: str = ""


_WHERE = {
    "configuration": "/configuration",
    "certificate": "/configuration",
    "age": "/queue",
    "destination": "/destinations",
}


def concerns_of(status: Row, health: Row, now: float) -> Sequence[Concern]:
    """What is wrong, the worst first."""
    silent = sorted({*status["silent"], *health["silent"]})
    complaints = [dict(complaint.row()) for complaint in of_silence(silent)] + list(health["complaints"])
    found = [_of_complaint(one) for one in complaints]
    if silent:
        what = "The numbers here are without what is silent, and the queue cannot be changed until it is back."
        found.append(Concern("bad", what))
    found += [*_of_destinations(status, now), *_of_queue(status, now)]
    return sorted(found, key=lambda concern: concern.level != "bad")


def _of_complaint(row: Row) -> Concern:
    level = "bad" if row["level"] == "wrong" else "warn"
    return Concern(level, sentence(row["what"]), sentence(row["do"]), _WHERE.get(row["about"], "/log?level=error"))


def _of_destinations(status: Row, now: float) -> Iterator[Concern]:
    resting = [one for one in status["destinations"] if one.get("resting_until")]
    waiting = sum(one["waiting"] for one in resting)
    if len(resting) == 1:
        one = resting[0]
        yield Concern(
            "warn",
            f"{one['destination']} rests: {one.get('error') or 'it was told to'}. "
            f"{count(waiting, 'recipient waits', 'recipients wait')} for it; it is tried again "
            f"{away(one['resting_until'], now)}.",
            where=f"/destinations#d-{quote(one['destination'], safe='')}",
        )
    elif resting:
        yield Concern(
            "warn",
            f"{count(len(resting), 'destination')} rest, and "
            f"{count(waiting, 'recipient waits', 'recipients wait')} for them.",
            where="/destinations",
        )


def _of_queue(status: Row, now: float) -> Iterator[Concern]:
    queue = status["queue"]
    oldest = queue["oldest_at"]
    if oldest is not None and now - oldest > OLD_S and queue["recipients"].get("waiting"):
        yield Concern("warn", f"The oldest message has been in the queue for {age(now - oldest)}.", where="/queue")
