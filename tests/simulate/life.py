"""One life of one process of the relay: the real service, with this world's surroundings, until it ends or is ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred

from relay.message.account import Tried
from relay.message.envelope import Message, Recipient
from relay.message.step import Tell
from relay.operate import rules
from relay.operate.config import Config
from relay.operate.recent import Recent
from relay.operate.service import RelayService
from relay.operate.shards import number_of, orphans
from relay.operate.shares import part_of
from relay.operate.steps import LEVEL_OF_STEP, StepLog
from relay.queue.ids import shard_of
from relay.queue.store import Store
from relay.schedule.runner import Runner
from relay.testing.names import SeededNames
from relay.testing.process import Process

if TYPE_CHECKING:
    from tests.simulate.world import World

IN_FLIGHT = 400


class Telling:
    """The log of a life: the world hears each step.  Stands in for StepLog."""

    def __init__(self, life: Life) -> None:
        self.counts: dict[str, int] = dict.fromkeys(LEVEL_OF_STEP, 0)
        self.recent = Recent()
        self.watch: Mapping[str, Callable[[Mapping[str, Any]], None]] = {}
        self.is_closed = False
        self._life = life

    def __call__(self, step: str, /, **fields: object) -> None:
        self.of_shard(self._life.worker, step, **fields)

    def of_shard(self, shard: int, step: str, /, **fields: object) -> None:
        if not self.is_closed:
            self.counts[step] = self.counts.get(step, 0) + 1
            if step in self.watch:
                self.watch[step](fields)
            self._life.world.told(shard, step, fields)

    def use(self, form: str, level: str) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class Life(Process):
    """See the module.

    worker  its number, which is also that of its shard
    among   so many workers there are
    number  of this life, among all of this world
    is_up   it has started and was not told to stop
    """

    def __init__(self, world: World, worker: int, among: int, number: int) -> None:
        self.world = world
        self.worker = worker
        self.among = among
        self.number = number
        climate = world.climate
        super().__init__(
            world.disk,
            world.network,
            world.chance(f"life {number}"),
            slow_disk_s=climate.slow_disk_s,
            reclaim_s=climate.first_s,
        )
        self.is_up = False
        self.tell = Telling(self)
        names = SeededNames(self.clock, world.chance(f"names {number}"), world.land.zone, world.land.mood_of)
        spool = world.disk.folder
        whole = Config.model_validate(world.land.configuration(str(spool), among), context={"folder": world.folder})
        self._config = part_of(whole, worker)
        self.service = RelayService(
            self._config,
            self.surroundings(names, world.folder / "hosts"),
            cast(StepLog, self.tell),
            load=lambda: self._config,
            orphans=orphans(spool, among, worker),
        )

    def open_store(self, folder: Path, tell: Tell) -> Store:
        self.world.laws.shard_opens(number_of(folder))
        store = super().open_store(folder, tell)
        self.world.laws.shard_began(number_of(folder))
        return store

    # -- its beginning and its end --------------------------------------------------------------

    def begin(self) -> None:
        """Raises whatever keeps it from starting."""
        service = self.service
        self._settings = replace(
            rules.schedule_settings(self._config), active_recipients=self.world.climate.active, in_flight=IN_FLIGHT
        )
        self._made_runner = service._runner_of
        service._runner_of = self._observed_runner  # type: ignore[method-assign]
        service.privilegedStartService()
        service.startService()
        self._deliver = service.deliverer.deliver
        service.deliverer.deliver = self._observed  # type: ignore[method-assign]
        self.is_up = True

    def stop(self) -> Deferred[None]:
        """In order."""
        self.is_up = False
        return self.service.stopService()

    def end(self, machine: bool) -> None:
        """Nothing of it happens any more.

        machine  it did not stop by itself: its files are closed as a dead process's are
        """
        self.is_up = False
        self.clock.is_over = True
        self.tell.is_closed = True
        if machine:
            self.die()

    # -- what the operator does -----------------------------------------------------------------

    def reload(self) -> None:
        if self.is_up:
            self.world.note(f"worker {self.worker} reloads")
            self.service.reload()
            for runner in self._runners():
                runner.reconfigure(self._settings)

    # -- what is seen of it ---------------------------------------------------------------------

    def _runners(self) -> Sequence[Runner]:
        return [self.service.runner, *self.service._adoption.runners]

    def _observed_runner(self, store: Store) -> Runner:
        """The runner of a shard: what it forgives and whom it lets rest is heard, with the shard that it is about."""
        shard = next(shard for shard, one in self.shards.items() if one is store)
        runner = self._made_runner(store)
        destinations, laws = runner._destinations, self.world.laws
        destinations._tell = partial(self.tell.of_shard, shard)
        forgive, begin_anew = destinations.forgive, destinations.begin_anew

        def forgiven(lane: str | None = None) -> None:
            laws.rests_forgiven(shard, lane)
            forgive(lane)

        def begun_anew() -> None:
            laws.routes_are_new(shard)
            begin_anew()

        destinations.forgive = forgiven  # type: ignore[method-assign]
        destinations.begin_anew = begun_anew  # type: ignore[method-assign]
        self.clock.callLater(0, runner.reconfigure, self._settings)  # when it has been started
        return runner

    def _observed(self, message: Message, recipients: Sequence[Recipient], lane: str) -> Deferred[Tried]:
        laws, shard = self.world.laws, shard_of(message.id)
        self.world.note(f"attempt {message.id} {lane} {[str(one.address) for one in recipients]}")
        laws.attempt_begins(message, recipients, (shard, lane), self._config.delivery.connections_per_destination)

        def ended(tried: Any) -> Any:
            if not self.clock.is_over:
                laws.attempt_ended((shard, lane), tried.outcomes)
            return tried

        return self._deliver(message, recipients, lane).addBoth(ended)

    def excesses(self) -> Iterator[str]:
        """What is more in memory than may be."""
        for runner in self._runners():
            hand = runner._hand
            if hand.recipients > self._settings.active_recipients + 200:
                yield f"{hand.recipients} recipients are in memory, {self._settings.active_recipients} may be"
            if hand.octets > self._settings.active_octets:
                yield f"{hand.octets} octets of content are in memory"
        pool = self.service.deliverer.pool
        if pool.count > pool.settings.connections:
            yield f"{pool.count} connections to next hops are open"

    def left_behind(self) -> Iterator[str]:
        """What should be gone when there is no mail and nobody talks."""
        for runner in self._runners():
            yield from _left_behind(runner)
        pool = self.service.deliverer.pool
        for what, count in (
            ("connections counted", pool.count),
            ("connections looked after", len(pool._sockets)),
            ("hops with a line", len(pool._lines)),
            ("sessions of clients", sum(factory.sessions for factory, _ in self.service.inward.factories)),
            ("connections open", self.world.network.open_of(self.clock)),
        ):
            if count:
                yield f"{count} {what}"


def _left_behind(runner: Runner) -> Iterator[str]:
    hand = runner._hand
    for what, count in (
        ("recipients in hand", hand.recipients),
        ("octets in hand", hand.octets),
        ("messages in hand", len(hand.carried)),
        ("commits under way", hand.committing),
        ("attempts under way", runner._in_flight),
        ("results not written", runner._ledger.pending),
    ):
        if count:
            yield f"{count} {what}"
    for destination in runner._destinations:
        if destination.in_hand or destination.in_flight or destination.waiting:
            yield f"mail at {destination.lane}"
