"""Mail by HTTP: the same queue and the same checks as for a client that speaks SMTP (relay.receive.visit).

The content goes to the queue as it comes, whatever its size; JSON is put together in memory first, a few at once.

The rule that must not be broken: 202 is said when the message is on disk, and not before; our own trouble is 503.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import reduce
from http import HTTPStatus
from operator import or_
from typing import Literal, Protocol

from pydantic import ConfigDict, Field
from twisted.internet.defer import DeferredSemaphore

from relay.message.address import Address, AddressFault, parse_mailbox
from relay.message.envelope import Body, Envelope, Notify, Recipient, Ret
from relay.message.reply import Reply
from relay.operate.web.api.composing import CannotCompose, Composed, NewMail, compose
from relay.operate.web.api.models import Asked, Text, Told
from relay.operate.web.api.operation import JSON, Answer, Json, Operation, Topic
from relay.operate.web.api.problem import Problem, unavailable
from relay.operate.web.api.reading import said_in
from relay.operate.web.inbound import Inbound, TooLarge, gathered, too_large
from relay.receive.watched import InThread

MESSAGE = "message/rfc822"
JSON_LIMIT_OCTETS = 32 * 1024 * 1024
COMPOSED_AT_ONCE = 2
RECIPIENTS_LIMIT = 1000

Pieces = Iterable[bytes] | AsyncIterable[bytes]


class Outcome(Protocol):
    """What became of a message; relay.receive.visit.Sent."""

    @property
    def reply(self) -> Reply: ...
    @property
    def recipients(self) -> Sequence[Reply]: ...
    @property
    def id(self) -> str: ...


class Submit(Protocol):
    """Brings a message to the relay, as a client at this address that may send to anywhere, as anybody."""

    async def __call__(
        self, ip: str, envelope: Envelope, recipients: Sequence[Recipient], pieces: Pieces, size: int | None
    ) -> Outcome: ...


class EnvelopeQuery(Asked):
    """The envelope.  Of JSON it is made by itself, and what is given here wins."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    sender: str | None = Field(
        default=None, alias="from", description="The reverse-path, to which reports go; `<>` for none."
    )
    to: tuple[Text, ...] = Field(default=(), max_length=RECIPIENTS_LIMIT, description="A recipient; may be repeated.")
    notify: tuple[Literal["never", "success", "failure", "delay"], ...] = Field(
        default=(), description="Of what the sender is to be told (RFC 3461); may be repeated."
    )
    ret: Literal["full", "hdrs"] | None = Field(default=None, description="How much of it a report gives back.")
    envid: Text | None = Field(default=None, description="The sender's own name for it, for reports.")
    smtputf8: bool = Field(default=False, description="Its header section has UTF-8 in it (RFC 6532).")


class RecipientReply(Told):
    """What was said to a recipient."""

    recipient: str
    taken: bool
    reply: str


class Submitted(Told):
    """The message is in the queue, and on disk."""

    id: str = Field(description="Its queue id: `/queue/{id}` while it waits, `/journeys/{id}` for what becomes of it.")
    reply: str
    recipients: Sequence[RecipientReply] = Field(description="Each with its reply; one that was refused gets nothing.")


@dataclass(slots=True)
class Submission:
    """Takes messages in.

    submit   brings one to the relay; None while that has not started
    limit    octets that a message may have
    """

    in_thread: InThread
    limit: Callable[[], int]
    submit: Submit | None = None
    _turns: DeferredSemaphore = field(default_factory=lambda: DeferredSemaphore(COMPOSED_AT_ONCE))

    def limit_of(self, kind: str) -> int:
        """Octets that a body of this media type may have."""
        return min(JSON_LIMIT_OCTETS, 65536 + self.limit() * 3 // 2) if kind == JSON else self.limit()

    def when_too_large(self, kind: str) -> str:
        """What helps who sends more than that."""
        if kind == JSON and self.limit() * 3 // 2 > JSON_LIMIT_OCTETS:
            return f"send it as {MESSAGE}, which may have {self.limit():,} octets"
        return "make the message smaller, or raise accept.message_size"

    async def take(self, ip: str, kind: str, asked: EnvelopeQuery, body: Inbound) -> Answer:
        """Takes one message in.  Raises Problem, BrokenOff."""
        if self.submit is None:
            raise unavailable("the relay is starting")
        try:
            if kind == JSON:
                return await self._take_json(ip, asked, body)
            if kind == MESSAGE:
                return await self._take_message(ip, asked, body)
        except TooLarge:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large(body.limit_octets, body.advice)) from None
        advice = "with curl add -H 'Content-Type: message/rfc822' --data-binary @FILE, or send JSON"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body is to be {MESSAGE} or {JSON}; {advice}")

    async def _take_message(self, ip: str, asked: EnvelopeQuery, body: Inbound) -> Answer:
        missing = [name for name, given in (("from", asked.sender), ("to", asked.to)) if not given]
        if missing:
            faults = [{"where": f"query.{name}", "what": "is missing"} for name in missing]
            why = f"there is no {missing[0]}; say who sends it to whom: ?from=ann@example.org&to=bob@example.net"
            raise Problem(HTTPStatus.BAD_REQUEST, why, faults)
        sender, recipients = _addressed(asked, None, ())
        smtputf8 = asked.smtputf8 or not all(str(one).isascii() for one in (sender or "", *recipients))
        async with aclosing(with_crlf(body)) as pieces:
            return await self._bring(ip, asked, (sender, recipients), smtputf8, Body.EIGHTBIT, pieces, body.length)

    async def _take_json(self, ip: str, asked: EnvelopeQuery, body: Inbound) -> Answer:
        await self._turns.acquire()
        try:
            octets = await gathered(body)
            composed = await self.in_thread(lambda: _composed(octets))
        finally:
            self._turns.release()
        sender, recipients = _addressed(asked, composed.sender, composed.recipients)
        declared = Body.EIGHTBIT if composed.smtputf8 else Body.SEVENBIT
        smtputf8 = composed.smtputf8 or not all(str(one).isascii() for one in (sender or "", *recipients))
        return await self._bring(
            ip, asked, (sender, recipients), smtputf8, declared, [composed.octets], len(composed.octets)
        )

    async def _bring(
        self,
        ip: str,
        asked: EnvelopeQuery,
        addressed: tuple[Address | None, Sequence[Address]],
        smtputf8: bool,
        body: Body,
        pieces: Pieces,
        size: int | None,
    ) -> Answer:
        assert self.submit is not None
        sender, addresses = addressed
        ret = Ret(asked.ret.upper()) if asked.ret else None
        notify = reduce(or_, (Notify[one.upper()] for one in asked.notify)) if asked.notify else None
        envelope = Envelope(sender, body, smtputf8, ret, asked.envid)
        recipients = [Recipient(address, notify) for address in addresses]
        sent = await self.submit(ip, envelope, recipients, pieces, size)
        told = [
            {"recipient": str(address), "taken": reply.is_positive, "reply": str(reply)}
            for address, reply in zip(addresses, sent.recipients, strict=False)
        ]
        if sent.id:
            return Json({"id": sent.id, "reply": str(sent.reply), "recipients": told}, HTTPStatus.ACCEPTED)
        raise _refusal(sent.reply, told)


def _composed(octets: bytes) -> Composed:
    """In a thread.  Raises Problem."""
    mail = said_in(NewMail, octets)
    assert isinstance(mail, NewMail)
    try:
        return compose(mail)
    except CannotCompose as error:
        fault = {"where": f"body.{error.where}", "what": str(error)}
        raise Problem(HTTPStatus.BAD_REQUEST, f"{fault['where']}: {error}", [fault]) from None


def _addressed(
    asked: EnvelopeQuery, sender: Address | None, recipients: Sequence[Address]
) -> tuple[Address | None, Sequence[Address]]:
    """The envelope's addresses: what the query says, else these.  Raises Problem."""
    if asked.sender is not None:
        sender = None if asked.sender in ("", "<>") else _address("query.from", asked.sender)
    if asked.to:
        recipients = [_address("query.to", one) for one in asked.to]
    return sender, recipients


def _address(where: str, text: str) -> Address:
    try:
        return parse_mailbox(text)
    except AddressFault as fault:
        what = f"{fault}; write it like ann@example.org"
        raise Problem(HTTPStatus.BAD_REQUEST, f"{where}: {what}", [{"where": where, "what": what}]) from None


def _refusal(reply: Reply, told: Sequence[dict[str, object]]) -> Problem:
    """A message that was not taken, with all that was said."""
    more: dict[str, object] = {"reply": str(reply), "recipients": list(told)}
    if reply.code // 100 == 4:
        problem = unavailable(f"it was not taken just now; send it again: {reply}")
    else:
        too_large = reply.code == 552 and not told
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large else HTTPStatus.UNPROCESSABLE_ENTITY
        problem = Problem(status, f"it was refused, and will be again: {reply}")
    problem.members = more
    return problem


async def with_crlf(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same with CRLF at the end of its lines: files on Unix have LF.  A CR by itself stays what it is."""
    held = b""
    async for piece in pieces:
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        yield text.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    yield held


MESSAGES = Topic(
    "messages",
    "Sending mail.",
    (
        Operation(
            "POST",
            "/messages",
            "sendMessage",
            "Send a message, as JSON or as it is (RFC 5322).",
            None,
            query=EnvelopeQuery,
            body=NewMail,
            needs_body=True,
            also_takes=MESSAGE,
            gives=Submitted,
            status=HTTPStatus.ACCEPTED,
            problems={
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "It is larger than accept.message_size allows.",
                HTTPStatus.UNPROCESSABLE_ENTITY: "It was refused, as a client that speaks SMTP would have been; "
                "`reply` and `recipients` say by whom and why.",
            },
            more="It is taken by the same rules as mail by SMTP, from a client that has logged in as `api`, and 202 is "
            "said when it is safely on disk. Each recipient has a reply of its own; one that was refused gets nothing "
            "while the others do. Of a message as it is, the query says the envelope: `from` and `to`. JSON has the "
            "envelope in it. There is no key by which a request may be repeated: when no answer came, look for its "
            "Message-ID among the journeys before it is sent again.",
        ),
    ),
)
