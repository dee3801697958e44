"""What is wrong, for a person who looks: from what the shards answer.  Pure.

Each concern is a sentence with a place to go to.  Nothing is said of what is as it should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from relay.operate.web.words import age, away, count

Row = Mapping[str, Any]

OLD_S = 4 * 3600.0
"""As long as the default of ``retry.warn_after``: now senders begin to hear of it."""


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that is wrong.

    level  ``bad``: mail does not go as it should; ``warn``: somebody should know
    what   a sentence
    where  a page that shows more, or empty
    """

    level: str
    what: str
    where: str = ""


def concerns_of(status: Row, now: float) -> Sequence[Concern]:
    """What is wrong, the worst first."""
    found = [*_of_workers(status), *_of_destinations(status, now), *_of_queue(status, now), *_of_steps(status)]
    return sorted(found, key=lambda concern: concern.level != "bad")


def _of_workers(status: Row) -> Iterator[Concern]:
    for shard in status.get("silent", ()):
        yield Concern(
            "bad",
            f"Worker {shard} does not answer. What it had queued is on disk and waits for it; "
            "the numbers here are without its part, and the queue cannot be changed until it is back.",
            "/log?level=error",
        )


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
            f"/destinations#d-{quote(one['destination'], safe='')}",
        )
    elif resting:
        yield Concern(
            "warn",
            f"{count(len(resting), 'destination')} rest, and "
            f"{count(waiting, 'recipient waits', 'recipients wait')} for them.",
            "/destinations",
        )


def _of_queue(status: Row, now: float) -> Iterator[Concern]:
    queue = status["queue"]
    if queue["set_aside"]:
        yield Concern(
            "bad",
            f"{count(queue['set_aside'], 'message')} could not be read; it is all set aside in the spool, "
            "for you to look at.",
            "/log?level=error",
        )
    oldest = queue["oldest_at"]
    if oldest is not None and now - oldest > OLD_S and queue["recipients"].get("waiting"):
        yield Concern("warn", f"The oldest message has been in the queue for {age(now - oldest)}.", "/queue")


def _of_steps(status: Row) -> Iterator[Concern]:
    trouble = status["steps"].get("trouble", 0)
    if trouble:
        yield Concern(
            "warn",
            f"The relay had trouble of its own {'once' if trouble == 1 else str(trouble) + ' times'} since it started; "
            "the log has the details.",
            "/log?level=error",
        )
