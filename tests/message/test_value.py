"""Values are equal when they hold the same, can be keys, and take no other attributes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.message.value import value


@value(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


def test_values_that_hold_the_same_are_the_same() -> None:
    assert Point(1) == Point(1, 0) != Point(2)
    assert {Point(1): "there"}[Point(1, 0)] == "there"
    assert replace(Point(1), y=5) == Point(1, 5)


def test_a_value_has_its_fields_and_no_others() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 1  # type: ignore[attr-defined]
