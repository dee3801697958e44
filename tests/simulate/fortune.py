"""What befalls the world, and when: clients come, machines crash, disks fail, operators do things.

Each kind of event has its own rate, from the climate, and its own stream of chance.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from relay.testing.clock import Call
from tests.simulate import clients, intruders, openings
from tests.simulate.climate import DAY_S
from tests.simulate.visit import Step, Visit

if TYPE_CHECKING:
    from tests.simulate.world import World


class Fortune:
    """Plans the next event of each kind when the last has happened."""

    def __init__(self, world: World, chance: Random) -> None:
        self._world = world
        self._chance = chance
        self._calls: dict[str, Call] = {}

    def begin(self, lasting_s: float) -> None:
        climate = self._world.climate
        for name, rate, event in (
            ("letter", climate.letters, self._visit),
            ("burst", climate.bursts, self._burst),
            ("power", climate.power_cuts, lambda: self._crash("power")),
            ("kill", climate.kills, lambda: self._crash("kill")),
            ("worker", climate.kills, self._kill_one),
            ("restart", climate.restarts, self._restart),
            ("fault", climate.disk_faults, self._disk_fault),
            ("full", climate.full_hours, self._disk_full),
            ("flush", climate.flushes, self._world.operator.flush),
            ("reload", climate.reloads, self._reload),
            ("order", climate.orders, self._world.operator.act),
            ("intruder", climate.letters / 5 if climate.has_tls else 0.0, self._intrude),
        ):
            if rate:
                self._plan(name, rate / DAY_S, event, self._world.chance(f"fortune of {name}"))

    def end(self) -> None:
        """From now on nothing happens by itself."""
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._room_again()
        self._world.disk.fail_at.clear()
        self._world.disk.crash_at = None

    def _plan(self, name: str, per_s: float, event: Callable[[], None], chance: Random) -> None:
        def happen() -> None:
            self._plan(name, per_s, event, chance)
            event()

        self._calls[name] = self._world.clock.callLater(chance.expovariate(per_s), happen)

    # -- clients --------------------------------------------------------------------------------

    def _visit(self) -> None:
        chance, world = self._chance, self._world
        bad = chance.random() < world.climate.bad_clients
        way = chance.choice(clients.BAD if bad else clients.GOOD)
        letters = [world.land.letter() for _ in range(chance.choice((1, 1, 1, 2, 4)))]
        ip, port, opening = self._some_door()
        world.network.call_in(ip, Visit(world, letters, way, chance, opening), port)

    def _some_door(self) -> tuple[str, str, Callable[[Visit], Step]]:
        """From where a good client comes, to which port, and how it begins."""
        chance = self._chance
        at_home = f"192.0.2.{chance.randint(100, 110)}"
        if not self._world.climate.has_tls or chance.random() < 0.5:
            return at_home, "tcp:25", openings.in_the_clear
        abroad = f"198.18.0.{chance.randint(1, 10)}"
        return chance.choice(
            (
                (at_home, "tcp:25", openings.encrypted),
                (abroad, "tcp:25", openings.logged_in),
                (abroad, "tcp:587", openings.logged_in),
                (abroad, "tcp:465", openings.within_tls),
            )
        )

    def _intrude(self) -> None:
        """Somebody wants what he may not have, or breaks TLS."""
        chance, world = self._chance, self._world
        opening, way = chance.choice(intruders.WAYS)
        letter = world.land.letter()
        letter.is_forbidden = True
        port = chance.choice(("tcp:25", "tcp:25", "tcp:587"))
        visit = Visit(world, [letter], way, chance, opening)
        world.network.call_in(f"198.18.66.{chance.randint(1, 5)}", visit, port)

    def _burst(self) -> None:
        """Many at once, to one domain."""
        chance, world = self._chance, self._world
        domain = chance.choice(world.land.domains)
        for _ in range(chance.randint(5, 25)):
            letters = [world.land.letter(domain) for _ in range(2)]
            visit = Visit(world, letters, chance.choice(clients.GOOD), chance, openings.in_the_clear)
            world.clock.callLater(chance.random(), world.network.call_in, "192.0.2.99", visit)

    # -- the machine ----------------------------------------------------------------------------

    def _crash(self, kind: str) -> None:
        if self._chance.random() < 0.3:
            self._world.crash(kind)
        else:
            self._world.crash_in_disk_operation(kind, self._chance.randint(1, 60))

    def _kill_one(self) -> None:
        self._world.kill_one(self._chance)

    def _disk_fault(self) -> None:
        disk = self._world.disk
        disk.fail_at[disk.operations + self._chance.randint(1, 40)] = self._chance.choice((errno.EIO, errno.ENOSPC))

    def _disk_full(self) -> None:
        disk = self._world.disk
        disk.capacity = disk.used + self._chance.randint(0, 300_000)
        self._world.note(f"the disk is full, but for {disk.free()} octets")
        self._world.clock.callLater(self._chance.expovariate(1 / 1800), self._room_again)

    def _room_again(self) -> None:
        self._world.disk.capacity = None

    # -- the operator ---------------------------------------------------------------------------

    def _restart(self) -> None:
        self._world.stop_lives()

    def _reload(self) -> None:
        for life in self._world.lives.values():
            life.reload()
