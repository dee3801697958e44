"""Sockets for dnspython on Twisted's reactor: its resolver drives them, without asyncio and without threads.

One Backend is made for one question and knows until when that may take.  dnspython measures the time of a question
by the system's clock and takes any error for a reason to ask the next server; so the bound on a question's time is
held here, by the reactor's clock: after the deadline nobody waits, no socket is made, and the next pause between two
rounds ends the question.

dnspython wants no base classes, only these methods.  That its private ones exist is not relied on.
"""

from __future__ import annotations

import socket
from collections import deque
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar

import dns.exception
import dns.inet
from twisted.internet import defer
from twisted.internet.interfaces import IReactorFDSet, IReactorTCP, IReactorTime, ITCPTransport
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from relay.route.datagrams import Datagrams, where

_DATAGRAMS_LIMIT = 16  # a connected socket hears only the server asked: more than this is noise
_STREAM_LIMIT_OCTETS = 2 + 65535  # one message with its length (RFC 1035 §4.2.2)

T = TypeVar("T")


class IDnsReactor(IReactorTime, IReactorFDSet, IReactorTCP):
    """What of a reactor is needed to ask the DNS.  Every reactor of Twisted on POSIX has it."""


class _Deadline:
    """Until when a question may take, by the reactor's clock."""

    def __init__(self, clock: IReactorTime, patience_s: float) -> None:
        self._clock = clock
        self._at = clock.seconds() + patience_s

    def check(self) -> None:
        """Raises dnspython's Timeout when it has passed."""
        if self._clock.seconds() >= self._at:
            raise dns.exception.Timeout

    def within(self, waited: defer.Deferred[T], timeout: float | None) -> defer.Deferred[T]:
        """The same, failing with dnspython's Timeout after ``timeout`` seconds or at the deadline."""
        left = max(self._at - self._clock.seconds(), 0)
        return waited.addTimeout(left if timeout is None else min(timeout, left), self._clock, _too_late)


def _too_late(result: object, timeout: float) -> NoReturn:
    raise dns.exception.Timeout


class _Arrivals(Generic[T]):
    """What has come in, for one who waits with a bound.  An end is told after all that came before it."""

    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline
        self._waiting: defer.Deferred[None] | None = None
        self._end: BaseException | None = None
        self.held: deque[T] = deque()

    def add(self, item: T) -> None:
        self.held.append(item)
        self._wake()

    def finish(self, why: BaseException) -> None:
        self._end = self._end or why
        self._wake()

    async def next(self, timeout: float | None) -> T:
        while not self.held:
            if self._end is not None:
                raise self._end
            self._waiting = defer.Deferred()
            await self._deadline.within(self._waiting, timeout)
        return self.held.popleft()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


class _Socket:
    """What dnspython wants of every socket: that it closes at the end of an ``async with``."""

    def __init__(self, family: int) -> None:
        self.family = family

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let it go, at once."""


class _DatagramSocket(_Socket):
    """Datagrams, as dnspython waits for them."""

    def __init__(self, reactor: IDnsReactor, deadline: _Deadline, family: int, destination: tuple[str, int]) -> None:
        super().__init__(family)
        self._destination = where(*destination)[1]
        self._arrivals: _Arrivals[bytes] = _Arrivals(deadline)
        self._datagrams = Datagrams(reactor, *destination, self._came, self._arrivals.finish)

    def _came(self, data: bytes) -> None:
        if len(self._arrivals.held) < _DATAGRAMS_LIMIT:
            self._arrivals.add(data)

    async def sendto(self, what: bytes, destination: Any, timeout: float | None) -> int:
        return self._datagrams.send(what)

    async def recvfrom(self, size: int, timeout: float | None) -> tuple[bytes, Any]:
        return await self._arrivals.next(timeout), self._destination

    async def close(self) -> None:
        self._datagrams.close()


class _Stream(Protocol):
    transport: ITCPTransport | None

    def __init__(self, arrivals: _Arrivals[bytes]) -> None:
        self._arrivals = arrivals
        self._room = _STREAM_LIMIT_OCTETS
        self.connected_now: defer.Deferred[None] = defer.Deferred()

    def connectionMade(self) -> None:
        self.connected_now.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self.abort()
        else:
            self._arrivals.add(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._arrivals.finish(EOFError("connection closed"))

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()


class _Connecting(ClientFactory):
    noisy = False

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def buildProtocol(self, address: object) -> _Stream:
        return self._stream

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        if not self._stream.connected_now.called:
            self._stream.connected_now.errback(OSError(reason.getErrorMessage()))


class _StreamSocket(_Socket):
    """A TCP connection, for an answer that did not fit into a datagram (RFC 7766)."""

    def __init__(self, reactor: IDnsReactor, deadline: _Deadline, family: int, destination: tuple[str, int]) -> None:
        super().__init__(family)
        self._deadline = deadline
        self._arrivals: _Arrivals[bytes] = _Arrivals(deadline)
        self._stream = _Stream(self._arrivals)
        self._connector = reactor.connectTCP(*destination, _Connecting(self._stream))

    async def connected(self, timeout: float | None) -> None:
        try:
            await self._deadline.within(self._stream.connected_now, timeout)
        except BaseException:
            self._connector.disconnect()
            raise

    async def sendall(self, what: bytes, timeout: float | None) -> None:
        if self._stream.transport is not None:
            self._stream.transport.write(what)

    async def recv(self, size: int, timeout: float | None) -> bytes:
        data = await self._arrivals.next(timeout)
        if len(data) > size:
            self._arrivals.held.appendleft(data[size:])
        return data[:size]

    async def close(self) -> None:
        self._stream.abort()


class Backend:
    """What dnspython asks for sockets and pauses, for one question.

    patience_s  how long the question may take, in seconds
    """

    def __init__(self, reactor: IDnsReactor, patience_s: float) -> None:
        self._reactor = reactor
        self._deadline = _Deadline(reactor, patience_s)

    def name(self) -> str:
        return "twisted"

    def datagram_connection_required(self) -> bool:
        return True  # so that make_socket hears the destination of a datagram socket too

    async def make_socket(
        self,
        af: int,
        socktype: int,
        proto: int = 0,
        source: object = None,
        destination: tuple[str, int] | None = None,
        timeout: float | None = None,
        ssl_context: object = None,
        server_hostname: object = None,
    ) -> _DatagramSocket | _StreamSocket:
        self._deadline.check()
        if destination is None:
            raise ValueError("a socket of ours is connected, and needs a destination")
        if socktype == socket.SOCK_DGRAM:
            return _DatagramSocket(self._reactor, self._deadline, af, destination)
        stream = _StreamSocket(self._reactor, self._deadline, af, destination)
        await stream.connected(timeout)
        return stream

    async def sleep(self, interval: float) -> None:
        self._deadline.check()
        await deferLater(self._reactor, interval)
