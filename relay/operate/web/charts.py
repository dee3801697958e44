"""Numbers as lines and bars: the geometry of inline SVG.  Pure.

A chart is drawn in a box of its own units and stretched to the room there is, so labels stand beside it, in HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 600.0
HEIGHT = 150.0
GAP = 0.3
"""Of the width of a column, between it and the next."""
LEAST_HEIGHT = 1.5


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
    return Lines(drawn, top, _marks(top))


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of several parts each, over time, and a stroke across each for another number.

    line   the strokes; what is nothing has none
    parts  from the bottom; the ``path`` of each has all of its pieces
    """

    line: Line
    parts: tuple[Line, ...]
    top: int
    marks: tuple[int, ...]


def columns_of(line: tuple[str, Sequence[int]], parts: Sequence[tuple[str, Sequence[int]]]) -> Columns:
    """A column for each place in these rows of numbers, which are equally long; all on one scale."""
    name, values = line
    heights = [sum(numbers) for numbers in zip(*(part for _, part in parts), strict=True)]
    top = nice_top(max(max(values, default=0), max(heights, default=0)))
    wide = WIDTH / max(1, len(values))
    strokes = [f"M{_short(at * wide)},{_short(_height(value, top))}h{_short(wide)}" for at, value in enumerate(values)]
    shown = "".join(stroke for stroke, value in zip(strokes, values, strict=True) if value)
    drawn = Line(name, tuple(values), sum(values), shown, "")
    below = [0] * len(heights)
    pieces = []
    for part, numbers in parts:
        path = "".join(_piece(at * wide, wide, below[at], number, top) for at, number in enumerate(numbers) if number)
        pieces.append(Line(part, tuple(numbers), sum(numbers), path, ""))
        below = [lower + number for lower, number in zip(below, numbers, strict=True)]
    return Columns(drawn, tuple(pieces), top, _marks(top))


def _piece(left: float, wide: float, below: int, number: int, top: int) -> str:
    """One part of a column; however small, it can be seen."""
    foot, head = _height(below, top), _height(below + number, top)
    head = min(head, foot - LEAST_HEIGHT)
    gap = wide * GAP
    return f"M{_short(left + gap / 2)},{_short(foot)}V{_short(head)}h{_short(wide - gap)}V{_short(foot)}Z"


def _height(value: int, top: int) -> float:
    return HEIGHT - HEIGHT * value / top


def _marks(top: int) -> tuple[int, ...]:
    return (0, top // 2, top) if top % 2 == 0 else (0, top)


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
    points = [f"{_short(i * step)},{_short(_height(value, top))}" for i, value in enumerate(values)]
    path = "M" + "L".join(points) if points else ""
    area = f"{path}L{_short(WIDTH)},{_short(HEIGHT)}L0,{_short(HEIGHT)}Z" if points else ""
    return Line(name, tuple(values), sum(values), path, area)


def _short(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
