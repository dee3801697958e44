"""Catches deliberate defects.

python -m tests.simulate.breakages            how many seeds it takes to catch each, as docs/simulation.md tells it
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.simulate.defects import BREAKAGES, disk, journal, orders, protocol, reports, schedule, trust
from tests.simulate.run import run_one

__all__ = ["BREAKAGES", "broken", "caught", "disk", "journal", "orders", "protocol", "reports", "schedule", "trust"]

WITHIN_SEEDS = 100
DAYS = 0.25


@contextmanager
def broken(name: str) -> Iterator[None]:
    """While it is broken so."""
    with ExitStack() as stack:
        for patch in BREAKAGES[name].make():
            stack.enter_context(patch)
        yield


def caught(name: str, within: int) -> tuple[int, str] | None:
    """How many seeds it took, and the violation; None when it was not caught."""
    with broken(name):
        for seed in range(1, within + 1):
            violations = run_one(seed, DAYS, BREAKAGES[name].weather).violations
            if violations:
                return seed, violations[0]
    return None


def row(name: str) -> str:
    """Its row in the table of docs/simulation.md, but for the last column."""
    what = " ".join((BREAKAGES[name].make.__doc__ or "").split())
    return f"| {name}: {what} |"


def main() -> int:
    missed = 0
    for name in sys.argv[1:] or BREAKAGES:
        began = time.monotonic()
        found = caught(name, WITHIN_SEEDS)
        missed += found is None
        seeds, how = found or (0, "NOT CAUGHT")
        print(f"{row(name)} {seeds} |", flush=True)
        print(f"    {time.monotonic() - began:.0f} s: {how[:160]}", file=sys.stderr, flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
