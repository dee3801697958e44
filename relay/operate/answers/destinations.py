"""What the control socket can be asked of destinations: which are meant by a name, and to leave one in peace for a
while, or no longer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from relay.message.step import Tell
from relay.operate.control import BadRequest, Command, Request, Row
from relay.queue.store import Store
from relay.route.via import leads_to

LONGEST_REST_S = 30 * 86400.0
REST_S = 3600.0


class Destination(Protocol):
    """What this needs of relay.schedule.runner.DestinationStatus."""

    @property
    def lane(self) -> str: ...


class Scheduler(Protocol):
    """What this needs of relay.schedule.runner.Runner."""

    def destinations(self) -> Sequence[Destination]: ...
    def rest(self, lane: str, seconds: float) -> None: ...
    def flush(self, lane: str | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class DestinationAnswers:
    """Answers questions and wishes about the destinations of one shard.

    A rest is kept in memory: it is over when the relay is started again.
    """

    store: Store
    runner: Scheduler
    tell: Tell

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {
            "destination.named": self.named,
            "destination.rest": self.rest,
            "destination.wake": self.wake,
        }

    async def named(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row: the ``destinations`` that somebody may mean by a ``destination``, which is the exact name of one, or
        a host or domain; among those at work and those of recipients in the queue, held ones too."""
        name = _named(request)
        request.no_more()
        leads = partial(leads_to, host=name)
        at_work = {one.lane for one in self.runner.destinations() if leads(one.lane)}
        yield named_row(name, at_work if name in at_work else at_work | await self.store.lanes_that(leads))

    async def rest(self, request: Request) -> AsyncGenerator[Row, None]:
        """Nothing is tried at a ``destination`` for so many ``seconds``; what is under way there goes on."""
        lane = _named(request)
        seconds = request.number("seconds", 1, LONGEST_REST_S)
        request.no_more()
        self.runner.rest(lane, REST_S if seconds is None else seconds)
        yield {"changed": 1}

    async def wake(self, request: Request) -> AsyncGenerator[Row, None]:
        """A ``destination`` has rested long enough: what is due there goes."""
        lane = _named(request)
        request.no_more()
        self.runner.flush(lane)
        self.tell("woken", destination=lane, place="control")
        yield {"changed": 1}


def named_row(name: str, lanes: Iterable[str]) -> Row:
    """The answer to ``destination.named``."""
    return {"destination": name, "destinations": sorted(lanes)}


def _named(request: Request) -> str:
    lane = request.text("destination")
    if not lane:
        raise BadRequest("name the destination, as relay status shows it")
    return lane
