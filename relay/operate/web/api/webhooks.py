"""Webhooks: how those are told who are to be told."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from relay.operate.web.api.models import MaybeAt, Told
from relay.operate.web.api.operation import Answer, Call, Json, Operation, Topic


class Webhook(Told):
    """Somebody who is told what becomes of mail."""

    webhook: str = Field(description="Its address, without what may be a secret in it.")
    events: Sequence[str]
    place: str = Field(description="Where it stands in the configuration.")
    behind: int = Field(description="Entries of the journal that it has yet to be told of.")
    sent: int = Field(description="Events that it has taken since the start.")
    failures: int = Field(description="Requests that it did not take.")
    dropped: int = Field(description="Events that it will never be told of.")
    failing_since: MaybeAt
    next_at: MaybeAt = Field(description="When it is tried again.")
    error: str = Field(description="Why the last request failed; empty when it did not.")


class Webhooks(Told):
    """All of them."""

    webhooks: Sequence[Webhook]
    silent: Sequence[int] = Field(description="Workers that do not answer just now; their part is missing.")


async def webhooks(call: Call) -> Answer:
    return Json(await call.asks.ask_one("webhooks"))


WEBHOOKS = Topic(
    "webhooks",
    "Telling others what became of mail.",
    (
        Operation(
            "GET",
            "/webhooks",
            "listWebhooks",
            "Who is told, how far behind they are, and why.",
            webhooks,
            gives=Webhooks,
        ),
    ),
)
