"""A network in memory: streams that arrive late, in pieces cut anywhere, or not any more.

Each connection is a ``Link`` with two ``End``s; an End is the transport of whatever sits there, with everything that
Twisted's own would do: back-pressure by producers, the last octets written before a close, a reason for a loss.
What befalls a link is decided when it is made, by the world's climate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.deliver.opening import Dial
from tests.simulate.clock import Call, LifeClock, WorldClock

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
        self.dialling = End(self, ips[0], ips[1], 40000, port)
        self.listening = End(self, ips[1], ips[0], port, 40000)
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
    """One end of a link: the transport of a protocol.

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


class Port:
    """A listening port of the relay."""

    def __init__(self, listeners: dict[str, Factory], endpoint: str) -> None:
        self._listeners = listeners
        self._endpoint = endpoint

    def stopListening(self) -> None:
        self._listeners.pop(self._endpoint, None)


@implementer(IStreamClientEndpoint)
class Dialled:
    """A way to a host; ``connect`` goes it."""

    def __init__(self, go: Callable[[Factory], Deferred[Any]]) -> None:
        self._go = go

    def connect(self, factory: Factory) -> Deferred[Any]:
        return self._go(factory)


class Network:
    """Who can reach whom.

    hosts    address -> what answers there: ``answer(address)`` gives a protocol, or the exception with which
             dialling fails, or None when nothing ever answers
    weather  decides what befalls a link to an address
    """

    def __init__(
        self, clock: WorldClock, chance: Random, weather: Callable[[str], Weather], relay_ip: str = "192.0.2.25"
    ) -> None:
        self.clock = clock
        self.relay_ip = relay_ip
        self.listeners: dict[str, Factory] = {}
        self.hosts: dict[str, Callable[[], Any]] = {}
        self.ours: list[End] = []  # the relay's ends
        self.most_to: dict[str, int] = {}
        self._chance = chance
        self._weather = weather

    def listen(self, endpoint: str, factory: Factory) -> Deferred[Any]:
        self.listeners[endpoint] = factory
        return succeed(Port(self.listeners, endpoint))

    def call_in(self, ip: str, client: Any, endpoint: str = "tcp:25") -> bool:
        """A client calls the relay; False when it is not there."""
        factory = self.listeners.get(endpoint)
        link = Link(self.clock, self._chance, self._weather(ip), (ip, self.relay_ip), 25)
        protocol = None if factory is None else factory.buildProtocol(link.dialling.getHost())
        if protocol is None:
            return False
        self._joined(link.listening)
        link.dialling.attach(client)
        link.listening.attach(protocol)
        return True

    def dial_of(self, life: LifeClock) -> Dial:
        """How one life of the relay reaches hosts."""
        return lambda hop, address, timeout_s: Dialled(
            lambda factory: self._connect(life, factory, address, hop.port, timeout_s)
        )

    def _connect(self, life: LifeClock, factory: Factory, address: str, port: int, timeout_s: float) -> Deferred[Any]:
        done: Deferred[Any] = Deferred(lambda _: call.cancel())
        weather = self._weather(address)
        answer = self.hosts[address]()
        wait_s = timeout_s if answer is None else weather.latency_s
        call = life.callLater(wait_s, self._answer, factory, address, port, answer, weather, done)
        return done

    def _answer(
        self, factory: Factory, address: str, port: int, answer: Any, weather: Weather, done: Deferred[Any]
    ) -> None:
        if answer is None or isinstance(answer, Exception):
            done.errback(answer or error.TimeoutError())
            return
        link = Link(self.clock, self._chance, weather, (self.relay_ip, address), port)
        protocol: Any = factory.buildProtocol(link.listening.getHost())
        self._joined(link.dialling)
        link.listening.attach(answer)
        link.dialling.attach(protocol)
        done.callback(protocol)

    def _joined(self, end: End) -> None:
        if len(self.ours) > 500:
            self.ours = [one for one in self.ours if not one.disconnected]
        self.ours.append(end)

    def open_to(self, address: str) -> int:
        """How many connections of the relay to this address are open."""
        return sum(1 for one in self.ours if not one.disconnected and one.getPeer().host == address)

    def crash(self, told: bool) -> None:
        """The relay's machine is gone, or only its process (then everybody is told)."""
        self.listeners.clear()
        for end in self.ours:
            end.vanish(self._chance.random() < 0.5, told)
        self.ours.clear()
