"""Listening sockets that are bound once, by the parent, and served by several processes.

``listen`` takes any Twisted endpoint.  The endpoint is shown a reactor that binds and never reads, so that no
connection is accepted here; after a fork the worker ``serve``s the same sockets from its own reactor.

The rule that must not be broken: the parent keeps every socket open, so that who connects while a worker is
replaced waits in the backlog and is not refused.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.landing import Landing, landed
from relay.wire import Switchboard

BACKLOG = 1024
_PORT = re.compile(r"(?:haproxy:)?tcp6?:(\d+)")
_HAS_BACKLOG = re.compile(r"(?:haproxy:)?(?:tcp6?|ssl|unix):")

Wrap = Callable[[Any], IProtocolFactory]
"""From a worker's reactor to the factory that a socket is served with."""


class _Door(Factory):
    """What an endpoint is given in the parent; the worker puts its factory behind it."""

    noisy = False

    def __init__(self) -> None:
        self.inner: IProtocolFactory | None = None

    def logPrefix(self) -> str:
        """What Twisted's log calls who listens."""
        return "relay"

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        if self.inner is None or addr is None:
            return None
        return cast("Protocol | None", self.inner.buildProtocol(addr))


@dataclass(slots=True)
class _Bound:
    """A socket: ``port`` is Twisted's, which never reads; ``door`` is what the endpoint was given."""

    port: Any
    door: _Door
    wrap: Wrap


class Sockets:
    """The sockets of one relay."""

    def __init__(self, real: Any) -> None:
        """real  the parent's reactor, for what endpoints may want of it beyond listening"""
        self._real = real
        self._bound: dict[str, list[_Bound]] = {}

    def listen(self, endpoint: str) -> list[Failure]:
        """Binds an endpoint; gives why it cannot be."""
        faults: list[Failure] = []
        door = _Door()
        maker = _Binding(self._real, door)
        described = with_backlog(endpoint)
        maybeDeferred(lambda: serverFromString(maker, described).listen(door)).addErrback(faults.append)
        self._bound[endpoint] = maker.bound
        return faults

    def descriptors(self) -> set[int]:
        return {bound.port.fileno() for several in self._bound.values() for bound in several}

    def serve(
        self, reactor: Any, board: Switchboard | None, endpoint: str, factory: Factory
    ) -> Deferred[IListeningPort]:
        """In a worker: begins to accept what comes to an endpoint."""
        ports, landings = [], []
        for bound in self._bound[endpoint]:
            bound.door.inner = factory
            port = reactor.adoptStreamPort(bound.port.fileno(), bound.port.addressFamily, bound.wrap(reactor))
            ports.append(port)
            landings.append(landed(port, board))
            bound.port.socket.close()  # the worker has it by another number now, and must be able to close it
        return succeed(SharedPort(ports, landings))

    def close(self) -> None:
        """In the parent: closes them for good, and removes unix sockets from their folders."""
        for bound in (one for several in self._bound.values() for one in several):
            bound.port.connectionLost(Failure(CONNECTION_DONE))
        self._bound.clear()


def with_backlog(endpoint: str) -> str:
    """The endpoint with room for so many who connect at once; Twisted's own is 50.

    Who finds no room is not refused: his SYN is dropped, and he tries again after a second, and then after two.
    """
    return f"{endpoint}:backlog={BACKLOG}" if _HAS_BACKLOG.match(endpoint) and ":backlog=" not in endpoint else endpoint


def why_not(place: str, endpoint: str, failure: Failure) -> str:
    """Why an endpoint could not be bound, as a sentence with its place in the configuration."""
    why = getattr(failure.value, "socketError", None) or failure.value
    advice = ""
    if isinstance(why, PermissionError):
        advice = " (ports below 1024 need root, or systemd's socket)"
    elif getattr(why, "errno", None) == errno.EADDRINUSE:
        port = _PORT.match(endpoint)
        look = f" (who has it: ss -ltnp 'sport = :{port[1]}')" if port else ""
        advice = f"{look}; end that, or choose another port"
    return f"{place}: cannot listen on {endpoint}: {getattr(why, 'strerror', None) or why}{advice}"


@implementer(IListeningPort)
class SharedPort:
    """A worker's part of an endpoint.  When it ends, the path of a unix socket stays: it is the parent's."""

    def __init__(self, ports: list[Any], landings: list[IListeningPort]) -> None:
        self._ports = ports
        self._landings = landings

    def startListening(self) -> None:
        """It listens from the beginning."""

    def stopListening(self) -> Deferred[None]:
        for landing in self._landings:
            if isinstance(landing, Landing):
                landing.leave()
        for port in self._ports:
            port.stopReading()
            port.socket.close()
        self._ports = []
        return succeed(None)

    def getHost(self) -> IAddress:
        address: IAddress = self._ports[0].getHost()
        return address


class _Binding:
    """What an endpoint takes for its reactor: binds, and never reads."""

    def __init__(self, real: Any, door: _Door) -> None:
        self.bound: list[_Bound] = []
        self._real = real
        self._door = door

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def addReader(self, reader: object) -> None:
        """Nobody is let in here."""

    def removeReader(self, reader: object) -> None: ...

    def removeWriter(self, writer: object) -> None: ...

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._begin(tcp.Port(port, factory, backlog, interface, self), lambda _: factory)

    def listenSSL(self, port: int, factory: Any, context: Any, backlog: int = 50, interface: str = "") -> Any:
        def wrap(reactor: Any) -> IProtocolFactory:
            wrapped: IProtocolFactory = TLSMemoryBIOFactory(context, False, factory, reactor)
            return wrapped

        return self._begin(tcp.Port(port, factory, backlog, interface, self), wrap)

    def listenUNIX(self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0) -> Any:
        return self._begin(unix.Port(address, factory, backlog, mode, self, wantPID), lambda _: factory)

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> Any:
        port: Any
        if family == unix.Port.addressFamily:
            port = unix.Port._fromListeningDescriptor(self, descriptor, factory)
        else:
            port = tcp.Port._fromListeningDescriptor(self, descriptor, family, factory)
        return self._begin(port, lambda _: factory)

    def _begin(self, port: Any, wrap: Wrap) -> Any:
        port.startListening()
        self.bound.append(_Bound(port, self._door, wrap))
        return port
