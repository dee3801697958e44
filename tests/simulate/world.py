"""One world: everything in it is decided by its seed.

    with World(seed, days) as world:
        world.run()
    world.violations

The relay in it is the one that ``twistd relay`` starts: ``RelayService`` with surroundings of this world.
It lives several lives: crashes of the machine and of the process end one, and the next begins on what the disk holds.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

from twisted.logger import globalLogPublisher

from relay.message.envelope import Message, Recipient
from relay.message.outcome import Outcome
from tests.simulate import queue
from tests.simulate.climate import DAY_S, HOUR_S, climate_of
from tests.simulate.clock import EPOCH, WorldClock
from tests.simulate.disk import Disk, in_memory
from tests.simulate.fortune import Fortune
from tests.simulate.hops import Host
from tests.simulate.journal import read_journal
from tests.simulate.land import Land
from tests.simulate.laws import Laws
from tests.simulate.ledger import Ledger, Letter
from tests.simulate.life import Life
from tests.simulate.network import Network, Weather

AUDIT_EVERY_S = HOUR_S / 2
DRAIN_WITHIN_S = 8 * HOUR_S
BEGIN_AGAIN_S = 30.0


class World:
    """See the module.

    violations  laws that were broken, in words; the first ends the run
    is_kind     the time of trials is over: nothing bad happens any more
    """

    def __init__(self, seed: int, days: float = 1.0, *, log: bool = False, print_log: bool = False) -> None:
        self.seed = seed
        self.days = days
        self.violations: list[str] = []
        self.is_kind = False
        self.lives = 0
        self.climate = climate_of(self.chance("climate"))
        self.clock = WorldClock()
        self.ledger = Ledger()
        self.laws = Laws(self.ledger, self.climate, self.clock.seconds, self.violated)
        self.folder = Path(tempfile.mkdtemp(prefix="relay-world-", dir=in_memory()))
        self.disk = Disk(self.folder / "spool", self.chance("disk"), self._went_off)
        self.network = Network(self.clock, self.chance("network"), self._weather)
        self.land = Land(self, self.chance("land"))
        self.life: Life | None = None
        self.events: deque[str] = deque(maxlen=None if log else 0)
        self._writes_log = log
        self._prints_log = print_log
        self._weather_chance = self.chance("weather")
        self._seen_reports: set[str] = set()
        self._crash_kind = ""
        self._disk_failed = 0
        self._fortune = Fortune(self, self.chance("fortune"))
        if log:
            self.disk.log = self.note

    def chance(self, of: str) -> Random:
        """A stream of chance of its own, so that more luck in one part changes nothing in another."""
        return Random(f"{self.seed}/{of}")

    def __enter__(self) -> World:
        globalLogPublisher.addObserver(self._logged)
        return self

    def __exit__(self, *what: type[BaseException] | BaseException | TracebackType | None) -> None:
        globalLogPublisher.removeObserver(self._logged)
        if self.life is not None:
            self.life.end(machine=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what happens ---------------------------------------------------------------------------

    def run(self) -> None:
        """Lives through the days of trial, then through kind ones until the queue is empty."""
        self.note(f"world {self.seed}: {self.climate}")
        self.begin_life()
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
            self._until(self.clock.now + HOUR_S / 6)
            left = self._left()
        if left and not self.violations:
            self.violated(f"{left} recipients are still in the queue, {DRAIN_WITHIN_S / HOUR_S:g} kind hours later")

    def _left(self) -> int:
        if self.life is None:
            return -1
        return queue.read(self.disk.folder, set()).waiting

    def _end(self) -> None:
        """Nothing is left to do: then nothing may be left behind, and the relay stops."""
        self._until(self.clock.now + HOUR_S)
        self.audit()
        folder = self.disk.folder
        self.laws.journal_agrees(read_journal(folder), queue.read(folder, self._seen_reports))
        if self.life is None or self.violations:
            return
        for what in self.life.left_behind():
            self.violated(f"left behind when all was done: {what}")
        self.stop_life()
        self._until(self.clock.now + 180)
        if self.life is not None and not self.violations:
            self.violated("the relay does not stop")

    # -- lives ----------------------------------------------------------------------------------

    def begin_life(self) -> None:
        """The relay is started; when that fails for a fault of the disk, again a little later."""
        self.lives += 1
        self.disk.restart()
        life = Life(self, self.lives)
        try:
            life.begin()
        except Exception as error:
            life.end(machine=True)
            self.network.crash(told=True)
            self.note(f"the relay could not start: {error}")
            if self._crash_kind:
                self._crash_kind = ""
                self.disk.lose_power()
            elif not self.disk.failed:
                self.violated(f"the relay could not start: {error!r}", error)
            self.clock.callLater(BEGIN_AGAIN_S, self.begin_life)
            return
        self.life = life
        self.laws.life_began()
        self.note(f"life {self.lives} begins")
        self.audit()

    def crash(self, kind: str) -> None:
        """kind  "power": the machine is gone; "kill": only the process, what it wrote stays written"""
        life, self.life = self.life, None
        if life is None:
            return
        self.note(f"crash by {kind}")
        life.end(machine=True)
        self.network.crash(told=kind == "kill" or self.disk.operations % 2 == 0)
        if kind == "power":
            self.disk.lose_power()
        self.laws.life_ended()
        self.clock.callLater(BEGIN_AGAIN_S, self.begin_life)

    def crash_in_disk_operation(self, kind: str, ahead: int) -> None:
        """The crash comes in the middle of a disk operation to come."""
        self.disk.crash_kind = kind
        self.disk.crash_at = self.disk.operations + ahead

    def _went_off(self) -> None:
        self._crash_kind = self.disk.crash_kind

    def stop_life(self) -> None:
        """The relay is stopped in order."""
        life = self.life
        if life is None:
            return
        self.note("the relay is told to stop")
        life.stop().addCallback(self._stopped, life)

    def _stopped(self, _: object, life: Life) -> None:
        if self.life is not life:
            return
        self.life = None
        life.end(machine=False)
        self.network.crash(told=True)  # the process ends, and the kernel closes what it left open
        self.note("the relay has stopped")
        self.laws.life_ended()
        if not self.is_kind:
            self.clock.callLater(1.0, self.begin_life)

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

    def told(self, step: str, fields: dict[str, Any]) -> None:
        """The relay tells a step."""
        if self._writes_log:
            self.note(f"relay {step} " + " ".join(f"{name}={value}" for name, value in fields.items()))
        if "traceback" in fields or step == "set_aside":
            self.violated(f"{step}: {fields}")
        if step == "trouble" and self.disk.failed:
            self.laws.trouble_at = self.clock.now
        self.laws.told(step, fields)

    def offered(self, host: Host, sender: str, address: str) -> None:
        self.note(f"{host.name} ({host.mood}) is offered {address} from <{sender}>")

    def took(self, host: Host, sender: str, recipients: Sequence[str], content: bytes) -> None:
        self.note(f"{host.name} ({host.mood}) takes mail from <{sender}> for {recipients}")
        self.laws.took(host.name, sender, recipients, content)

    def acknowledged(self, letter: Letter, message_id: str) -> None:
        self.note(f"m{letter.number} is acknowledged as {message_id}")
        self.ledger.acknowledge(letter, message_id, self.clock.now)

    def attempt_begins(self, message: Message, recipients: Sequence[Recipient], lane: str) -> None:
        if self._writes_log:
            self.note(f"attempt {message.id} {lane} {[str(one.address) for one in recipients]}")
        self.laws.attempt_begins(message, recipients, lane)

    def attempt_ended(self, lane: str, outcomes: Sequence[Outcome]) -> None:
        self.laws.attempt_ended(lane, outcomes)

    def audit(self) -> None:
        """Looks at the whole queue."""
        if self.life is None or not self.life.is_up:
            return
        found = queue.read(self.disk.folder, self._seen_reports)
        for fault in found.faults:
            self.violated(fault)
        for excess in self.life.excesses():
            self.violated(excess)
        self.laws.audit(found)
        if not self.disk.failed and self.climate.slow_disk_s < 1:
            self.laws.nobody_is_delayed(self.laws.up_since)

    # -- the weather ----------------------------------------------------------------------------

    def _weather(self, ip: str) -> Weather:
        chance, climate = self._weather_chance, self.climate
        weather = Weather(latency_s=chance.choice((0.0005, 0.01, 0.15)), cut=climate.cut)
        if not self.is_kind and ip != self.land.kind_ip and chance.random() < climate.breaks:
            weather.breaks_after = chance.choice((0, chance.randint(0, 3000), chance.randint(0, 200_000)))
            weather.breaks = chance.choice(("reset", "reset", "hang", "half"))
        return weather

    def _logged(self, event: dict[str, Any]) -> None:
        """Twisted's own log: an error in it is a defect."""
        failure = event.get("log_failure")
        if failure is not None and not self.disk.is_dead:
            self.violated(f"a defect was logged: {failure.getTraceback()}", failure.value)
