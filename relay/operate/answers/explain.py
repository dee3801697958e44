"""What the control socket can be asked of a message that might come, and of one that is still here.

Each row is a finding (relay.operate.explaining.finding), in the order in which a relay comes to them; the last one is
the verdict.  Nothing is changed by asking.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

from relay.message.journey import read
from relay.message.outline import Outline
from relay.message.reply import printable
from relay.operate.answers.status import Destination, destination_rows
from relay.operate.control import BadRequest, Command, Request, Row
from relay.operate.explaining.certificate import pretended
from relay.operate.explaining.explanation import explain, explain_message
from relay.operate.explaining.finding import Finding, Question
from relay.operate.explaining.last_attempts import gone
from relay.operate.explaining.premises import Premises
from relay.queue.store import Store

LANES_LOOKED_AT = 10_000
SIZE_LIMIT_OCTETS = 1 << 50


class Scheduler(Protocol):
    """What this needs of relay.schedule.runner.Runner."""

    def destinations(self) -> Sequence[Destination]: ...
    def turns(self, message_id: str) -> Mapping[int, int]: ...


@dataclass(frozen=True, slots=True)
class ExplainAnswers:
    """Answers for one relay, and of the messages of one shard.

    premises  the parts as they are when it is asked
    """

    premises: Callable[[], Premises]
    store: Store
    runner: Scheduler

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {
            "explain": self.explain,
            "explain.message": self.message,
            "explain.destinations": self.destinations,
        }

    async def explain(self, request: Request) -> AsyncGenerator[Row, None]:
        """The findings about a message that might come: fields as in Question."""
        question = question_of(request)
        try:
            async for finding in explain(self.premises(), question):
                yield finding.row()
        except ValueError as fault:
            raise BadRequest(str(fault)) from None

    async def message(self, request: Request) -> AsyncGenerator[Row, None]:
        """The findings about a message in the queue, by its id; with ``probe`` its next hops are asked.  Of one that is
        no longer there, the one finding what became of it."""
        message_id, probes = request.text("id") or "", request.flag("probe")
        request.no_more()
        found = await self.store.read(message_id)
        if found is None:
            yield (await self._gone(message_id)).row()
            return
        turns, journey = self.runner.turns(message_id), self.store.journey(message_id)
        async for finding in explain_message(self.premises(), *found, turns, probes, journey):
            yield finding.row()

    async def _gone(self, message_id: str) -> Finding:
        outline = Outline()
        async for entry in self.store.journey(message_id):
            outline.add(read(entry))
        if not outline.is_known:
            raise BadRequest(
                f"there is no message {message_id} in the queue, and the journal knows nothing of it; relay trace "
                "ADDRESS finds a message by its sender or recipient, as long as journal.keep says"
            )
        return gone(message_id, outline)

    async def destinations(self, request: Request) -> AsyncGenerator[Row, None]:
        """How some destinations stand in this shard: rows as in ``status``."""
        lanes = request.texts("destinations")
        request.no_more()
        for row in await standing_here(self.store, self.runner, lanes):
            yield row


async def standing_here(store: Store, runner: Scheduler, lanes: Sequence[str]) -> Sequence[dict[str, Any]]:
    """Those of these destinations that are known in one shard; rows as in ``status``."""
    wanted = set(lanes)
    waiting = {lane: count for lane, count in (await store.lanes(LANES_LOOKED_AT)).items() if lane in wanted}
    active = [one for one in runner.destinations() if one.lane in wanted]
    return [dict(row) for row in destination_rows(active, waiting)]


def question_of(request: Request) -> Question:
    """What is asked.  Raises BadRequest."""
    client, login, sender = _client(request.text("client")), request.text("login") or "", request.text("sender")
    certificate = _certificate(request.text("certificate") or "")
    asked = Question(
        recipients=request.texts("recipients"),
        sender=sender if sender is not None else login if "@" in login else "",
        client=client,
        helo=request.text("helo") or _literal(client),
        login=login,
        listener=request.text("listener") or "",
        size=_octets(request.number("size", 0, SIZE_LIMIT_OCTETS)),
        smtputf8=request.flag("smtputf8"),
        tls=request.flag("tls") or bool(certificate),
        probe=request.flag("probe"),
        certificate=certificate,
    )
    request.no_more()
    if not asked.recipients:
        raise BadRequest("recipients: to whom? name one at least")
    for text in (asked.sender, asked.helo, asked.login, *asked.recipients):
        if printable(text) != text:
            raise BadRequest(f"{printable(text)[:100]} holds a character that cannot be said in SMTP")
    return asked


def _client(text: str | None) -> str:
    """An IP address; ``unix`` or nothing at all is a client on this machine."""
    if text is None:
        return "127.0.0.1"
    if text in ("", "unix"):
        return ""
    try:
        return str(ip_address(text))
    except ValueError:
        raise BadRequest(f"client must be an IP address, or unix, not {printable(text)[:100]}") from None


def _certificate(text: str) -> str:
    try:
        pretended(text)
    except ValueError as fault:
        raise BadRequest(f"certificate: {fault}") from None
    return text


def _literal(ip: str) -> str:
    """How a client without a name calls itself (RFC 5321 §4.1.3)."""
    return (f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]") if ip else "localhost"


def _octets(number: float | None) -> int | None:
    return None if number is None else int(number)
