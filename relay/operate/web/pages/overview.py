"""How it goes: what is wrong, the last hour, what waits for how long, and for whom."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, FirstError, gatherResults

from relay.operate.web.charts import columns_of, shares_of
from relay.operate.web.concerns import concerns_of
from relay.operate.web.page import Call, Page, Row, Shown
from relay.operate.web.pages.destinations import known

SERIES = (
    ("accepted", "accepted"),
    ("delivered", "delivered"),
    ("deferred", "put off"),
    ("failed", "failed"),
)
OUTCOMES = (("delivered", "delivered"), ("deferred", "put off"), ("failed", "failed"), ("expired", "expired"))
DESTINATIONS_SHOWN = 8
NUMBERS_SHOWN = 12
MINUTES = 60


class Overview(Page):
    """The first page."""

    name: ClassVar[str] = ""
    title: ClassVar[str] = "Overview"

    async def show(self, call: Call) -> Shown:
        glance, now = self.house.glance, self.house.clock.seconds()
        asked = [Deferred.fromCoroutine(glance.ask_one(do)) for do in ("status", "health", "history", "queue.ages")]
        try:
            status, health, history, ages = await gatherResults(asked, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
            raise
        steps: dict[str, list[int]] = history["steps"]
        none = [0] * max((len(values) for values in steps.values()), default=MINUTES)
        (line, _), *parts = SERIES
        chart = columns_of((line, steps.get(line, none)), [(name, steps.get(name, none)) for name, _ in parts])
        busy = [one for one in known(status) if one["waiting"] or one["in_flight"]]
        most = max((one["waiting"] for one in busy), default=0)
        return Shown(
            "overview.html",
            {
                "status": status,
                "concerns": concerns_of(status, health, now),
                "chart": chart,
                "series": SERIES,
                "history": history,
                "table": table_of(history),
                "outcomes": outcomes_of(steps),
                "ages": ages["ages"],
                "at_least": ages["at_least"],
                "oldest_bar": max(one["recipients"] for one in ages["ages"]),
                "busy": busy[:DESTINATIONS_SHOWN],
                "more": len(busy) - DESTINATIONS_SHOWN,
                "most": most,
                "port": port_in([listen.endpoint for listen in self.house.config().listen]),
            },
        )


def port_in(endpoints: Iterable[str]) -> str:
    """The first port that a message can be sent to; empty when there is none to be named."""
    found = (re.match(r"tcp6?:(?:port=)?(\d+)(?::|$)", endpoint) for endpoint in endpoints)
    return next((match[1] for match in found if match is not None), "")


def outcomes_of(steps: Row) -> Sequence[tuple[str, str, int, float, float]]:
    """The outcomes of the last hour as parts of a bar: name, words, number, where it begins, how wide it is."""
    numbers = [sum(steps.get(name, ())) for name, _ in OUTCOMES]
    shares = shares_of(numbers, least=0.6)
    return [
        (name, words, number, begins, width)
        for (name, words), number, (begins, width) in zip(OUTCOMES, numbers, shares, strict=True)
    ]


def table_of(history: Row) -> Sequence[dict[str, Any]]:
    """The hour in steps of five minutes, for those who read numbers."""
    steps: dict[str, list[int]] = history["steps"]
    length = max((len(values) for values in steps.values()), default=0)
    width = max(1, length // NUMBERS_SHOWN)
    return [
        {
            "at": history["from_at"] + first * history["every_s"],
            **{name: sum(steps.get(name, [])[first : first + width]) for name, _ in SERIES},
        }
        for first in range(0, length, width)
    ]
