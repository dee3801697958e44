"""What the control socket can be asked of destinations: which are meant by a name, and to leave one in peace for a
while, or no longer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from relay.message.address import AddressFault, parse_mailbox
from relay.message.reply import printable
from relay.message.step import Tell
from relay.operate.control import BadRequest, Command, Request, Row
from relay.queue.store import Store
from relay.route.table import RouteTable
from relay.route.via import is_ip, leads_to

LONGEST_REST_S = 30 * 86400.0
REST_S = 3600.0
WAYS_SAID = 3


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

    table  the routes that are in force
    """

    store: Store
    runner: Scheduler
    tell: Tell
    table: Callable[[], RouteTable]

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {
            "destination.named": self.named,
            "destination.awaited": self.awaited,
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

    async def awaited(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row: the ``destinations`` that are meant by a ``destination`` for which no mail has come yet."""
        name = _named(request)
        request.no_more()
        yield named_row(name, awaited(self.table(), name))

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


def awaited(table: RouteTable, name: str) -> set[str]:
    """The destinations of the routes that lead to a host or domain; or that of a domain whose mail goes by MX.

    Raises BadRequest for a domain whose mail goes another way, and for what can be none.
    """
    if leading := {rule.way.lane for rule in table.rules if leads_to(rule.way.lane, name)}:
        return leading
    try:
        recipient = None if is_ip(name) else parse_mailbox(f"postmaster@{name}")
    except AddressFault:
        recipient = None
    if recipient is None:
        raise BadRequest(
            f"{printable(name)} can be no destination: it is no domain, no route leads there, and no mail is for it; "
            "relay status has the names of those that are known"
        )
    lanes = table.lanes_for(recipient)
    if own := {lane for lane in lanes if leads_to(lane, recipient.domain_key)}:
        return own
    ways = " and ".join(lanes[:WAYS_SAID]) + (" and others" if len(lanes) > WAYS_SAID else "")
    raise BadRequest(f"mail for {name} goes by {ways}; name that, if it is to rest with all other mail that goes there")


def named_row(name: str, lanes: Iterable[str]) -> Row:
    """The answer to ``destination.named``."""
    return {"destination": name, "destinations": sorted(lanes)}


def _named(request: Request) -> str:
    lane = request.text("destination")
    if not lane:
        raise BadRequest("name the destination, as relay status shows it")
    return lane
