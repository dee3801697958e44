"""What happened to messages, and what would happen to one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated

from pydantic import Field

from relay.operate.asking import Refusal
from relay.operate.explaining.certificate import PEM_LIMIT_CHARACTERS
from relay.operate.web.api.models import Asked, At, MaybeAt, Text, Told
from relay.operate.web.api.operation import Answer, Call, Operation, Row, Rows, Topic
from relay.operate.web.api.overview import all_of
from relay.operate.web.api.problem import not_found
from relay.operate.web.api.queue import ID, NO_MESSAGE

PAGE_ROWS = 50
PAGE_LIMIT = 1000
RECIPIENTS_LIMIT = 100


Moment = Annotated[float, Field(ge=0)]


class JourneyQuery(Asked):
    """Whose journeys: all conditions must hold."""

    id: Text | None = Field(default=None, description="The queue id.")
    message_id: Text | None = Field(default=None, description="The Message-ID field.")
    address: Text | None = Field(default=None, description="A sender or recipient.")
    since: Moment | None = Field(default=None, description="Accepted from then on, seconds since the epoch.")
    until: Moment | None = Field(default=None, description="Accepted before that, seconds since the epoch.")
    before: Text | None = Field(default=None, description="A queue id: begin before it; `next` of the page before.")
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = Field(default=PAGE_ROWS, description="How many.")


class Journey(Told):
    """A message, whatever has become of it."""

    model_config = Told.model_config | {"extra": "allow"}

    id: str
    at: At
    sender: str | None
    recipients: Sequence[str] = Field(description="The first of them.")
    recipient_count: int
    client: str | None
    message_id: str | None
    size: int | None
    state: str = Field(
        description="`queued`, `held`, `delivered`, `discarded`, `failed`, `removed`, `refused` or `mixed`."
    )
    last_at: MaybeAt
    last: str = Field(description="The last that happened, in words.")


class JourneyPage(Told):
    """Journeys, the newest first."""

    rows: Sequence[Journey]
    next: str | None = Field(description="`before` for the next page; null when this was the last.")


class Entry(Told):
    """Something that happened to a message.  Its other fields are those of the step (docs/operations.md)."""

    model_config = Told.model_config | {"extra": "allow"}

    at: At
    step: str


class Entries(Told):
    """A journey, in the order of time."""

    rows: Sequence[Entry]


class Question(Asked):
    """A message that might come."""

    recipients: Annotated[tuple[Text, ...], Field(min_length=1, max_length=RECIPIENTS_LIMIT)] = Field(
        description="To whom."
    )
    sender: str | None = Field(default=None, description="The reverse-path; empty for the null sender.")
    client: str | None = Field(
        default=None, description="The client's IP address; `unix` for a program on the machine."
    )
    login: Text | None = Field(default=None, description="Who has logged in.")
    helo: Text | None = Field(default=None, description="What the client calls itself.")
    listener: Text | None = Field(default=None, description="At which listener, by its endpoint.")
    size: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Octets.")
    smtputf8: bool = Field(default=False, description="With SMTPUTF8.")
    tls: bool = Field(default=False, description="Within TLS.")
    certificate: Annotated[str, Field(max_length=PEM_LIMIT_CHARACTERS)] | None = Field(
        default=None,
        description="What the client shows within TLS: `sha256:` and a fingerprint, or PEM.",
    )
    probe: bool = Field(default=False, description="Really connect to the next hops, as far as RCPT.")


class ProbeQuery(Asked):
    """Whether to look further."""

    probe: bool = Field(default=False, description="Really connect to the next hops, as far as RCPT.")


class Finding(Told):
    """One decision: what was asked, what was decided, by which rule and where that stands."""

    model_config = Told.model_config | {"extra": "allow"}


class Findings(Told):
    """Every decision, in order; the last one is the verdict.  Of a message that is gone, what became of it."""

    rows: Sequence[Finding]


async def journeys(call: Call) -> Answer:
    asked = call.query.model_dump(exclude_none=True)
    return Rows(call.asks.stream("trace.find", **asked), partial(page_of, limit=call.query.limit))


async def page_of(rows: AsyncIterator[Row], limit: int) -> object:
    """A page, and how to go on when it is full."""
    found = [row async for row in rows]
    return {"rows": found, "next": found[-1]["id"] if len(found) == limit else None}


async def journey(call: Call) -> Answer:
    return Rows(_found(call.asks.stream("trace.show", id=call.path["id"])), all_of)


async def explain(call: Call) -> Answer:
    asked = call.body.model_dump(exclude_none=True)
    return Rows(call.asks.stream("explain", **{**asked, "recipients": [*call.body.recipients]}), all_of)


async def explain_message(call: Call) -> Answer:
    rows = call.asks.stream("explain.message", id=call.path["id"], probe=call.query.probe)
    return Rows(_found(rows), all_of)


async def _found(rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
    """The same, where a refusal means that there is no such thing."""
    try:
        async for row in rows:
            yield row
    except Refusal as refusal:
        raise not_found(refusal) from None


NO_JOURNEY: Mapping[HTTPStatus, str] = {HTTPStatus.NOT_FOUND: "The journal knows no such message, or no longer."}

JOURNEYS = Topic(
    "journeys",
    "What happened to messages, and what would happen to one.",
    (
        Operation(
            "GET",
            "/journeys",
            "listJourneys",
            "Messages by id, Message-ID, address or time, whatever has become of them; the newest first.",
            journeys,
            query=JourneyQuery,
            gives=JourneyPage,
            has_rows=Journey,
        ),
        Operation(
            "GET",
            "/journeys/{id}",
            "getJourney",
            "What happened to a message: where it came from, each attempt with its dialogue, its outcome.",
            journey,
            places=ID,
            gives=Entries,
            has_rows=Entry,
            problems=NO_JOURNEY,
        ),
        Operation(
            "GET",
            "/queue/{id}/explanation",
            "explainQueued",
            "Why a message is still here, and what happens when.",
            explain_message,
            places=ID,
            query=ProbeQuery,
            gives=Findings,
            has_rows=Finding,
            problems=NO_MESSAGE,
        ),
        Operation(
            "POST",
            "/explain",
            "explain",
            "What would happen to a message: each decision, by the code that makes it.",
            explain,
            body=Question,
            needs_body=True,
            gives=Findings,
            has_rows=Finding,
            more="Nothing is changed. With `probe` the next hops are really asked, as far as RCPT.",
        ),
    ),
)
