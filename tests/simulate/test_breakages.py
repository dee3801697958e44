"""The simulation finds what it is there to find: each deliberate breakage, within so many seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulate.breakages import BREAKAGES, WITHIN_SEEDS, caught, row


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BREAKAGES))
def test_a_breakage_is_caught(name: str) -> None:
    assert caught(name, WITHIN_SEEDS) is not None


@pytest.mark.parametrize("name", ["forget the sync", "drop the dot stuffing", "reply out of order"])
def test_some_are_caught_at_once(name: str) -> None:
    """So that a world in which nothing can go wrong is noticed in every run of the tests."""
    assert caught(name, 3) is not None


def test_all_of_them_are_told() -> None:
    page = (Path(__file__).parents[2] / "docs/simulation.md").read_text(encoding="utf-8")
    assert [name for name in BREAKAGES if row(name) not in page] == []
