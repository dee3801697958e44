"""Short worlds: sixty in every run of the tests, more in the slow ones; python -m tests.simulate runs days."""

from __future__ import annotations

import pytest

from tests.simulate.run import run_one

SEEDS = 60
MORE_SEEDS = 340
TOGETHER = 10
DAYS = 0.05


@pytest.mark.parametrize(
    "first",
    [
        *range(1, SEEDS, TOGETHER),
        *(pytest.param(first, marks=pytest.mark.slow) for first in range(SEEDS + 1, SEEDS + MORE_SEEDS, TOGETHER)),
    ],
)
def test_no_law_is_broken(first: int) -> None:
    """An hour and a bit of trials each, and then kind hours until the queue is empty."""
    for seed in range(first, first + TOGETHER):
        violations = run_one(seed, DAYS).violations
        assert not violations, f"{violations[0]}\npython -m tests.simulate --seed {seed} --days {DAYS}"


def test_a_world_runs_the_same_twice() -> None:
    """What is found can be found again: everything hangs on the seed."""
    assert run_one(8, 0.2) == run_one(8, 0.2)
