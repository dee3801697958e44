"""Numbers as lines and bars: the geometry of inline SVG.  Pure.

A chart is drawn in a box of its own units and stretched to the room there is, so labels stand beside it, in HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 600.0
HEIGHT = 150.0


@dataclass(frozen=True, slots=True)
class Line:
    """One row of numbers, drawn.

    name   what it is, as the style sheet and the legend know it
    total  of all its numbers
    path   for the ``d`` of an SVG path; ``area`` the same, closed along the bottom
    """

    name: str
    values: tuple[int, ...]
    total: int
    path: str
    area: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Several rows of numbers over the same time.

    top    the number at the upper edge, a round one
    marks  numbers for the lines across, from the bottom
    """

    lines: tuple[Line, ...]
    top: int
    marks: tuple[int, ...]


def lines_of(rows: Sequence[tuple[str, Sequence[int]]]) -> Lines:
    """Lines for named rows of numbers, all on one scale."""
    top = nice_top(max((max(values, default=0) for _, values in rows), default=0))
    drawn = tuple(_line(name, values, top) for name, values in rows)
    return Lines(drawn, top, (0, top // 2, top) if top % 2 == 0 else (0, top))


def nice_top(most: int) -> int:
    """The next of 4, 6, 8, 10, 12, 16, 20, 30, 40, 60, 80, 100, 120, 160, …: a scale that can be halved."""
    if most <= 4:
        return 4
    unit: int = 10 ** (int(math.log10(most)) - 1) if most >= 10 else 1
    return next(step * unit for step in (6, 8, 10, 12, 16, 20, 30, 40, 60, 80, 100) if step * unit >= most)


def shares_of(numbers: Sequence[int], least: float = 0.0) -> tuple[tuple[float, float], ...]:
    """Where each part of a bar of width 100 begins, and how wide it is.

    least  a part that is there is not narrower, so that one in a million is seen
    """
    total = sum(numbers)
    if not total:
        return tuple((0.0, 0.0) for _ in numbers)
    widths = [max(least, 100 * number / total) if number else 0.0 for number in numbers]
    too_wide = sum(widths) / 100
    begins, placed = 0.0, []
    for width in widths:
        placed.append((round(begins, 2), round(width / too_wide, 2)))
        begins += width / too_wide
    return tuple(placed)


def _line(name: str, values: Sequence[int], top: int) -> Line:
    step = WIDTH / max(1, len(values) - 1)
    points = [f"{_short(i * step)},{_short(HEIGHT - HEIGHT * value / top)}" for i, value in enumerate(values)]
    path = "M" + "L".join(points) if points else ""
    area = f"{path}L{_short(WIDTH)},{_short(HEIGHT)}L0,{_short(HEIGHT)}Z" if points else ""
    return Line(name, tuple(values), sum(values), path, area)


def _short(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
