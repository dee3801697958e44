"""Mail for the tests of a queue, and short words for what is done with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.message.address import parse_mailbox
from relay.message.envelope import Body, Envelope, Message, Origin, Recipient, Ret
from relay.message.journey import Entry
from relay.queue.store import Counts, Leased, NewRecipient, QueuedRecipient, Store

T = TypeVar("T")

NOW = 1_800_000_000.25
LEASE_END = NOW + 900
ANN = parse_mailbox("ann@client.example")
FULL_ENVELOPE = Envelope(ANN, Body.EIGHTBIT, smtputf8=True, ret=Ret.HDRS, envid="QQ 314+=\u20ac")
ORIGIN = Origin("2001:db8::1", "host.client.example", "[192.0.2.1]", "UTF8SMTPSA", "ann")


def clock_at(seconds: float = NOW) -> Clock:
    clock = Clock()
    clock.advance(seconds)
    return clock


def now(fired: Deferred[T]) -> T:
    """What a Deferred that has fired fired with."""
    results: list[T] = []
    failures: list[Failure] = []
    fired.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    assert results, "it has not fired"
    return results[0]


def all_of(rows: AsyncIterator[T]) -> list[T]:
    async def gather() -> list[T]:
        return [row async for row in rows]

    return now(Deferred.fromCoroutine(gather()))


def to(address: str, lane: str = "", due_at: float = NOW, **kwargs: object) -> NewRecipient:
    mailbox = parse_mailbox(address)
    return NewRecipient(Recipient(mailbox), lane or mailbox.domain, due_at, **kwargs)  # type: ignore[arg-type]


def queue(
    store: Store,
    *recipients: NewRecipient,
    content: bytes = b"Subject: x\r\n\r\nhello\r\n",
    envelope: Envelope = FULL_ENVELOPE,
    accepted_at: float = NOW,
    entries: Sequence[Entry] = (),
) -> Message:
    draft = store.begin()
    for at in range(0, len(content), 16384):
        draft.write(content[at : at + 16384])
    wanted = recipients or (to("bob@example.org"),)
    return now(draft.commit(envelope, ORIGIN, b"Received: by us\r\n", wanted, accepted_at, entries))


def of_mail(store: Store) -> Counts:
    """What is counted of the queue, without the journal."""
    return replace(store.counts(), journal=0)


def lease(store: Store, at: float = NOW, limit: int = 100, **kwargs: object) -> Sequence[Leased]:
    return now(store.lease(at, at + 900, limit, **kwargs))  # type: ignore[arg-type]


def whole(store: Store, message_id: str) -> tuple[Message, tuple[QueuedRecipient, ...]]:
    found = now(store.read(message_id))
    assert found is not None
    return found


def content_of(store: Store, message_id: str) -> bytes:
    content = store.open(message_id)
    pieces = []
    while piece := now(content.read()):
        assert len(piece) <= 256 * 1024
        pieces.append(piece)
    content.close()
    return b"".join(pieces)
