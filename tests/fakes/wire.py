"""A transport in memory, for protocols that are given a stream."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport


class Wire(StringTransport):
    """A StringTransport that knows what else our protocols ask of a connection.

    peer     the client's address
    aborted  the connection was dropped
    """

    def __init__(self, peer: object | None = None) -> None:
        super().__init__(peerAddress=peer if peer is not None else IPv4Address("TCP", "127.0.0.1", 40000))
        self.aborted = False
        self.delay = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.delay = not enabled

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    def taken(self) -> bytes:
        """What was written since the last look."""
        data: bytes = self.value()
        self.clear()
        return data
