"""Next hops: how they do, and leaving them in peace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from relay.operate.answers.destinations import LONGEST_REST_S, REST_S
from relay.operate.asking import Refusal
from relay.operate.web.api.models import Asked, Destination, Told
from relay.operate.web.api.operation import Answer, Call, Json, Operation, Topic
from relay.operate.web.api.problem import NO_DESTINATION, not_found
from relay.operate.web.meant import lanes_known, lanes_named

NAME = {"destination": "Its name, as `/destinations` has it, or its host or domain; percent-encoded."}


class Destinations(Told):
    """Destinations at work or with mail that waits, those with most first; 200 at most."""

    rows: Sequence[Destination]


class Rest(Asked):
    """How long."""

    seconds: Annotated[float, Field(ge=1, le=LONGEST_REST_S)] = Field(default=REST_S, description="How long to rest.")


class Minded(Told):
    """What was told to every worker."""

    changed: int = Field(description="How many destinations were meant.")
    destinations: Sequence[str] = Field(description="Which: a host may be that of several.")


async def destinations(call: Call) -> Answer:
    return Json({"rows": (await call.asks.ask_one("status"))["destinations"]})


async def rest(call: Call) -> Answer:
    seconds = call.body.seconds if call.body is not None else REST_S
    name = call.path["destination"]
    lanes, is_whole = await lanes_named(call.asks, name)
    if not lanes and is_whole:  # mail may come for it
        try:
            lanes = (await call.asks.ask_one("destination.awaited", destination=name))["destinations"]
        except Refusal as refusal:
            raise not_found(refusal) from None
    return await _told(call, "rest", lanes or [name], seconds=seconds)


async def wake(call: Call) -> Answer:
    try:
        lanes = await lanes_known(call.asks, call.path["destination"])
    except Refusal as refusal:
        raise not_found(refusal) from None
    return await _told(call, "wake", lanes or [call.path["destination"]])


async def _told(call: Call, do: str, lanes: Sequence[str], **fields: object) -> Answer:
    for lane in lanes:
        await call.asks.ask_one(f"destination.{do}", destination=lane, **fields)
    return Json({"changed": len(lanes), "destinations": [*lanes]})


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
            gives=Minded,
            problems=NO_DESTINATION,
            more="Deliveries under way go on. The rest is forgotten when the relay is started again.",
        ),
        Operation(
            "POST",
            "/destinations/{destination}/wake",
            "wakeDestination",
            "End a rest: what is due there is tried now.",
            wake,
            places=NAME,
            gives=Minded,
            problems=NO_DESTINATION,
        ),
    ),
)
