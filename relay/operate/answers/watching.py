"""What the control socket can be asked by who watches: the last lines of the log, and the last hour in numbers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from relay.operate.control import AT_ONCE, BadRequest, Command, Request, Row
from relay.operate.history import History
from relay.operate.recent import LINES_KEPT, Line, Recent
from relay.operate.steps import LEVELS, Level

LOOK_S = 0.25
"""How often is looked for new lines while somebody follows."""
LINES = 100

_NAMES: Mapping[int, Level] = {number: name for name, number in LEVELS.items()}


@dataclass(frozen=True, slots=True)
class WatchingAnswers:
    """Answers what has happened lately.

    history  None: another shard of this process tells it
    """

    recent: Recent
    history: History | None
    clock: IReactorTime

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {"log.tail": self.tail, "history": self.minutes}

    async def tail(self, request: Request) -> AsyncGenerator[Row, None]:
        """The last ``lines`` of the log, oldest first, of at least a ``level``; with ``follow`` also what comes, until
        the asker goes.  A row: ``at``, ``level``, ``step``, and the fields of the step.  Who follows too slowly gets a
        row with the step ``skipped`` and how many ``lines`` he has missed."""
        lines = request.number("lines", 0, LINES_KEPT)
        least = request.text("level") or "debug"
        follow = request.flag("follow")
        request.no_more()
        level = {str(name): level for name, level in LEVELS.items()}.get(least)
        if level is None:
            raise BadRequest(f"level must be one of {', '.join(LEVELS)}")
        number = self.recent.made
        for line in self.recent.last(int(LINES if lines is None else lines), level):
            yield row_of(line)
        while follow:
            yield AT_ONCE
            await deferLater(self.clock, LOOK_S)
            lost, fresh = self.recent.since(number)
            number = self.recent.made
            if lost:
                yield {"at": self.clock.seconds(), "level": "warning", "step": "skipped", "lines": lost}
            for row in rows_of(fresh, level):
                yield row

    async def minutes(self, request: Request) -> AsyncGenerator[Row, None]:
        """At most one row: each step in each of the last sixty minutes."""
        request.no_more()
        if self.history is not None:
            yield self.history.row()


def rows_of(lines: Sequence[Line], level: int) -> Sequence[Row]:
    """Those of at least a level."""
    return [row_of(line) for line in lines if line.level >= level]


def row_of(line: Line) -> Row:
    """A line with what JSON can say."""
    fields = {name: _plain(value) for name, value in line.fields.items() if value is not None}
    return {"at": line.at, "level": _NAMES[line.level], "step": line.step, **fields}


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str) else str(value)
