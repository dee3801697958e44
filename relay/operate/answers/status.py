"""What the control socket can be asked of the relay as a whole: its queue in numbers, its destinations, its steps."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from relay import __version__
from relay.operate.control import Command, Request, Row
from relay.queue.store import State, Store

DESTINATIONS_SHOWN = 200


class Destination(Protocol):
    """What the scheduler tells of a destination; relay.schedule.runner.DestinationStatus."""

    @property
    def lane(self) -> str: ...
    @property
    def window(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def resting_until(self) -> float | None: ...
    @property
    def failures(self) -> int: ...
    @property
    def last_error(self) -> str: ...


class Scheduler(Protocol):
    """What this needs of relay.schedule.runner.Runner."""

    def destinations(self) -> Sequence[Destination]: ...


@dataclass(frozen=True, slots=True)
class StatusAnswers:
    """Answers how it goes.

    counts      step -> how often it was made since the start
    started_at  seconds since the epoch
    """

    store: Store
    runner: Scheduler
    clock: IReactorTime
    hostname: str
    counts: Mapping[str, int]
    started_at: float

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {"status": self.status}

    async def status(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row: the relay, its queue in numbers, and the destinations that have most to do."""
        request.no_more()
        lanes = await self.store.lanes(DESTINATIONS_SHOWN)
        counts = self.store.counts()
        now = self.clock.seconds()
        yield {
            "version": __version__,
            "hostname": self.hostname,
            "pid": os.getpid(),
            "started_at": self.started_at,
            "uptime_s": round(now - self.started_at, 3),
            "queue": {
                "messages": counts.messages,
                "octets": counts.octets,
                "recipients": {state.value: counts.recipients.get(state, 0) for state in State},
                "oldest_at": counts.oldest_at,
                "set_aside": counts.set_aside,
            },
            "destinations": destination_rows(self.runner.destinations(), lanes),
            "steps": dict(self.counts),
        }


def destination_rows(active: Sequence[Destination], lanes: Mapping[str, int]) -> Sequence[Row]:
    """Destinations at work or with mail that waits; those with most first."""
    waiting = dict(lanes)
    rows: list[Row] = [
        {
            "destination": one.lane,
            "waiting": max(waiting.pop(one.lane, 0), one.waiting),
            "in_flight": one.in_flight,
            "window": one.window,
            "resting_until": one.resting_until,
            "failures": one.failures,
            "error": one.last_error,
        }
        for one in active
    ]
    rows += [{"destination": lane, "waiting": count, "in_flight": 0} for lane, count in waiting.items()]
    rows.sort(key=lambda row: (-int(str(row["waiting"])), str(row["destination"])))
    return rows[:DESTINATIONS_SHOWN]
