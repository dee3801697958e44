"""The last lines of the log, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from relay.operate.web.page import Call, Page, Row, Shown
from relay.operate.web.words import moment

LINES_READ = 1000
LINES_SHOWN = 200
LEVELS = (
    ("debug", "everything"),
    ("info", "each step"),
    ("warning", "what stands out"),
    ("error", "our own trouble"),
)

_APART = ("at", "level", "step")


class Log(Page):
    """Of all workers, in the order of time."""

    name: ClassVar[str] = "log"
    title: ClassVar[str] = "Log"

    async def show(self, call: Call) -> Shown:
        level = call.asked("level") if call.asked("level") in dict(LEVELS) else "info"
        words = call.asked("for")
        wanted = LINES_READ if words else LINES_SHOWN + 1
        rows = await self.house.asks.ask("log.tail", lines=wanted, level=level)
        lines = [row for row in reversed(rows) if not words or _has(row, words)]
        return Shown(
            "log.html",
            {
                "level": level,
                "levels": LEVELS,
                "words": words,
                "lines": [line_of(row) for row in lines[:LINES_SHOWN]],
                "more": len(lines) > LINES_SHOWN,
            },
        )


def line_of(row: Row) -> Mapping[str, object]:
    """A line with its fields apart, a traceback too."""
    fields = {name: _shown(name, value) for name, value in row.items() if name not in _APART and name != "traceback"}
    return {**{name: row[name] for name in _APART}, "fields": fields, "traceback": str(row.get("traceback", ""))}


def _shown(name: str, value: object) -> object:
    """Times as times, and of other numbers no more than a person wants to read."""
    if isinstance(value, float) and name.endswith("_at"):
        return moment(value)
    return round(value, 3) if isinstance(value, float) else value


def _has(row: Row, words: str) -> bool:
    lowered = words.casefold()
    return any(lowered in str(value).casefold() for name, value in row.items() if name not in ("at", "level"))
