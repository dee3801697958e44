"""Deliberate defects, to show that the simulation finds such things: each breaks one promise in one place.

    @breakage(power_cuts=4.0)
    def forget_the_sync() -> Sequence[Any]:
        '''SQLite does not sync.'''
        return [a patch, ...]

A file for each part of the relay; tests/simulate/breakages.py catches them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

Around = Callable[..., Any]
"""Gets the original and its arguments."""

Make = Callable[[], Sequence[Any]]


@dataclass(frozen=True)
class Breakage:
    """A deliberate defect.

    make     its patches
    weather  what the climate (tests/simulate/climate.py) of a world must be like for it to show soon
    """

    make: Make
    weather: Mapping[str, Any]


BREAKAGES: dict[str, Breakage] = {}


def breakage(**weather: Any) -> Callable[[Make], Make]:
    """Registers one; its docstring says what is broken."""

    def register(make: Make) -> Make:
        BREAKAGES[make.__name__.replace("_", " ")] = Breakage(make, weather)
        return make

    return register


def around(owner: Any, name: str, instead: Around) -> Any:
    """A patch: ``instead(original, *args)`` is called in place of the original."""
    original = getattr(owner, name)
    return mock.patch.object(owner, name, lambda *args, **kw: instead(original, *args, **kw))
