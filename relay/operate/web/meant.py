"""Which destinations are meant by the name of one, a host or a domain; as ``relay queue`` has it."""

from __future__ import annotations

from collections.abc import Sequence

from relay.operate.asking import Refusal
from relay.operate.merging import nobody_knows
from relay.operate.web.page import Asks, Row


async def lanes_named(asks: Asks, name: str) -> tuple[Sequence[str], bool]:
    """The destinations that a name means; and whether all shards said so, or some are silent just now."""
    answer = await asks.ask_one("destination.named", destination=name)
    return answer["destinations"], not answer.get("silent")


async def lanes_known(asks: Asks, name: str) -> Sequence[str]:
    """The same; none only when a silent shard may know more.  Raises Refusal for one that nobody knows."""
    lanes, is_whole = await lanes_named(asks, name)
    if is_whole and not lanes:
        raise Refusal(f"{nobody_knows(name)}; relay status and /api/v1/destinations have their names", "request")
    return lanes


async def meant(asks: Asks, fields: Row) -> Row:
    """The fields of a question about the queue, with exact names in the place of a ``destination``.

    Of one that nobody knows there is nothing in the queue: who looks again and again sees the last of it go.
    """
    name = fields.get("destination")
    return fields if name is None else _exact(fields, (await lanes_named(asks, name))[0])


async def meant_to_change(asks: Asks, fields: Row) -> Row:
    """The same for a change.  Raises Refusal for a destination that nobody knows: it is mistyped, or has gone."""
    name = fields.get("destination")
    return fields if name is None else _exact(fields, await lanes_known(asks, name))


def _exact(fields: Row, lanes: Sequence[str]) -> Row:
    """Without a lane, the name stands for itself: no lane at all would mean every one."""
    others = {key: value for key, value in fields.items() if key != "destination"}
    return {**others, "destinations": [*lanes] or [fields["destination"]]}
