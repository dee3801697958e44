"""One world: everything in it is decided by its seed.

    with World(seed, days) as world:
        world.run()
    world.violations

The relay in it is the one that ``twistd relay`` starts: ``RelayService`` with surroundings of this world, one or
several of them as workers.  They live several lives: crashes of the machine and of a process end them, and the next
begin on what the disk holds.  The world stands in for the parent of several workers, and for its service manager.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any
from unittest import mock

from twisted.internet import _producer_helpers
from twisted.internet.defer import gatherResults
from twisted.internet.task import Cooperator
from twisted.logger import globalLogPublisher

from relay.operate import adoption
from relay.operate.shards import folder_of, shards_in
from relay.queue import listing, sqlite
from relay.receive import watched
from relay.testing.clock import EPOCH, WorldClock
from relay.testing.database import checkpoints_unheard
from relay.testing.disk import Disk, in_memory
from relay.testing.link import Weather
from relay.testing.network import Network
from tests.simulate import queue
from tests.simulate.climate import DAY_S, HOUR_S, climate_of
from tests.simulate.fortune import Fortune
from tests.simulate.hops import HopSession, Host
from tests.simulate.journal import read_journal
from tests.simulate.land import Land
from tests.simulate.laws import Laws
from tests.simulate.ledger import Ledger, Letter
from tests.simulate.life import Life
from tests.simulate.operator import Operator

AUDIT_EVERY_S = HOUR_S / 2
DRAIN_WITHIN_S = 8 * HOUR_S
BEGIN_AGAIN_S = 30.0
LOOK_AT_FILES_S = 300.0  # a look each second would be most of what happens


class World:
    """See the module.

    violations  laws that were broken, in words; the first ends the run
    is_kind     the time of trials is over: nothing bad happens any more
    lives       the processes that are there, by worker
    begun       how many lives there have been
    """

    def __init__(
        self,
        seed: int,
        days: float = 1.0,
        *,
        log: bool = False,
        print_log: bool = False,
        weather: Mapping[str, Any] | None = None,
    ) -> None:
        """weather  what of the climate is not left to chance"""
        self.seed = seed
        self.days = days
        self.violations: list[str] = []
        self.is_kind = False
        self.begun = 0
        self.climate = replace(climate_of(self.chance("climate")), **(weather or {}))
        self.clock = WorldClock()
        self.ledger = Ledger()
        self.laws = Laws(self.ledger, self.climate, self.clock.seconds, self.violated)
        self.folder = Path(tempfile.mkdtemp(prefix="relay-world-", dir=in_memory()))
        self.disk = Disk(self.folder / "spool", self.chance("disk"), self._went_off)
        self.network = Network(self.clock, self.chance("network"), self._weather)
        self.land = Land(self, self.chance("land"))
        self.lives: dict[int, Life] = {}
        self.operator = Operator(self, self.chance("operator"))
        self.events: deque[str] = deque(maxlen=None if log else 0)
        self._writes_log = log
        self._prints_log = print_log
        self._weather_chance = self.chance("weather")
        self._workers_chance = self.chance("workers")
        self._seen_reports: set[str] = set()
        self._crash_kind = ""
        self._shift = 0  # a start that was planned before everything crashed does not happen
        self._is_stopping = False
        self._disk_failed = 0
        self._fortune = Fortune(self, self.chance("fortune"))
        self._patches = ExitStack()
        if log:
            self.disk.log = self.note

    def chance(self, of: str) -> Random:
        """A stream of chance of its own, so that more luck in one part changes nothing in another."""
        return Random(f"{self.seed}/{of}")

    def __enter__(self) -> World:
        globalLogPublisher.addObserver(self._logged)
        for patch in self._patched():
            self._patches.enter_context(patch)
        return self

    def __exit__(self, *what: type[BaseException] | BaseException | TracebackType | None) -> None:
        globalLogPublisher.removeObserver(self._logged)
        self._patches.close()
        for life in self.lives.values():
            life.end(machine=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _patched(self) -> Iterator[Any]:
        """What is not passed in, and has to be of this world all the same."""
        # What carries a large content into TLS would go by the real reactor's clock.
        cooperator = Cooperator(scheduler=lambda go: self.clock.callLater(0, go))
        yield mock.patch.object(_producer_helpers, "cooperate", cooperator.cooperate)
        yield mock.patch.object(watched, "LOOK_S", LOOK_AT_FILES_S)
        remove_empty = adoption.remove_empty
        yield mock.patch.object(adoption, "remove_empty", lambda place: self._removed(place, remove_empty(place)))
        yield checkpoints_unheard()
        # Small portions, so that a small queue has several.
        yield mock.patch.object(sqlite, "STEP_RECIPIENTS", 5)
        yield mock.patch.object(sqlite, "PORTION_ROWS", 7)
        yield mock.patch.object(listing.Listing.rows, "__defaults__", (7,))

    # -- what happens ---------------------------------------------------------------------------

    def run(self) -> None:
        """Lives through the days of trial, then through kind ones until the queue is empty."""
        self.note(f"world {self.seed}: {self.climate}")
        self.begin_lives()
        self._fortune.begin(self.days * DAY_S)
        self._until(EPOCH + self.days * DAY_S)
        if self.violations:
            return
        self.note("the world turns kind")
        self.is_kind = True
        self._fortune.end()
        self._drain()
        if not self.violations:
            self._end()

    def _until(self, at: float) -> None:
        audit_at = self.clock.now + AUDIT_EVERY_S
        while not self.violations and (next_at := self.clock.next_at()) is not None and next_at <= at:
            self._step()
            if self.clock.now >= audit_at:
                audit_at = self.clock.now + AUDIT_EVERY_S
                self.audit()
        self.clock.now = max(self.clock.now, at)

    def _step(self) -> None:
        try:
            self.clock.step()
        except Exception as error:
            if not self.disk.is_dead:
                self.violated(f"an event broke: {error!r}", error)
        if self.disk.failed != self._disk_failed:
            self._disk_failed = self.disk.failed
            self.laws.troubled.add(int(self.clock.now // 60))
        if self._crash_kind:
            kind, self._crash_kind = self._crash_kind, ""
            self.crash(kind)

    def _drain(self) -> None:
        until = self.clock.now + DRAIN_WITHIN_S
        left = -1
        while not self.violations and left and self.clock.now < until:
            self.operator.release_all()
            self._until(self.clock.now + HOUR_S / 6)
            left = self._left()
        if left and not self.violations:
            self.violated(f"{left} recipients are still in the queue, {DRAIN_WITHIN_S / HOUR_S:g} kind hours later")

    def _left(self) -> int:
        if not self.all_up():
            return -1
        return queue.read(self.disk.folder, set()).waiting  # what the relay itself has held is held again

    def _end(self) -> None:
        """Nothing is left to do: then nothing may be left behind, and the relay stops."""
        self._until(self.clock.now + HOUR_S)
        self.audit()
        if self.all_up():
            self.laws.journal_agrees(read_journal(self.disk.folder), queue.read(self.disk.folder, self._seen_reports))
        if not self.all_up() or self.violations:
            return
        for life in self.lives.values():
            for what in life.left_behind():
                self.violated(f"left behind when all was done: {what}")
        self.stop_lives()
        self._until(self.clock.now + 180)
        if self.lives and not self.violations:
            self.violated("the relay does not stop")

    # -- lives ----------------------------------------------------------------------------------

    def begin_lives(self) -> None:
        """The machine is on: all workers begin, as many as the operator wants by now."""
        self._shift += 1
        self._is_stopping = False
        self.disk.restart()
        among = self._workers_chance.randint(1, self.climate.workers)
        for worker in range(among):
            if not self._begin_life(worker, among):
                return

    def _begin_life(self, worker: int, among: int) -> bool:
        """One process begins; when that fails for a fault of the disk, again a little later.  False when the machine
        went off meanwhile."""
        self.begun += 1
        life = Life(self, worker, among, self.begun)
        self.lives[worker] = life
        try:
            life.begin()
        except Exception as error:
            self.note(f"worker {worker} could not start: {error}")
            if self._crash_kind:
                kind, self._crash_kind = self._crash_kind, ""
                self.crash(kind)
                return False
            if not self.disk.failed:
                self.violated(f"the relay could not start: {error!r}", error)
            self._end_life(life, told=True)
            self.clock.callLater(BEGIN_AGAIN_S, self._begin_again, worker, among, self._shift)
            return True
        self.note(f"life {self.begun} begins: worker {worker} of {among}")
        self.audit()
        return True

    def _begin_again(self, worker: int, among: int, shift: int) -> None:
        if shift == self._shift and not self._is_stopping:
            self._begin_life(worker, among)

    def _end_life(self, life: Life, told: bool, machine: bool = True) -> None:
        del self.lives[life.worker]
        life.end(machine)
        self.network.crash(life.clock, told)
        for shard in life.shards:
            self.laws.shard_ended(shard)

    def crash(self, kind: str) -> None:
        """kind  "power": the machine is gone; "kill": only the processes, what they wrote stays written"""
        if not self.lives:
            return
        self._shift += 1
        self.note(f"crash by {kind}")
        told = kind == "kill" or self.disk.operations % 2 == 0
        for life in list(self.lives.values()):
            self._end_life(life, told)
        if kind == "power":
            self.disk.lose_power()
        self.clock.callLater(BEGIN_AGAIN_S, self.begin_lives)

    def kill_one(self, chance: Random) -> None:
        """One process is killed between two events, and begins anew, as its parent sees to; the others go on."""
        if not self.lives or self._is_stopping:
            return
        life = chance.choice(list(self.lives.values()))
        self.note(f"worker {life.worker} is killed")
        self._end_life(life, told=True)
        self.clock.callLater(1.0, self._begin_again, life.worker, life.among, self._shift)

    def crash_in_disk_operation(self, kind: str, ahead: int) -> None:
        """The crash comes in the middle of a disk operation to come."""
        self.disk.crash_kind = kind
        self.disk.crash_at = self.disk.operations + ahead

    def _went_off(self) -> None:
        self._crash_kind = self.disk.crash_kind

    def stop_lives(self) -> None:
        """The relay is stopped in order."""
        if self._is_stopping or not self.lives:
            return
        self._is_stopping = True
        self.note("the relay is told to stop")
        lives = list(self.lives.values())
        gatherResults([life.stop() for life in lives]).addCallback(self._stopped, self._shift)

    def _stopped(self, _: object, shift: int) -> None:
        if self._shift != shift:
            return
        for life in list(self.lives.values()):
            self._end_life(life, told=True, machine=False)  # the kernel closes what they left open
        self.note("the relay has stopped")
        if not self.is_kind:
            self.clock.callLater(1.0, self._begin_after_stop, shift)

    def _begin_after_stop(self, shift: int) -> None:
        if self._shift == shift:
            self.begin_lives()

    def _removed(self, folder: Path, is_gone: bool) -> bool:
        """An adopted shard was empty, and its folder has been removed."""
        if is_gone:
            self.note(f"shard {folder.name} is gone")
            self.disk.was_removed(str(folder))
        return is_gone

    # -- what the parts of the world tell ---------------------------------------------------------

    def note(self, what: str) -> None:
        if self._writes_log:
            line = f"{self.clock.now - EPOCH:13.4f} {what}"
            if self._prints_log:
                print(line)
            else:
                self.events.append(line)

    def violated(self, what: str, error: BaseException | None = None) -> None:
        self.violations.append(f"{self.clock.now - EPOCH:.4f}: {what}")
        self.note(f"VIOLATED: {what}")
        self.error = error

    def told(self, shard: int, step: str, fields: dict[str, Any]) -> None:
        """The relay tells a step."""
        if self._writes_log:
            self.note(f"relay {step} " + " ".join(f"{name}={value}" for name, value in fields.items()))
        if "traceback" in fields or step == "set_aside":
            self.violated(f"{step}: {fields}")
        if step == "trouble" and self.disk.failed:
            self.laws.trouble_at = self.clock.now
        self.laws.told(shard, step, fields)

    def offered(self, host: Host, sender: str, address: str) -> None:
        self.note(f"{host.name} ({host.mood}) is offered {address} from <{sender}>")

    def took(self, session: HopSession, recipients: Sequence[str], content: bytes) -> None:
        host = session.host
        self.note(f"{host.name} ({host.mood}) takes mail from <{session.sender}> for {recipients}")
        self.laws.took(host, session.secured, session.sender, recipients, content)

    def acknowledged(self, letter: Letter, message_id: str) -> None:
        self.note(f"m{letter.number} is acknowledged as {message_id}")
        if letter.is_forbidden:
            self.violated(f"m{letter.number} was taken from somebody who may not send it")
        self.ledger.acknowledge(letter, message_id, self.clock.now)

    def all_up(self) -> bool:
        """Whether every shard is at work, whoever has it."""
        return (
            bool(self.lives)
            and {folder_of(self.disk.folder, one) for one in shards_in(self.disk.folder)} <= self.folders_open()
        )

    def folders_open(self) -> set[Path]:
        """The folders of shards that are at work."""
        return {
            folder_of(self.disk.folder, shard)
            for life in self.lives.values()
            if life.is_up
            for shard, store in life.shards.items()
            if not store._is_closed
        }

    def audit(self) -> None:
        """Looks at the whole queue."""
        if not self.all_up():
            return
        found = queue.read(self.disk.folder, self._seen_reports)
        for fault in found.faults:
            self.violated(fault)
        for life in self.lives.values():
            for excess in life.excesses():
                self.violated(excess)
        self.laws.audit(found)
        if not self.disk.failed and self.climate.slow_disk_s < 1:
            self.laws.nobody_is_delayed()

    # -- the weather ----------------------------------------------------------------------------

    def _weather(self, ip: str) -> Weather:
        chance, climate = self._weather_chance, self.climate
        weather = Weather(latency_s=chance.choice((0.0005, 0.01, 0.15)), cut=climate.cut)
        if not self.is_kind and ip not in self.land.kind_ips and chance.random() < climate.breaks:
            weather.breaks_after = chance.choice((0, chance.randint(0, 3000), chance.randint(0, 200_000)))
            weather.breaks = chance.choice(("reset", "reset", "hang", "half"))
        return weather

    def _logged(self, event: dict[str, Any]) -> None:
        """Twisted's own log: an error in it is a defect."""
        failure = event.get("log_failure")
        if failure is not None and not self.disk.is_dead:
            self.violated(f"a defect was logged: {failure.getTraceback()}", failure.value)
