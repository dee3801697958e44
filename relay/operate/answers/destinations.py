"""What the control socket can be asked to do with a destination: leave it in peace for a while, or no longer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

from relay.message.step import Tell
from relay.operate.control import BadRequest, Command, Request, Row

LONGEST_REST_S = 30 * 86400.0
REST_S = 3600.0


class Scheduler(Protocol):
    """What this needs of relay.schedule.runner.Runner."""

    def rest(self, lane: str, seconds: float) -> None: ...
    def flush(self, lane: str | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class DestinationAnswers:
    """Answers wishes about the destinations of one shard.

    A rest is kept in memory: it is over when the relay is started again.
    """

    runner: Scheduler
    tell: Tell

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {"destination.rest": self.rest, "destination.wake": self.wake}

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


def _named(request: Request) -> str:
    lane = request.text("destination")
    if not lane:
        raise BadRequest("name the destination, as relay status shows it")
    return lane
