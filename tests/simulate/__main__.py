"""Runs worlds.

    python -m tests.simulate --seed 17 --days 1            replays one world, with the log of its events
    python -m tests.simulate --for 10m                     new seeds, one after the other, on all cores
    python -m tests.simulate --from 1 --count 300          these seeds

A world in which a law was broken prints the command that replays it; then the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from threading import BoundedSemaphore

from relay.testing.clock import EPOCH
from tests.simulate.run import Ran, run_one
from tests.simulate.world import World

SAY_AFTER = 100  # worlds
UNITS = {"s": 1, "m": 60, "h": 3600}


def main() -> int:
    options = _options()
    if options.seed is not None:
        return _replay(options.seed, options.days, not options.quiet)
    began = time.monotonic()
    until = began + options.lasting_s if options.lasting_s else float("inf")
    first = options.first if options.first is not None else random.SystemRandom().randrange(1_000_000, 2**31)
    ran: list[Ran] = []
    # Fresh processes: no world sees what another has left in memory.
    with get_context("spawn").Pool(options.jobs, maxtasksperchild=50) as pool:
        turns = BoundedSemaphore(2 * options.jobs)  # else the pool would take all seeds at once
        seeds = _seeds(first, options.count, until, turns)
        for one in pool.imap_unordered(partial(run_one, days=options.days), seeds):
            turns.release()
            ran.append(one)
            _tell(one, options.days)
            if len(ran) % SAY_AFTER == 0:
                print(_so_far(ran, time.monotonic() - began), file=sys.stderr, flush=True)
    return _sum_up(ran, first, time.monotonic() - began)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate")
    parser.add_argument("--seed", type=int, help="replay this world")
    parser.add_argument("--days", type=float, default=1.0, help="days of trial (default 1)")
    parser.add_argument("--for", dest="lasting_s", type=_seconds, help="run new seeds for so long: 90s, 10m, 1h")
    parser.add_argument("--from", dest="first", type=int, help="the first seed")
    parser.add_argument("--count", type=int, help="how many seeds")
    parser.add_argument("--jobs", type=int, default=cpu_count() or 1)
    parser.add_argument("--quiet", action="store_true", help="a replay without its log")
    options = parser.parse_args()
    if options.seed is None and not (options.lasting_s or options.count):
        parser.error("say --seed N, --for 10m, or --from N --count M")
    return options


def _seconds(text: str) -> float:
    return float(text[:-1]) * UNITS[text[-1]]


def _seeds(first: int, count: int | None, until: float, turns: BoundedSemaphore) -> Iterator[int]:
    seed = first
    while count is None or seed < first + count:
        turns.acquire()
        if time.monotonic() >= until:
            return
        yield seed
        seed += 1


def _replay(seed: int, days: float, log: bool) -> int:
    with World(seed, days, log=log, print_log=log) as world:
        world.run()
        ledger = world.ledger
        print(
            f"seed {seed}: {(world.clock.now - EPOCH) / 86400:.2f} days, {world.clock.events} events, "
            f"{world.begun} lives, {ledger.acknowledged} letters taken, {ledger.delivered} deliveries, "
            f"{world.disk.operations} disk operations, {world.disk.failed} of them failed"
        )
        for violation in world.violations:
            print(f"VIOLATED at {violation}")
        return 1 if world.violations else 0


def _tell(one: Ran, days: float) -> None:
    if one.violations:
        print(f"seed {one.seed}: {one.violations[0]}")
        print(f"    python -m tests.simulate --seed {one.seed} --days {days:g}", flush=True)


def _sum_up(ran: list[Ran], first: int, took_s: float) -> int:
    print(f"from seed {first} on: {_so_far(ran, took_s)}")
    return 1 if any(one.violations for one in ran) else 0


def _so_far(ran: list[Ran], took_s: float) -> str:
    bad = sum(bool(one.violations) for one in ran)
    days = sum(one.days for one in ran)
    return (
        f"{len(ran)} seeds, {bad} with a violation; {days:.0f} simulated days in {took_s:.0f} s: "
        f"{days / took_s:.2f} days per second"
    )


if __name__ == "__main__":
    sys.exit(main())
