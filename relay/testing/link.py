"""Streams in memory: what one end writes arrives at the other late, in pieces cut anywhere, or not any more.

A connection is a ``Link`` with two ``End``s; an End is the transport of whatever sits there, with everything that
Twisted's own would do: back-pressure by producers, the last octets written before a close, a reason for a loss, TLS.
What befalls a link is decided when it is made, by the world's climate.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ITCPTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.testing.clock import Call, WorldClock

UNSENT_LIMIT_OCTETS = 64 * 1024


@dataclass(slots=True)
class Weather:
    """What befalls one link.

    latency_s    how long a piece travels
    cut          how likely a piece is cut in two
    breaks_after octets in both directions, after which the link breaks; None: never
    breaks       how: "reset" (both ends are told), "hang" (nobody is told, nothing arrives), "half" (only the
                 one who dialled is told)
    """

    latency_s: float = 0.001
    cut: float = 0.0
    breaks_after: int | None = None
    breaks: str = "reset"


class Link:
    """A connection."""

    def __init__(self, clock: WorldClock, chance: Random, weather: Weather, ips: tuple[str, str], port: int) -> None:
        self.clock = clock
        self.chance = chance
        self.weather = weather
        self.octets = 0
        self.is_broken = False
        self.dialling: End = Transport(self, ips[0], ips[1], 40000, port, is_client=True)
        self.listening: End = Transport(self, ips[1], ips[0], port, 40000, is_client=False)
        self.dialling.other, self.listening.other = self.listening, self.dialling

    def carry(self, octets: int) -> bool:
        """Whether these octets arrive."""
        self.octets += octets
        after = self.weather.breaks_after
        if after is not None and self.octets > after and not self.is_broken:
            self.fail()
        return not self.is_broken

    def fail(self) -> None:
        """It breaks, as its weather has it."""
        self.is_broken = True
        if self.weather.breaks in ("reset", "half"):
            self.clock.callLater(0, self.dialling.lose, error.ConnectionLost())
        if self.weather.breaks == "reset":
            self.clock.callLater(0, self.listening.lose, error.ConnectionLost())


@implementer(ITCPTransport)
class End:
    """One end of a link, as a socket is.

    unsent  octets that were written and have not arrived
    """

    other: End
    protocol: Any
    disconnecting = False
    disconnected = False

    def __init__(self, link: Link, ip: str, peer_ip: str, port: int, peer_port: int) -> None:
        self.link = link
        self.ip = ip
        self.unsent = 0
        self.most_unsent = 0
        self._host = IPv4Address("TCP", ip, port)
        self._peer = IPv4Address("TCP", peer_ip, peer_port)
        self._outbox: list[bytes] = []
        self._moving: Call | None = None
        self._reads = True
        self._producer: Any = None
        self._streams = False
        self._choked = False
        self.protocol = None

    def attach(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    # -- the transport --------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self.disconnecting or self.disconnected or not data:
            return
        self._outbox.append(data)
        self.unsent += len(data)
        self.most_unsent = max(self.most_unsent, self.unsent)
        self._wake(self.link.weather.latency_s)
        if self._producer is not None and self._streams and not self._choked and self.unsent > UNSENT_LIMIT_OCTETS:
            self._choked = True
            self._producer.pauseProducing()

    def writeSequence(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def loseConnection(self) -> None:
        if not (self.disconnecting or self.disconnected):
            self.disconnecting = True
            self._reads = False
            if self._producer is None or not self._streams:
                self._wake(self.link.weather.latency_s)

    def loseWriteConnection(self) -> None:
        raise AssertionError("nobody closes half of a connection here")

    def abortConnection(self) -> None:
        if not self.disconnected:
            self._outbox.clear()
            self.unsent = 0
            self._tell_other(error.ConnectionLost())
            self.link.clock.callLater(0, self.lose, error.ConnectionAborted())

    def getPeer(self) -> IPv4Address:
        return self._peer

    def getHost(self) -> IPv4Address:
        return self._host

    def setTcpNoDelay(self, enabled: bool) -> None: ...
    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None: ...
    def getTcpKeepAlive(self) -> bool:
        return False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self._producer is None, "there is a producer already"
        if self.disconnected:
            producer.stopProducing()
            return
        self._producer, self._streams = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        if self.disconnecting:
            self._wake(self.link.weather.latency_s)

    def pauseProducing(self) -> None:
        self._reads = False

    def resumeProducing(self) -> None:
        self._reads = True
        if not self.disconnected:
            self.other._wake(0.0)

    def stopProducing(self) -> None:
        self.loseConnection()

    # -- the wire -------------------------------------------------------------------------------

    def _wake(self, delay_s: float) -> None:
        if self._moving is None and not self.disconnected:
            self._moving = self.link.clock.callLater(delay_s, self._move)

    def _move(self) -> None:
        self._moving = None
        if self.disconnected or not self.other._reads:
            return
        if self._outbox:
            self._carry(self._next_piece())
            if self.disconnected:
                return
        if self._outbox:
            self._wake(0.0 if self.link.weather.latency_s < 0.001 else 0.0001)
            return
        producer = self._producer
        if producer is not None and (not self._streams or self._choked):
            self._choked = False
            producer.resumeProducing()
        elif self.disconnecting and not self.unsent:
            self._tell_other(error.ConnectionDone())
            self.lose(error.ConnectionDone())

    def _next_piece(self) -> bytes:
        data = self._outbox[0] if len(self._outbox) == 1 else b"".join(self._outbox)
        self._outbox.clear()
        weather, chance = self.link.weather, self.link.chance
        if weather.cut and len(data) > 1 and chance.random() < weather.cut:
            at = chance.randrange(1, min(len(data), 4096))
            self._outbox.append(data[at:])
            data = data[:at]
        return data

    def _carry(self, piece: bytes) -> None:
        if not self.link.carry(len(piece)):
            return  # it stays unsent for ever
        self.unsent -= len(piece)
        if not self.other.disconnected:
            self.other.protocol.dataReceived(piece)

    def _tell_other(self, why: Exception) -> None:
        if not self.link.is_broken:
            self.link.clock.callLater(self.link.weather.latency_s, self.other._ended, why)

    def _ended(self, why: Exception) -> None:
        """The other end is closed: what it had written has arrived."""
        self.lose(why)

    def lose(self, why: Exception) -> None:
        if self.disconnected:
            return
        self.disconnected = True
        self._outbox.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(why))

    def vanish(self, flush: bool, told: bool) -> None:
        """The machine at this end is gone.

        flush  what it had written still arrives
        told   the other end hears of it
        """
        if self.disconnected:
            return
        self.disconnected = True
        if flush and self._outbox and not self.other.disconnected and not self.link.is_broken:
            data = b"".join(self._outbox)
            self.link.clock.callLater(self.link.weather.latency_s, self._arrive_late, data)
        if told:
            self._tell_other(error.ConnectionLost())

    def _arrive_late(self, data: bytes) -> None:
        if not self.other.disconnected:
            self.other.protocol.dataReceived(data)


class Transport(End):
    """One end of a link as its protocol sees it: a socket, until TLS begins, and from then on TLS above that socket.

    TLS is real: OpenSSL over memory, with Twisted's own protocol.  Keys and nonces are of the system's chance, and the
    length of each message is the same in each run, which is all that the world can see of them.
    """

    TLS = False

    def __init__(self, link: Link, ip: str, peer_ip: str, port: int, peer_port: int, *, is_client: bool) -> None:
        super().__init__(link, ip, peer_ip, port, peer_port)
        self._is_client = is_client

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """As Twisted's own (twisted.internet._newtls), but for the clock of the layer above."""
        producer, streams = self._producer, self._streams
        if producer is not None:
            self.unregisterProducer()
        factory: Any = TLSMemoryBIOFactory(contextFactory, self._is_client is normal, None, self.link.clock)  # type: ignore[arg-type]
        layer = factory.protocol(factory, self.protocol, False)
        self.protocol = layer
        self.getHandle = layer.getHandle
        self.TLS = True
        layer.makeConnection(_Beneath(self))
        if producer is not None:
            self.registerProducer(producer, streams)

    def write(self, data: bytes) -> None:
        if not self.TLS:
            super().write(data)
        elif not self.disconnected:
            self.protocol.write(data)

    def loseConnection(self) -> None:
        if not self.TLS:
            super().loseConnection()
        elif not (self.disconnecting or self.disconnected):
            self.protocol.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.TLS:
            self.protocol.registerProducer(producer, streaming)
        else:
            super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self.TLS:
            self.protocol.unregisterProducer()
        else:
            super().unregisterProducer()


class _Beneath:
    """The socket that TLS writes to."""

    def __init__(self, end: End) -> None:
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    def write(self, data: bytes) -> None:
        End.write(self._end, data)

    def writeSequence(self, pieces: Any) -> None:
        End.write(self._end, b"".join(pieces))

    def loseConnection(self) -> None:
        End.loseConnection(self._end)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        End.registerProducer(self._end, producer, streaming)

    def unregisterProducer(self) -> None:
        End.unregisterProducer(self._end)
