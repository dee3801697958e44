"""Who can reach whom in the simulated world, and what is between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.deliver.opening import Dial
from relay.testing.clock import LifeClock, WorldClock
from relay.testing.link import End, Link, Weather

_WITHIN = Weather(latency_s=0.0001)  # of one machine


@dataclass(eq=False)
class Port:
    """A listening port of one life of the relay; several may share an address."""

    life: LifeClock
    address: str
    factory: Factory
    _ports: list[Port]

    def stopListening(self) -> None:
        if self in self._ports:
            self._ports.remove(self)


@implementer(IStreamClientEndpoint)
class Dialled:
    """A way to a host; ``connect`` goes it."""

    def __init__(self, go: Callable[[Any], Deferred[Any]]) -> None:
        self._go = go

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        return self._go(protocolFactory)


class Network:
    """Who can reach whom.

    hosts    address -> what answers there: ``answer()`` gives a protocol, or the exception with which dialling
             fails, or None when nothing ever answers
    weather  decides what befalls a link to an address
    """

    def __init__(
        self, clock: WorldClock, chance: Random, weather: Callable[[str], Weather], relay_ip: str = "192.0.2.25"
    ) -> None:
        self.clock = clock
        self.relay_ip = relay_ip
        self.hosts: dict[str, Callable[[], Any]] = {}
        self._ports: list[Port] = []
        self._ours: list[tuple[LifeClock, End]] = []  # the relay's ends
        self._chance = chance
        self._weather = weather

    # -- towards the relay ----------------------------------------------------------------------

    def listen_of(self, life: LifeClock) -> Callable[[str, Factory], Deferred[Any]]:
        """How one life of the relay opens its ports."""
        return lambda endpoint, factory: succeed(self.listen_on(life, endpoint, factory))

    def listen_on(self, life: LifeClock, address: str, factory: Factory) -> Port:
        port = Port(life, address, factory, self._ports)
        self._ports.append(port)
        return port

    def call_in(self, ip: str, client: Any, address: str = "tcp:25") -> bool:
        """Somebody calls the relay; False when it is not there.  Of several who listen one gets the call, by chance."""
        ports = [port for port in self._ports if port.address == address]
        port = self._chance.choice(ports) if len(ports) > 1 else ports[0] if ports else None
        return port is not None and self._join(port, ip, client, self._weather(ip))

    def ask(self, path: str, client: Any) -> bool:
        """Somebody on the relay's machine connects to a unix socket."""
        return any(self._join(port, self.relay_ip, client, _WITHIN) for port in self._ports if port.address == path)

    def _join(self, port: Port, ip: str, client: Any, weather: Weather) -> bool:
        link = Link(self.clock, self._chance, weather, (ip, self.relay_ip), 25)
        protocol: Any = port.factory.buildProtocol(link.dialling.getHost())
        if protocol is None:
            return False
        self._joined(port.life, link.listening)
        link.dialling.attach(client)
        link.listening.attach(protocol)
        return True

    def connect_to(self, life: LifeClock, path: str, factory: Any) -> Any:
        """One process of the relay asks another: IReactorUNIX.connectUNIX."""
        factory.doStart()
        life.callLater(0.0, self._connect_within, life, path, factory)
        return factory

    def _connect_within(self, life: LifeClock, path: str, factory: Any) -> None:
        port = next((port for port in self._ports if port.address == path), None)
        if port is None:
            factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
            return
        link = Link(self.clock, self._chance, _WITHIN, (self.relay_ip, self.relay_ip), 0)
        self._joined(life, link.dialling)
        self._joined(port.life, link.listening)
        link.listening.attach(port.factory.buildProtocol(None))
        link.dialling.attach(factory.buildProtocol(None))

    # -- from the relay -------------------------------------------------------------------------

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
        call = life.callLater(wait_s, self._answer, life, factory, address, port, answer, weather, done)
        return done

    def _answer(
        self,
        life: LifeClock,
        factory: Factory,
        address: str,
        port: int,
        answer: Any,
        weather: Weather,
        done: Deferred[Any],
    ) -> None:
        if answer is None or isinstance(answer, Exception):
            done.errback(answer or error.TimeoutError())
            return
        link = Link(self.clock, self._chance, weather, (self.relay_ip, address), port)
        protocol: Any = factory.buildProtocol(link.listening.getHost())
        self._joined(life, link.dialling)
        link.listening.attach(answer)
        link.dialling.attach(protocol)
        done.callback(protocol)

    # -- the relay's ends -----------------------------------------------------------------------

    def _joined(self, life: LifeClock, end: End) -> None:
        if len(self._ours) > 500:
            self._ours = [one for one in self._ours if not one[1].disconnected]
        self._ours.append((life, end))

    def open_of(self, life: LifeClock) -> int:
        """How many connections of this life are open."""
        return sum(1 for one, end in self._ours if one is life and not end.disconnected)

    def crash(self, life: LifeClock, told: bool) -> None:
        """This life has ended: by its machine, or only its process (then everybody is told)."""
        self._ports[:] = [port for port in self._ports if port.life is not life]
        for one, end in self._ours:
            if one is life:
                # Who asks from within the machine is cut off whatever the reason.
                end.vanish(self._chance.random() < 0.5, told or end.link.weather is _WITHIN)
        self._ours = [one for one in self._ours if one[0] is not life]
