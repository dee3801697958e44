"""The queue: what waits and why, and what to do about it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field

from relay.operate.asking import Refusal
from relay.operate.web.api.models import Asked, At, Changed, MaybeAt, State, Text, Told
from relay.operate.web.api.operation import Answer, Call, Json, Octets, Operation, Row, Rows, Topic
from relay.operate.web.api.problem import NO_DESTINATION, not_found
from relay.operate.web.meant import meant, meant_to_change

PAGE_ROWS = 100
PAGE_LIMIT = 1000
IDS_LIMIT = 10_000

ID = {"id": "The queue id, as the client was told it in the 250 reply."}
NO_MESSAGE = {HTTPStatus.NOT_FOUND: "There is no such message in the queue; it may have been delivered meanwhile."}


class QueuedRow(Told):
    """A recipient in the queue."""

    id: str
    sender: str = Field(description="`<>` for a report.")
    recipient: str
    state: State
    destination: str
    accepted_at: At
    next_at: MaybeAt = Field(description="When it is tried next; null unless it waits.")
    attempts: int
    size: int
    error: str = Field(description="What the last host said, or why it is held.")


class QueuePage(Told):
    """Some of them, in the order of acceptance or against it.  The recipients of a message are never torn apart."""

    rows: Sequence[QueuedRow]
    next: str | None = Field(description="`after` for the next page; null when this was the last.")


class QueuedRecipient(Told):
    """A recipient of a message in the queue."""

    recipient: str
    state: State
    destination: str
    next_at: MaybeAt
    attempts: int
    error: str
    orcpt: str | None
    notify: Sequence[str] | None
    warned: bool


class QueuedMessage(Told):
    """A message in the queue, without its body."""

    id: str
    sender: str
    accepted_at: At
    size: int
    body: str
    smtputf8: bool
    ret: str | None
    envid: str | None
    client: str
    client_name: str
    helo: str
    protocol: str
    login: str | None
    recipients: Sequence[QueuedRecipient]
    header: str = Field(description="Its header section.")


class Selection(Asked):
    """Which recipients: all conditions must hold."""

    ids: Annotated[tuple[Text, ...], Field(max_length=IDS_LIMIT)] = Field(default=(), description="Of these messages.")
    sender: Text | None = Field(default=None, description="With this reverse-path; `<>` for reports.")
    recipient: Text | None = Field(default=None, description="With this address.")
    domain: Text | None = Field(default=None, description="In this domain; `.example.org` is all below it.")
    destination: Text | None = Field(default=None, description="For this destination, by its name, its host or domain.")
    state: State | None = Field(default=None, description="In this state.")


class Change(Selection):
    """Which recipients.  Nothing at all is a mistake: for everything say `all`."""

    model_config = Selection.model_config | {"json_schema_extra": {"minProperties": 1}}

    all: bool = Field(default=False, description="Everything in the queue.")


class Hold(Change):
    """Which recipients, and why."""

    why: Text | None = Field(default=None, description="A note that the queue's list shows.")


class Flush(Asked):
    """Where."""

    destination: Text | None = Field(default=None, description="Only this one, by its name, its host or domain.")


class QueueQuery(Selection):
    """Which recipients, and which part of them."""

    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = Field(
        default=PAGE_ROWS, description="How many recipients, and then to the end of a message. Not for JSON lines."
    )
    after: Text | None = Field(default=None, description="A message id: begin after it.")
    newest_first: bool = Field(default=False, description="The newest first, and not the oldest.")


def conditions(selection: Selection) -> Row:
    """The fields that a request on the control socket has."""
    asked = selection.model_dump(exclude={"limit"}, exclude_defaults=True)
    return {**asked, "ids": [*selection.ids]} if selection.ids else asked


async def queue(call: Call) -> Answer:
    rows = call.asks.stream("queue.list", **await meant(call.asks, conditions(call.query)))
    return Rows(rows, partial(page_of, limit=call.query.limit))


async def page_of(rows: AsyncIterator[Row], limit: int) -> object:
    """So many rows, and those that belong to the last one's message."""
    found: list[Row] = []
    async for row in rows:
        if len(found) >= limit and row["id"] != found[-1]["id"]:
            return {"rows": found, "next": found[-1]["id"]}
        found.append(row)
    return {"rows": found, "next": None}


async def message(call: Call) -> Answer:
    try:
        return Json(await call.asks.ask_one("queue.show", id=call.path["id"]))
    except Refusal as refusal:
        raise not_found(refusal) from None


async def content(call: Call) -> Answer:
    rows = call.asks.stream("queue.content", id=call.path["id"])
    try:
        first = await anext(aiter(rows))
    except Refusal as refusal:
        raise not_found(refusal) from None
    name = f'attachment; filename="{first["id"]}.eml"'
    return Octets("message/rfc822", _pieces(rows), {"Content-Disposition": name})


async def _pieces(rows: AsyncIterator[Row]) -> AsyncIterator[bytes]:
    async for row in rows:
        yield base64.b64decode(row["data"])


async def change(call: Call, do: str) -> Answer:
    return await _changed(call, do, conditions(call.body))


async def flush(call: Call) -> Answer:
    return await _changed(call, "flush", {"destination": call.body.destination} if call.body is not None else {})


async def _changed(call: Call, do: str, asked: Row) -> Answer:
    try:
        fields = await meant_to_change(call.asks, asked)
    except Refusal as refusal:
        raise not_found(refusal) from None
    answer = await call.asks.ask_one(f"queue.{do}", **fields)
    return Json({**answer, "destinations": fields["destinations"]} if "destinations" in fields else answer)


def _change(do: str, about: str, body: type[Change] = Change, more: str = "") -> Operation:
    return Operation(
        "POST",
        f"/queue/{do}",
        f"{do}Queued",
        about,
        partial(change, do=do),
        body=body,
        needs_body=True,
        gives=Changed,
        problems=NO_DESTINATION,
        more=more,
    )


_OF_MESSAGE: Mapping[str, Any] = {"places": ID, "problems": NO_MESSAGE}

QUEUE = Topic(
    "queue",
    "What waits, why, and what to do about it.",
    (
        Operation(
            "GET",
            "/queue",
            "listQueue",
            "What waits, the oldest first: a row for each recipient.",
            queue,
            query=QueueQuery,
            gives=QueuePage,
            has_rows=QueuedRow,
            more="With `Accept: application/x-ndjson` all of it comes row by row, however long it is, and "
            "as fast as you read.",
        ),
        _change("hold", "Hold recipients: they are not tried, and do not expire.", Hold),
        _change("release", "Release held recipients: they are tried now."),
        _change(
            "retry", "Try waiting recipients now.", more="A destination that rests keeps resting; `flush` ends that."
        ),
        _change("remove", "Remove recipients from the queue for good.", more="Nobody is told."),
        Operation(
            "POST",
            "/queue/flush",
            "flushQueue",
            "Try now all that waits, and end the rests of destinations.",
            flush,
            body=Flush,
            gives=Changed,
            problems=NO_DESTINATION,
        ),
        Operation(
            "GET",
            "/queue/{id}",
            "getQueued",
            "A message in the queue: its envelope, each recipient, its header section.",
            message,
            gives=QueuedMessage,
            **_OF_MESSAGE,
        ),
        Operation(
            "GET",
            "/queue/{id}/content",
            "getContent",
            "A message in the queue as a whole.",
            content,
            kind="message/rfc822",
            **_OF_MESSAGE,
        ),
    ),
)
