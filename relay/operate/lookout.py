"""What a process sees of itself while it runs, and tells on the control sockets of its shards: the log's last lines,
the last hour, its numbers, what is wrong, and the configuration in force.

A process may serve several shards; what it is asked as a process, it answers on the socket of its own, so that nothing
is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from relay.operate.answers.configuration import ConfigurationAnswers
from relay.operate.answers.vitals import VitalsAnswers
from relay.operate.answers.watching import WatchingAnswers
from relay.operate.config import Config
from relay.operate.control import Command
from relay.operate.history import History
from relay.operate.meter import Meter
from relay.operate.recent import Recent
from relay.operate.shelf import FileShelf
from relay.operate.steps import StepLog
from relay.operate.surroundings import Surroundings
from relay.operate.vitals import Vitals
from relay.operate.webhooks.couriers import Couriers
from relay.operate.webhooks.receivers import receivers
from relay.queue.store import Store
from relay.schedule.runner import Runner


class Answers(Protocol):
    """What the control socket can be asked of one kind of thing."""

    def by_name(self) -> Mapping[str, Command]: ...


class Lookout:
    """See the module.

    reload_fault  why the last reload changed nothing; empty when it did
    couriers      tell others what happens
    """

    def __init__(
        self, log: StepLog, around: Surroundings, config: Callable[[], Config], look: Callable[[], Config] | None
    ) -> None:
        """look  reads the configuration as it is written"""
        self.reload_fault = ""
        self.meter = Meter()
        self._log = log
        self._around = around
        self._config = config
        self._look = look
        self._history = History(around.reactor, log.counts)
        self._vitals: Vitals | None = None
        clock, hostname = around.reactor, config().hostname
        self.couriers = Couriers(
            clock, around.chance, log, hostname, lambda path: FileShelf(path, log, around.in_thread)
        )
        log.watch = self.meter.by_step()

    def start(self, vitals: Vitals, config: Config) -> None:
        """From now on there is something to see."""
        self._vitals = vitals
        self._history.start()
        self.use(config)

    def use(self, config: Config) -> None:
        """From now on as this configuration has it."""
        self.couriers.use(receivers(config, self._around))

    def follow(self, folder: Path, store: Store) -> None:
        """What happens in this spool is told to who is to be told."""
        self.couriers.follow(folder, store)

    def leave(self, folder: Path) -> None:
        """No longer."""
        self.couriers.leave(folder)

    def stop(self) -> None:
        self._history.stop()
        self.couriers.stop()

    def answers(self, store: Store, runner: Runner, is_own: bool) -> Iterator[Answers]:
        """Those for the control socket of a shard.

        is_own  it is this process's own, and not one that it has adopted
        """
        clock = self._around.reactor
        vitals = self._vitals if is_own else None
        yield VitalsAnswers(store, runner, clock, lambda: self._config().retry.give_up_after_s, vitals)
        yield WatchingAnswers(self._log.recent if is_own else Recent(), self._history if is_own else None, clock)
        yield ConfigurationAnswers(self._config, self._look, self._around.in_thread)
