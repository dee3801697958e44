"""Destinations: what waits for each, how wide its window is, why it rests; and an operator's word on it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar

from relay.operate.web.page import Call, Elsewhere, Page, Row, Shown, error
from relay.operate.web.words import age

RESTS = ((900, "15 minutes"), (3600, "1 hour"), (4 * 3600, "4 hours"), (86400, "1 day"))


class Destinations(Page):
    """All that have something to do, those with most first."""

    name: ClassVar[str] = "destinations"
    title: ClassVar[str] = "Destinations"

    async def show(self, call: Call) -> Shown:
        status = await self.house.glance.ask_one("status")
        return Shown("destinations.html", {"destinations": known(status), "rests": RESTS})

    async def change(self, call: Call) -> Shown | Elsewhere:
        destination, do = call.said("destination"), call.said("do")
        back = "/destinations"
        if do == "wake":
            await self.house.asks.ask_one("destination.wake", destination=destination)
            return Elsewhere(back, f"{destination} is tried now.")
        if do.startswith("rest-") and do[5:].isdecimal():
            seconds = int(do[5:])
            await self.house.asks.ask_one("destination.rest", destination=destination, seconds=seconds)
            return Elsewhere(back, f"{destination} is left in peace for {age(seconds)}.")
        return error(HTTPStatus.BAD_REQUEST, "Say whether it is to rest or to wake.")


def known(status: Row) -> Sequence[Row]:
    """The destinations of a status.  One that has only mail that waits, as all have when the relay has just begun, has
    neither window nor trouble yet."""
    nothing: Row = {"window": 0, "resting_until": None, "failures": 0, "error": ""}
    return [{**nothing, **one} for one in status["destinations"]]
