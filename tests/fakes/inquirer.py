"""A relay of which pages and the API can ask anything, and which answers from a table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from relay.operate.asking import CHANGES, Refusal

Row = dict[str, Any]
Answer = Callable[..., Iterable[Row]]


@dataclass
class FakeInquirer:
    """Asked like relay.operate.inquirer.Inquirer.

    answers  question -> what gives the rows, or raises
    asked    every question, with its fields
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, Row]] = field(default_factory=list)

    async def stream(self, do: str, /, **fields: object) -> AsyncIterator[Row]:
        given = {name: value for name, value in fields.items() if value is not None}
        self.asked.append((do, given))
        if do not in self.answers:
            raise Refusal(f"nothing is known of {do}", "request")
        for row in self.answers[do](**given):
            yield row

    async def ask(self, do: str, /, **fields: object) -> list[Row]:
        return [row async for row in self.stream(do, **fields)]

    async def ask_one(self, do: str, /, **fields: object) -> Row:
        return (await self.ask(do, **fields))[0]

    def changes(self) -> list[tuple[str, Row]]:
        """Those questions that were wishes."""
        return [(do, fields) for do, fields in self.asked if do in (*CHANGES, "destination.rest", "destination.wake")]
