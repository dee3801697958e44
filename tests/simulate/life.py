"""One life of the relay: the real service, with this world's surroundings, until it ends or is ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
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
from relay.operate.steps import LEVEL_OF_STEP, StepLog
from relay.operate.surroundings import Surroundings
from relay.queue.sqlite import SqliteStore
from relay.queue.store import EVERYTHING, Store
from relay.route.hosts import HostsFile
from tests.simulate.clock import LifeClock
from tests.simulate.database import SimulatedVfs
from tests.simulate.disk import SimulatedFiles
from tests.simulate.executors import leisurely
from tests.simulate.names import SeededNames

if TYPE_CHECKING:
    from tests.simulate.world import World

RESERVE_OCTETS = 256 * 1024
IN_FLIGHT = 400


class Telling:
    """The log of a life: the world hears each step.  Stands in for StepLog."""

    def __init__(self, world: World) -> None:
        self.counts: dict[str, int] = dict.fromkeys(LEVEL_OF_STEP, 0)
        self.recent = Recent()
        self.watch: Mapping[str, Callable[[Mapping[str, Any]], None]] = {}
        self.is_closed = False
        self._world = world

    def __call__(self, step: str, /, **fields: object) -> None:
        if not self.is_closed:
            self.counts[step] = self.counts.get(step, 0) + 1
            if step in self.watch:
                self.watch[step](fields)
            self._world.told(step, fields)

    def use(self, form: str, level: str) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class Life:
    """See the module.

    is_up  it has started and was not told to stop
    """

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.clock = LifeClock(world.clock)
        self.is_up = False
        self._chance = world.chance(f"life {number}")
        self._tell = Telling(world)
        self._files = SimulatedFiles(world.disk)
        self._vfs = SimulatedVfs(world.disk)
        self._store: SqliteStore | None = None
        self._config = Config.model_validate(
            world.land.configuration(str(world.disk.folder)), context={"folder": world.folder}
        )
        self.service = RelayService(
            self._config, self._surroundings(), cast(StepLog, self._tell), load=lambda: self._config
        )

    def _surroundings(self) -> Surroundings:
        world = self.world
        return Surroundings(
            reactor=self.clock,
            chance=self._chance,
            names=SeededNames(self.clock, world.chance(f"names {world.lives}"), world.land.zone, world.land.mood_of),
            hosts=HostsFile(self.clock, world.folder / "hosts"),
            dial=world.network.dial_of(self.clock),
            listen=world.network.listen,
            open_store=self._open_store,
            free=lambda folder: world.disk.free(),
        )

    def _open_store(self, folder: Path, tell: Tell) -> Store:
        executors = leisurely(self.clock, self._chance, self.world.climate.slow_disk_s)
        self._store = SqliteStore(
            folder,
            clock=self.clock,
            executors=executors,
            tell=tell,
            files=self._files,
            reserve_octets=RESERVE_OCTETS,
            reclaim_s=self.world.climate.first_s,
            vfs=self._vfs.name,
        )
        return self._store

    # -- its beginning and its end --------------------------------------------------------------

    def begin(self) -> None:
        """Raises whatever keeps it from starting."""
        service = self.service
        service.privilegedStartService()
        service.startService()
        self._settings = replace(
            rules.schedule_settings(self._config), active_recipients=self.world.climate.active, in_flight=IN_FLIGHT
        )
        service.runner.reconfigure(self._settings)
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
        self._tell.is_closed = True
        if machine:
            was_dead, self.world.disk.is_dead = self.world.disk.is_dead, True
            self._let_go()
            self.world.disk.is_dead = was_dead

    def _let_go(self) -> None:
        store = self._store
        if store is not None:
            store._listing.close()
            store._writer.close()
            store._spool.close()
        self._files.let_go()

    # -- what the operator does -----------------------------------------------------------------

    def flush(self) -> None:
        """As ``relay queue flush``: everything is tried now."""
        if self.is_up:
            self.world.note("flush")
            self.world.laws.forgiven(only_rests=False)
            self.service.store.retry(EVERYTHING, self.clock.seconds()).addCallbacks(self._retried, lambda _: None)

    def _retried(self, _: int) -> None:
        self.world.laws.forgiven(only_rests=True)  # also what began to rest while the queue was gone through
        self.service.runner.flush()

    def reload(self) -> None:
        if self.is_up:
            self.world.note("reload")
            self.world.laws.forgiven(only_rests=True)
            self.service.reload()
            self.service.runner.reconfigure(self._settings)

    # -- what is seen of it ---------------------------------------------------------------------

    def _observed(self, message: Message, recipients: Sequence[Recipient], lane: str) -> Deferred[Tried]:
        world = self.world
        world.attempt_begins(message, recipients, lane)

        def ended(tried: Any) -> Any:
            if not self.clock.is_over:
                world.attempt_ended(lane, tried.outcomes)
            return tried

        return self._deliver(message, recipients, lane).addBoth(ended)

    def excesses(self) -> Iterator[str]:
        """What is more in memory than may be."""
        hand = self.service.runner._hand
        if hand.recipients > self._settings.active_recipients + 200:
            yield f"{hand.recipients} recipients are in memory, {self._settings.active_recipients} may be"
        if hand.octets > self._settings.active_octets:
            yield f"{hand.octets} octets of content are in memory"
        pool = self.service.deliverer.pool
        if pool.count > pool.settings.connections:
            yield f"{pool.count} connections to next hops are open"

    def left_behind(self) -> Iterator[str]:
        """What should be gone when there is no mail and nobody talks."""
        runner, pool = self.service.runner, self.service.deliverer.pool
        hand = runner._hand
        for what, count in (
            ("recipients in hand", hand.recipients),
            ("octets in hand", hand.octets),
            ("messages in hand", len(hand.carried)),
            ("commits under way", hand.committing),
            ("attempts under way", runner._in_flight),
            ("results not written", runner._ledger.pending),
            ("connections counted", pool.count),
            ("connections looked after", len(pool._sockets)),
            ("hops with a line", len(pool._lines)),
            ("connections open", sum(not end.disconnected for end in self.world.network.ours)),
        ):
            if count:
                yield f"{count} {what}"
        for destination in runner._destinations:
            if destination.in_hand or destination.in_flight or destination.waiting:
                yield f"mail at {destination.lane}"
