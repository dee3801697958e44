"""One world from its beginning to its end, in a process of its own or not."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.testing.clock import EPOCH
from tests.simulate.world import World


@dataclass(frozen=True, slots=True)
class Ran:
    """How it went.

    days        that were lived through, the kind ones at the end too
    violations  none, when all is well
    digest      equal for equal runs
    """

    seed: int
    days: float
    violations: list[str]
    digest: tuple[int, int, int, float]


def run_one(seed: int, days: float, weather: Mapping[str, Any] | None = None) -> Ran:
    """Runs a world.  A world that breaks by itself counts as a violation too."""
    with World(seed, days, weather=weather) as world:
        try:
            world.run()
        except Exception:
            world.violated(f"the world broke: {traceback.format_exc()}")
        ledger, clock = world.ledger, world.clock
        digest = (clock.events, ledger.acknowledged, ledger.delivered, clock.now)
        return Ran(seed, (clock.now - EPOCH) / 86400, world.violations, digest)
