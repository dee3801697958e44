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

DONE = Failure(CONNECTION_DONE)

_log = Logger()


class Transport(Protocol):
    """What of a stream transport is used."""

    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: object, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def startTLS(self, contextFactory: object) -> object: ...


def wire_of(transport: Transport, board: Switchboard | None, received: Callable[[bytes], None]) -> Wire:
    """The wire of a protocol that has just got this transport.

    board     listens to the socket, if it can
    received  gets what comes, as the protocol's ``dataReceived``
    """
    return transport if isinstance(transport, Wire) else Wire(transport, board, received)


class Wire:
    """One transport's octets.  Whoever has a Wire does all that a Wire can do by way of it.

    fd  the socket's number, while a switchboard may listen to it
    """

    __slots__ = ("_board", "_is_closing", "_is_reading", "_received", "_recv", "_send", "_transport", "fd")

    def __init__(
        self, transport: Transport, board: Switchboard | None = None, received: Callable[[bytes], None] | None = None
    ) -> None:
        """As ``wire_of``; without ``received`` it only sends."""
        self._transport: Transport | None = transport
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

    @property
    def transport(self) -> Transport:
        """What does all that is out of the ordinary."""
        assert self._transport is not None
        return self._transport

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
        self.transport.write(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Who is to be told when the peer does not take what is written."""
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Nobody is to be told any more."""
        self.transport.unregisterProducer()

    # -- in ------------------------------------------------------------------------------------

    def read(self) -> None:
        """The socket is readable."""
        try:
            data = self._recv(READ_OCTETS)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(error)
            return
        if not data:
            self._broken(None)
            return
        self._is_reading = True
        try:
            self._received(data)
        except Exception:
            _log.failure("a defect in the protocol ends its connection")
            self.close()
        self._is_reading = False
        if self._is_closing:
            self._end()

    def _broken(self, error: OSError | None) -> None:
        """Nothing more comes: the transport is to find out why."""
        self._leave_board()
        self.transport.resumeProducing()

    def pause(self) -> None:
        """Reads no more for now."""
        if self._board is not None:
            self._board.disconnect(self)
        else:
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Reads again."""
        if self._board is not None:
            self._board.connect(self)
        else:
            self.transport.resumeProducing()

    # -- the end -------------------------------------------------------------------------------

    def startTLS(self, context: object) -> None:
        """From here on nothing goes in the clear."""
        self._send = None
        if self._board is not None:
            self._leave_board()
            self.transport.resumeProducing()
        self.transport.startTLS(context)

    def close(self) -> None:
        """Sends what is to be sent, and closes."""
        if self._board is not None:
            self._leave_board()
            if self._send is not None and self._is_reading:  # nothing is held: it closes when the protocol has returned
                self._is_closing = True
                return
        self.transport.loseConnection()

    def abort(self) -> None:
        """Drops the connection, and what is still to be sent."""
        self._leave_board()
        self.transport.abortConnection()

    def lost(self) -> None:
        """The connection is gone, as the protocol was told."""
        self._leave_board()

    def _end(self) -> None:
        cast(tcp.Connection, self._transport).connectionLost(DONE)

    def _leave_board(self) -> None:
        board, self._board = self._board, None
        if board is not None:
            board.disconnect(self)


class Socket(Protocol):
    """What a switchboard listens to."""

    fd: int

    def read(self) -> None:
        """There is something to be read."""
        ...


def switchboard_of(reactor: IReactorFDSet) -> Switchboard | None:
    """A switchboard, where the system has what it takes (Linux)."""
    return Switchboard(reactor) if hasattr(select, "epoll") else None


@implementer(IReadDescriptor)
class Switchboard:
    """Listens to many sockets."""

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._reactor = reactor
        self._epoll = select.epoll()
        self._sockets: dict[int, Socket] = {}
        self._fd = self._epoll.fileno()

    def connect(self, one: Socket) -> None:
        """Listens to it."""
        if not self._sockets:
            self._reactor.addReader(self)
        if one.fd not in self._sockets:
            self._sockets[one.fd] = one
            self._epoll.register(one.fd, select.EPOLLIN)

    def disconnect(self, one: Socket) -> None:
        """Listens to it no more."""
        if self.forget(one):
            with suppress(OSError):  # closed already
                self._epoll.unregister(one.fd)

    def forget(self, one: Socket) -> bool:
        """Listens no more to what is about to be closed, which saves the system a call; whether it did until now."""
        listened = self._sockets.get(one.fd) is one
        if listened:
            del self._sockets[one.fd]
            if not self._sockets:
                self._reactor.removeReader(self)
        return listened

    # -- for the reactor -----------------------------------------------------------------------

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "switchboard"

    def doRead(self) -> None:
        sockets = self._sockets
        for fd, _ in self._epoll.poll(0):
            one = sockets.get(fd)
            if one is not None:
                one.read()

    def connectionLost(self, reason: Failure) -> None:
        """It is no connection."""
