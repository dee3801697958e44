"""Which destinations are meant by the name of one, a host or a domain; as ``relay queue`` has it."""

from __future__ import annotations

from relay.operate.web.page import Asks, Row


async def meant(asks: Asks, fields: Row) -> Row:
    """The fields of a request on the queue, with exact names in the place of a ``destination``.

    One that nobody knows is the name of one that mail may come for: of it, there is nothing in the queue.
    """
    name = fields.get("destination")
    if name is None:
        return fields
    lanes = (await asks.ask_one("destination.named", destination=name))["destinations"]
    return {**{key: value for key, value in fields.items() if key != "destination"}, "destinations": lanes or [name]}
