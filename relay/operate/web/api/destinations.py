"""Next hops: how they do, and leaving them in peace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from relay.operate.answers.destinations import LONGEST_REST_S, REST_S
from relay.operate.web.api.models import Asked, Destination, Told
from relay.operate.web.api.operation import Answer, Call, Json, Operation, Topic

NAME = {"destination": "Its name, as `/destinations` has it, percent-encoded."}


class Destinations(Told):
    """Destinations at work or with mail that waits, those with most first; 200 at most."""

    rows: Sequence[Destination]


class Rest(Asked):
    """How long."""

    seconds: Annotated[float, Field(ge=1, le=LONGEST_REST_S)] = Field(default=REST_S, description="How long to rest.")


class ToldToAll(Told):
    """It was told to every worker."""

    changed: int = Field(description="Workers that were told.")


async def destinations(call: Call) -> Answer:
    return Json({"rows": (await call.asks.ask_one("status"))["destinations"]})


async def rest(call: Call) -> Answer:
    seconds = call.body.seconds if call.body is not None else REST_S
    return Json(await call.asks.ask_one("destination.rest", destination=call.path["destination"], seconds=seconds))


async def wake(call: Call) -> Answer:
    return Json(await call.asks.ask_one("destination.wake", destination=call.path["destination"]))


DESTINATIONS = Topic(
    "destinations",
    "Next hops: how they do, and leaving them in peace.",
    (
        Operation(
            "GET",
            "/destinations",
            "listDestinations",
            "Each destination with its window, rest and last error.",
            destinations,
            gives=Destinations,
        ),
        Operation(
            "POST",
            "/destinations/{destination}/rest",
            "restDestination",
            "Try nothing there for a while; its mail waits.",
            rest,
            places=NAME,
            body=Rest,
            gives=ToldToAll,
            more="Deliveries under way go on. The rest is forgotten when the relay is started again.",
        ),
        Operation(
            "POST",
            "/destinations/{destination}/wake",
            "wakeDestination",
            "End a rest: what is due there is tried now.",
            wake,
            places=NAME,
            gives=ToldToAll,
        ),
    ),
)
