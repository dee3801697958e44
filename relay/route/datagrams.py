"""Datagrams to a name server and from it, over a socket of their own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import dns.inet
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class Datagrams:
    """A connected socket: the kernel picks its port at random, and lets in only what the server sends (RFC 5452 §9.2).

    came   gets each datagram
    ended  gets what went wrong, and none comes any more
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        address: str,
        port: int,
        came: Callable[[bytes], None],
        ended: Callable[[Exception], None],
    ) -> None:
        """Raises OSError."""
        family, destination = where(address, port)
        self._reactor = reactor
        self._came = came
        self._ended = ended
        self._is_closed = False
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(destination)
        except OSError:
            self._socket.close()
            raise
        reactor.addReader(self)

    def send(self, data: bytes) -> int:
        """Raises OSError."""
        return self._socket.send(data)

    def close(self) -> None:
        """None comes any more, and nothing is told."""
        if not self._is_closed:
            self._is_closed = True
            self._reactor.removeReader(self)
            self._socket.close()

    # -- for the reactor ------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "dns"

    def doRead(self) -> None:
        try:
            data = self._socket.recv(65535)
        except BlockingIOError:
            return
        except OSError as refused:  # by ICMP: nobody listens there
            self._reactor.removeReader(self)
            self._ended(refused)
            return
        self._came(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # The reactor saw an error and not what it is; reading tells.
        if not self._is_closed:
            self.doRead()
            self._ended(EOFError("socket lost"))


@lru_cache(maxsize=16)
def where(address: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """The family of a server's socket, and its address for ``connect``."""
    family = socket.AddressFamily(dns.inet.af_for_address(address))
    return family, dns.inet.low_level_address_tuple((address, port), family)
