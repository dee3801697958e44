"""Where a relay is asked: its control sockets, one for each shard, and what the answers stand on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from twisted.internet.interfaces import IListeningPort

from relay.deliver.deliverer import Deliverer
from relay.operate import rules
from relay.operate.answers.destinations import DestinationAnswers
from relay.operate.answers.explain import ExplainAnswers, standing_here
from relay.operate.answers.forecast import ForecastAnswers
from relay.operate.answers.queue import QueueAnswers
from relay.operate.answers.status import StatusAnswers
from relay.operate.answers.trace import TraceAnswers
from relay.operate.complaints import Complaint
from relay.operate.config import Config
from relay.operate.control import listen_for_control
from relay.operate.explaining.premises import Premises
from relay.operate.inward import Inward
from relay.operate.lookout import Answers, Lookout
from relay.operate.merging import destinations_of
from relay.operate.neighbours import Neighbours
from relay.operate.steps import StepLog
from relay.operate.surroundings import Surroundings
from relay.operate.vitals import Vitals
from relay.queue.store import Store
from relay.route.router import Router
from relay.schedule.runner import Runner


class Joined(Protocol):
    """The parts that answers stand on, and since when the configuration is in force, seconds since the epoch."""

    config: Config
    loaded_at: float
    tell: StepLog
    store: Store
    runner: Runner
    router: Router
    deliverer: Deliverer
    inward: Inward

    def complaints_of_page(self) -> Iterable[Complaint]: ...


class Desk:
    """See the module."""

    def __init__(self, relay: Joined, around: Surroundings, lookout: Lookout, neighbours: Neighbours) -> None:
        self._relay = relay
        self._around = around
        self._lookout = lookout
        self._neighbours = neighbours

    def open(self, folder: Path, store: Store, runner: Runner, is_own: bool) -> IListeningPort:
        """Opens the control socket of a shard.  Raises CannotListenError, ValueError.

        is_own  it is this process's own, and not one that it has adopted: the steps made there are counted with our own
        """
        relay, clock = self._relay, self._around.reactor
        steps = relay.tell.counts if is_own else {}
        answers: tuple[Answers, ...] = (
            ExplainAnswers(self.premises, store, runner),
            DestinationAnswers(store, runner, relay.tell, lambda: relay.router.table),
            QueueAnswers(store, runner, clock, relay.tell),
            StatusAnswers(store, runner, clock, relay.config.hostname, steps, clock.seconds()),
            TraceAnswers(store),
            ForecastAnswers(store, runner, clock, lambda: rules.schedule_settings(relay.config)),
            *self._lookout.answers(store, runner, is_own),
        )
        commands = {name: command for one in answers for name, command in one.by_name().items()}
        return listen_for_control(cast(Any, clock), folder, commands)

    def vitals(self) -> Vitals:
        """How this process does, for who asks."""
        relay, around = self._relay, self._around
        return Vitals(
            clock=around.reactor,
            spool=relay.config.spool,
            steps=relay.tell.counts,
            meter=self._lookout.meter,
            attendance=relay.inward.attendance,
            deliverer=relay.deliverer,
            disk=relay.inward.disk,
            names=around.names,
            started_at=around.reactor.seconds(),
            expiries=relay.inward.expiries,
            files=relay.inward.files,
            unread=relay.inward.unread,
            reload=lambda: self._lookout.reload_fault,
            page=relay.complaints_of_page,
            webhooks=self._lookout.couriers.rows,
        )

    def premises(self) -> Premises:
        """What an explanation stands on, now."""
        relay = self._relay
        listen = relay.config.listen
        return Premises(
            config=relay.config,
            is_running=True,
            loaded_at=relay.loaded_at,
            listeners=[pair for pair in relay.inward.factories if pair[1] in listen],
            attendance=relay.inward.attendance,
            router=relay.router,
            deliverer=relay.deliverer,
            destinations=self._standing,
        )

    async def _standing(self, lanes: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """How these destinations stand, in all shards together."""
        own = await standing_here(self._relay.store, self._relay.runner, lanes)
        others: list[dict[str, Any]] = []
        if self._neighbours.are_there():
            others = await self._neighbours.ask("explain.destinations", destinations=list(lanes))
        return {row["destination"]: row for row in destinations_of([own, others])}
