"""The configuration as it is in force, each key with the line it comes from, and what is wrong with the file by now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from relay.operate.web.page import Call, Page, Shown


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the configuration.

    depth  how far it is indented
    value  empty for a key that has others below it
    place  where it stands; empty: nobody wrote it, it is the default
    """

    depth: int
    key: str
    value: str
    place: str


class Configuration(Page):
    """What a reload would say is here too."""

    name: ClassVar[str] = "configuration"
    title: ClassVar[str] = "Configuration"

    async def show(self, call: Call) -> Shown:
        found = await self.house.asks.ask_one("config")
        here = f"{found['source']}:"
        places = {key: _place(place, here) for key, place in found["places"].items()}
        lines = list(lines_of(found["settings"], places))
        written = [line for line in lines if line.place]
        everything = call.asked("all") == "1" or not written
        return Shown(
            "configuration.html",
            {
                "found": found,
                "lines": lines if everything else written,
                "everything": everything,
                "defaults": len(lines) - len(written),
            },
        )


def lines_of(settings: Mapping[str, object], places: Mapping[str, str]) -> Iterator[Line]:
    """The configuration line by line.  What stands somewhere has its place, and so have the keys above it."""
    spoken = {inner for path in places for inner in _above(path)}
    yield from _lines(settings, "", 0, places, spoken)


def _lines(
    value: Mapping[str, object], above: str, depth: int, places: Mapping[str, str], spoken: set[str]
) -> Iterator[Line]:
    for name, inner in value.items():
        path = f"{above}.{name}".removeprefix(".")
        yield from _entry(name, inner, path, depth, places, spoken)


def _entry(
    key: str, value: object, path: str, depth: int, places: Mapping[str, str], spoken: set[str]
) -> Iterator[Line]:
    place = places.get(path, "") or ("…" if path in spoken else "")
    if isinstance(value, Mapping) and value:
        yield Line(depth, key, "", place)
        yield from _lines(value, path, depth + 1, places, spoken)
    elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(one, Mapping) for one in value):
        yield Line(depth, key, "", place)
        for at, inner in enumerate(value):
            yield from _entry(f"– {at + 1}", inner, f"{path}[{at}]", depth + 1, places, spoken)
    else:
        yield Line(depth, key, _shown(value), place)


def _place(place: str, here: str) -> str:
    """``line 12`` of the file that all of it is from; else the place as it is."""
    line = place.removeprefix(here)
    return f"line {line}" if place.startswith(here) and line.isdecimal() else place


def _shown(value: object) -> str:
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)


def _above(path: str) -> Iterator[str]:
    """``listen[0].endpoint``: itself, ``listen[0]`` and ``listen``."""
    yield path
    for at, character in enumerate(path):
        if character in ".[":
            yield path[:at]
