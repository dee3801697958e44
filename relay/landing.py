"""Connections that are let in cheaply: a socket, and nothing of a transport until more is asked of it.

Twisted makes a transport of each connection that it accepts, and takes it apart at its end: some eighty calls of
Python, as many as four commands cost us.  Most sessions never need it.  So a protocol that says that it lives on a wire
gets one on the bare socket; what is out of the ordinary (TLS, a peer that does not read, an abort) makes of the same
socket the transport that it would have been.  Every other protocol gets its transport at once.

The rule that must not be broken: a landing is a port of Twisted's in all but the accepting, and whoever finds no room
for one more connection (no descriptors, no memory) leaves that to it.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.main import CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.wire import DONE, Switchboard, Transport, Wire

MOST_AT_ONCE = 100
"""So many connections are accepted before it is the turn of those that are there."""

_log = Logger()
_LOST = Failure(CONNECTION_LOST)


def landed(port: IListeningPort, board: Switchboard | None) -> IListeningPort:
    """The port, with a switchboard that accepts for it, if it is one of TCP."""
    return Landing(port, board) if type(port) is tcp.Port and board is not None else port


@implementer(IListeningPort)
class Landing:
    """Accepts for a port."""

    def __init__(self, port: Any, board: Switchboard) -> None:
        self.port = port
        self.board = board
        self.fd: int = port.fileno()
        self._socket: socket.socket = port.socket
        # Whoever is accepted has it from the socket that he came to: a reply must not wait until the next one fills
        # the segment.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expected = 1
        port.stopReading()
        board.connect(self)

    def startListening(self) -> None:
        """It listens from the beginning."""

    def stopListening(self) -> Deferred[None]:
        self.leave()
        return maybeDeferred(self.port.stopListening)

    def getHost(self) -> IAddress:
        address: IAddress = self.port.getHost()
        return address

    def leave(self) -> None:
        """Accepts no more; the socket stays as it is."""
        self.board.disconnect(self)

    def read(self) -> None:
        """Somebody has connected, and perhaps some more."""
        accepted = 0
        try:
            while accepted < self._expected:
                sock, peer = self._socket.accept()
                accepted += 1
                self._take(sock, peer)
        except BlockingIOError:
            self._expected = max(1, accepted)
        except OSError:
            self.port.doRead()
        else:
            self._expected = min(2 * accepted, MOST_AT_ONCE)

    def _take(self, sock: socket.socket, peer: tuple[Any, ...]) -> None:
        try:
            address = _address(peer)
            protocol = self.port.factory.buildProtocol(address)
            if protocol is None:
                sock.close()
            elif getattr(protocol, "lives_on_wire", False):
                protocol.makeConnection(BareWire(sock, address, protocol, self))
            else:
                protocol.makeConnection(self.transport(sock, address, protocol))
        except Exception:
            _log.failure("a connection could not be let in")
            sock.close()

    def transport(self, sock: socket.socket, address: IAddress, protocol: Any) -> Any:
        """What Twisted makes of the connection."""
        port = self.port
        number = port.sessionno
        port.sessionno = number + 1
        peer = (address.host, address.port) if isinstance(address, IPv4Address) else _ipv6_peer(address)
        return port.transport(sock, protocol, peer, port, number, port.reactor)


class BareWire(Wire):
    """A wire on a socket that has no transport yet."""

    __slots__ = ("_address", "_is_paused", "_landing", "_producer", "_protocol", "_socket")

    def __init__(self, sock: socket.socket, address: IAddress, protocol: Any, landing: Landing) -> None:
        sock.setblocking(False)
        self.fd = sock.fileno()
        self._transport = None
        self._send = sock.send
        self._recv = sock.recv
        self._received = protocol.dataReceived
        self._is_reading = self._is_closing = self._is_paused = False
        self._socket = sock
        self._address = address
        self._protocol: Any = protocol
        self._landing = landing
        self._producer: object | None = None
        self._board = landing.board
        landing.board.connect(self)

    def getPeer(self) -> IAddress:
        return self._address

    @property
    def transport(self) -> Transport:
        """Twisted's; from the first time that it is asked for, it has the socket."""
        if self._transport is None:
            self._send = None
            self._leave_board()
            made = self._landing.transport(self._socket, self._address, self._protocol)
            self._transport = self._protocol.transport = made
            if self._is_paused:
                made.pauseProducing()
            if self._producer is not None:
                made.registerProducer(self._producer, True)
        return self._transport

    def registerProducer(self, producer: object, streaming: bool) -> None:
        if self._transport is None and streaming:
            self._producer = producer
        else:
            self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._producer = None
        if self._transport is not None:
            self._transport.unregisterProducer()

    def pause(self) -> None:
        self._is_paused = True
        super().pause()

    def resume(self) -> None:
        self._is_paused = False
        super().resume()

    def startTLS(self, context: object) -> None:
        self.transport.startTLS(context)

    # -- the end, as long as there is no transport ------------------------------------------------

    def close(self) -> None:
        if self._transport is not None:
            self._transport.loseConnection()
            return
        self._say_no_more()
        self._is_closing = True
        if not self._is_reading:  # never while the protocol is at work
            self._landing.port.reactor.callLater(0, self._end)

    def _broken(self, error: OSError | None) -> None:
        self._say_no_more()
        self._end(DONE if error is None else _LOST)

    def _say_no_more(self) -> None:
        """What is still asked of it is asked of nobody."""
        self._landing.board.forget(self)
        self._board = None
        self._send, self._transport = None, _NOBODY

    def _end(self, why: Failure = DONE) -> None:
        self._socket.close()
        self._protocol.connectionLost(why)


class _Nobody:
    """The transport of a connection that is gone: nothing asked of it does anything."""

    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: object, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def startTLS(self, contextFactory: object) -> None: ...


_NOBODY = _Nobody()


def _address(peer: tuple[Any, ...]) -> IAddress:
    if len(peer) == 2:
        return IPv4Address("TCP", *peer)
    host, port, flow, scope = peer
    if scope:  # a link-local address, which means something only with it
        host = socket.getnameinfo(peer, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
    return IPv6Address("TCP", host, port, flow, scope)


def _ipv6_peer(address: IAddress) -> tuple[Any, ...]:
    assert isinstance(address, IPv6Address)
    return address.host, address.port, address.flowInfo, address.scopeID
