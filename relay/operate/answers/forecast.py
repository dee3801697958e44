"""What the control socket can be asked of the days to come (relay.schedule.forecast).

A destination is taken to go on as it does now: one that rests, or has its troubles, is down; the others do well.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from relay.operate.control import BadRequest, Command, Request, Row
from relay.queue.store import QueueRow, Store
from relay.route.via import leads_to
from relay.schedule.forecast import Course, Down, Forecast, Forecasted
from relay.schedule.settings import ScheduleSettings

USUAL_S = 3 * 86400.0
LONGEST_S = 60 * 86400.0


class Destination(Protocol):
    """What is asked of relay.schedule.destination.DestinationStatus."""

    @property
    def lane(self) -> str: ...
    @property
    def failures(self) -> int: ...
    @property
    def rests(self) -> int: ...
    @property
    def resting_until(self) -> float | None: ...


class Scheduler(Protocol):
    """What this needs of relay.schedule.runner.Runner."""

    def destinations(self) -> Sequence[Destination]: ...


@dataclass(frozen=True, slots=True)
class ForecastAnswers:
    """Answers for one shard's queue.

    settings  the scheduler's, as they are in force
    """

    store: Store
    runner: Scheduler
    clock: IReactorTime
    settings: Callable[[], ScheduleSettings]

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {"forecast": self.forecast}

    async def forecast(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row.

        for_s   how far to look, in seconds
        now     from when, seconds since the epoch; shards that are asked together must be told the same
        down    hosts, domains or destinations that are taken to be down
        up      likewise, to do well from now on
        """
        now = request.number("now") or self.clock.seconds()
        for_s = request.number("for_s", 60.0, LONGEST_S) or USUAL_S
        down, up = request.texts("down"), request.texts("up")
        request.no_more()
        settings = self.settings()
        stands = standing(self.runner.destinations(), down, up)
        forecast = Forecast(now, now + for_s, settings.retry, settings.window, stands)
        async for rows in by_message(self.store.list()):
            forecast.add(rows)
        yield row_of(forecast.sum_up())


def standing(
    destinations: Sequence[Destination], down: Sequence[str], up: Sequence[str]
) -> Callable[[str], Down | None]:
    """How each destination is taken to stand.  Raises BadRequest for one that is to be both up and down."""
    if set(down) & set(up):
        raise BadRequest("a destination is to be either down or up")
    known = {one.lane: one for one in destinations}

    def stands(lane: str) -> Down | None:
        if any(leads_to(lane, host) for host in up):
            return None
        one = known.get(lane)
        if one is not None and (one.failures or one.resting_until is not None):
            return Down(one.rests, one.resting_until)
        return Down() if any(leads_to(lane, host) for host in down) else None

    return stands


async def by_message(rows: AsyncIterator[QueueRow]) -> AsyncIterator[list[QueueRow]]:
    """The rows of a list, those of a message together."""
    together: list[QueueRow] = []
    async for row in rows:
        if together and together[0].message_id != row.message_id:
            yield together
            together = []
        together.append(row)
    if together:
        yield together


def row_of(found: Forecasted) -> Row:
    """A forecast as one row; of destinations, those with most recipients first."""
    courses = sorted(found.destinations.items(), key=lambda item: (-item[1].recipients, item[0]))
    return {
        "from_at": found.from_at,
        "every_s": found.every_s,
        "events": found.events,
        "messages": found.messages,
        "octets": found.octets,
        "destinations": list(_destinations(courses)),
        "bounces": [asdict(bounce) for bounce in found.bounces],
    }


def _destinations(courses: Sequence[tuple[str, Course]]) -> Iterator[Row]:
    for lane, course in courses[:200]:
        first, last = course.bounces or (None, None)
        yield {
            "destination": lane,
            "stands": "down" if course.down is not None else "well",
            "recipients": course.recipients,
            "next_at": course.next_at,
            **dict(course.counts),
            "first_bounce_at": first,
            "last_bounce_at": last,
        }
