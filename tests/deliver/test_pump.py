"""The pump reads no faster than the transport takes, and no piece before the one before has come."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, succeed

from relay.deliver.connection import Connection, Errand
from relay.deliver.pump import Content, Pump
from relay.message.envelope import Envelope
from relay.smtp.transaction import Transaction


class ByHand:
    """A content whose pieces come when they are given."""

    def __init__(self) -> None:
        self.asked: list[Deferred[bytes]] = []

    def read(self) -> Deferred[bytes]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def close(self) -> None: ...


class AtOnce:
    """A content that is in memory."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    def read(self) -> Deferred[bytes]:
        self.left -= 1
        return succeed(b"piece\r\n" if self.left >= 0 else b"")

    def close(self) -> None: ...


class Carrying:
    """A connection, and its transport."""

    def __init__(self) -> None:
        self.carrier = self
        self.sent: list[bytes] = []
        self.has_ended = False
        self.streams: bool | None = None

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self.streams = streaming

    def unregisterProducer(self) -> None: ...

    def send_pieces(self, *pieces: bytes, ended: bool) -> None:
        self.sent.append(b"".join(pieces))
        self.has_ended = ended


def pump_of(content: Content, octets: int) -> tuple[Pump, Carrying]:
    connection = Carrying()
    transaction = Transaction(Envelope(None), [], octets)
    errand = Errand(cast(Any, None), transaction, ())
    return Pump(cast(Connection, cast(Any, connection)), errand, content), connection


def test_it_is_never_asked_in_vain() -> None:
    """A pull producer is asked by Twisted's TLS again and again, in a busy loop, while a piece is being read."""
    content = ByHand()
    pump, connection = pump_of(content, 100)
    pump.start()
    assert connection.streams is True
    for _ in range(5):
        pump.resumeProducing()
    assert len(content.asked) == 1
    content.asked[0].callback(b"piece\r\n")
    assert connection.sent == [b"piece\r\n"] and len(content.asked) == 2


def test_what_was_asked_for_before_the_pause_still_goes_and_nothing_more() -> None:
    content = ByHand()
    pump, connection = pump_of(content, 100)
    pump.start()
    pump.pauseProducing()
    content.asked[0].callback(b"piece\r\n")
    assert connection.sent == [b"piece\r\n"] and len(content.asked) == 1
    pump.resumeProducing()
    assert len(content.asked) == 2


def test_a_store_that_answers_at_once_is_read_to_its_end() -> None:
    pump, connection = pump_of(AtOnce(5000), 5000 * 7)
    pump.start()
    assert b"".join(connection.sent) == b"piece\r\n" * 5000 and connection.has_ended
