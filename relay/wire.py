"""Octets that come and go at once.

A Twisted transport keeps what is written until its event loop comes round: two system calls to be told that the socket
is writable, and a turn of the loop, for each reply of thirty octets.  A socket almost always is writable; so what
can be sent is sent straight away, and only what it does not take goes the long way.

Likewise the loop spends ten calls of Python on each socket that it finds readable.  So the sockets that mail goes over
are listened to by a switchboard: an epoll of its own, which the reactor takes for one descriptor.  All that is out of
the ordinary stays the transport's business: TLS, half-closed and broken connections, a peer that does not read.

The rules that must not be broken: nothing overtakes what the transport still holds, nothing passes TLS by, and a socket
is read by the switchboard or by its transport, never by both.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast

from twisted.internet import tcp
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

READ_OCTETS = 64 * 1024
"""At most so many are read from one socket before it is the others' turn."""

_log = Logger()
_CLOSED = Failure(CONNECTION_DONE)


class Transport(Protocol):
    """What of a stream transport is used."""

    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def startTLS(self, contextFactory: object) -> object: ...


class Wire:
    """One transport's octets.  Whoever has a Wire pauses, closes and encrypts the transport by way of it."""

    __slots__ = ("_board", "_is_closing", "_is_reading", "_received", "_recv", "_send", "_transport", "fd")

    def __init__(
        self, transport: Transport, board: Switchboard | None = None, received: Callable[[bytes], None] | None = None
    ) -> None:
        """board     listens to the socket, if it can
        received  gets what comes, as the protocol's ``dataReceived``
        """
        self._transport = transport
        self._board: Switchboard | None = None
        self._send: Callable[[bytes], int] | None = None  # None: the long way
        self._is_reading = False
        self._is_closing = False
        # Of its class: a TLS transport passes what it does not know itself on to the socket beneath it.
        if isinstance(transport, tcp.Connection) and not transport.TLS:
            handle: socket.socket = transport.getHandle()
            self._send = handle.send
            if board is not None and received is not None:
                self._received = received
                self._recv = handle.recv
                self.fd = handle.fileno()
                transport.stopReading()
                self._board = board
                board.connect(self)

    # -- out -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Sends the octets, now if possible, else as soon as the peer takes them."""
        if self._send is not None:
            try:
                sent = self._send(data)
            except OSError:  # not now, or never again, as the transport will find out
                sent = 0
            if sent == len(data):
                return
            # Of a transport that once fell behind nobody tells when it has caught up: it stays on the long way.
            self._send = None
            data = data[sent:]
        self._transport.write(data)

    def give_way(self) -> None:
        """From now on all goes the long way: only a transport that holds something asks a pull producer for more."""
        self._send = None

    # -- in ------------------------------------------------------------------------------------

    def read(self) -> None:
        """The socket is readable."""
        try:
            data = self._recv(READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the transport is to find out what has happened
            self._leave_board()
            self._transport.resumeProducing()
            return
        self._is_reading = True
        try:
            self._received(data)
        except Exception:
            _log.failure("a defect in the protocol ends its connection")
            self.close()
        self._is_reading = False
        if self._is_closing:
            cast(tcp.Connection, self._transport).connectionLost(_CLOSED)

    def pause(self) -> None:
        """Reads no more for now."""
        if self._board is not None:
            self._board.disconnect(self)
        else:
            self._transport.pauseProducing()

    def resume(self) -> None:
        if self._board is not None:
            self._board.connect(self)
        else:
            self._transport.resumeProducing()

    # -- the end -------------------------------------------------------------------------------

    def startTLS(self, context: object) -> None:
        """From here on nothing goes in the clear."""
        self._send = None
        if self._board is not None:
            self._leave_board()
            self._transport.resumeProducing()
        self._transport.startTLS(context)

    def close(self) -> None:
        """Sends what is to be sent, and closes."""
        if self._board is not None:
            self._leave_board()
            if self._send is not None and self._is_reading:  # nothing is held: it closes when the protocol has returned
                self._is_closing = True
                return
        self._transport.loseConnection()

    def abort(self) -> None:
        """Drops the connection, and what is still to be sent."""
        self._leave_board()
        self._transport.abortConnection()

    def lost(self) -> None:
        """The connection is gone, as the protocol was told."""
        self._leave_board()

    def _leave_board(self) -> None:
        board, self._board = self._board, None
        if board is not None:
            board.disconnect(self)


def switchboard_of(reactor: IReactorFDSet) -> Switchboard | None:
    """A switchboard, where the system has what it takes (Linux)."""
    return Switchboard(reactor) if hasattr(select, "epoll") else None


@implementer(IReadDescriptor)
class Switchboard:
    """Listens to the sockets of many wires."""

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._reactor = reactor
        self._epoll = select.epoll()
        self._wires: dict[int, Wire] = {}
        self._fd = self._epoll.fileno()

    def connect(self, wire: Wire) -> None:
        """Listens to it."""
        if not self._wires:
            self._reactor.addReader(self)
        if wire.fd not in self._wires:
            self._wires[wire.fd] = wire
            self._epoll.register(wire.fd, select.EPOLLIN)

    def disconnect(self, wire: Wire) -> None:
        """Listens to it no more."""
        if self._wires.get(wire.fd) is wire:
            del self._wires[wire.fd]
            with suppress(OSError):  # closed already, and so forgotten
                self._epoll.unregister(wire.fd)
            if not self._wires:
                self._reactor.removeReader(self)

    # -- for the reactor -----------------------------------------------------------------------

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "switchboard"

    def doRead(self) -> None:
        wires = self._wires
        for fd, _ in self._epoll.poll(0):
            wire = wires.get(fd)
            if wire is not None:
                wire.read()

    def connectionLost(self, reason: Failure) -> None:
        """It is no connection."""
