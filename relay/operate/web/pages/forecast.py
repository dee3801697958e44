"""What becomes of the queue if nothing changes, or if a host dies: the scheduler's own planning, run ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from relay.operate.web.charts import lines_of
from relay.operate.web.meant import lanes_named
from relay.operate.web.page import Call, Page, Row, Shown

SPANS = (("21600", "6 hours"), ("86400", "1 day"), ("259200", "3 days"), ("432000", "5 days"))
EVENTS = (("delivered", "delivered"), ("warned", "senders warned"), ("bounced", "given up"))
LINES_SHOWN = 12
LOOKED_UP = 20
"""Names of what is supposed to be down or up that are looked for: each looks through the queue's destinations."""


class Forecast(Page):
    """A look ahead."""

    name: ClassVar[str] = "forecast"
    title: ClassVar[str] = "Forecast"

    async def show(self, call: Call) -> Shown:
        span = call.asked("for") if call.asked("for") in dict(SPANS) else "259200"
        down, up = call.asked("down").split(), call.asked("up").split()
        found = await self.house.asks.ask_one(
            "forecast", now=self.house.clock.seconds(), for_s=float(span), down=down, up=up
        )
        return Shown(
            "forecast.html",
            {
                "span": span,
                "spans": SPANS,
                "down": " ".join(down),
                "up": " ".join(up),
                "found": found,
                "unknown": [name for name in (*down, *up)[:LOOKED_UP] if not await self._is_known(name)],
                "events": [(name, words, sum(found["events"][name])) for name, words in EVENTS],
                "tried": sum(found["events"]["tried"]),
                "left": lines_of([("queued", found["messages"])]),
                "until": found["from_at"] + len(found["messages"]) * found["every_s"],
                "table": table_of(found),
            },
        )

    async def _is_known(self, name: str) -> bool:
        lanes, is_whole = await lanes_named(self.house.asks, name)
        return bool(lanes) or not is_whole  # who is silent may know it


def table_of(found: Row) -> Sequence[Row]:
    """The time to come in a few lines."""
    spans = len(found["messages"])
    together = max(1, -(-spans // LINES_SHOWN))
    return [
        {
            "until": found["from_at"] + last * found["every_s"],
            **{name: sum(found["events"][name][first:last]) for name, _ in EVENTS},
            "messages": found["messages"][last - 1],
            "octets": found["octets"][last - 1],
        }
        for first in range(0, spans, together)
        for last in (min(first + together, spans),)
    ]
