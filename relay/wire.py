"""Octets that leave at once.

A Twisted transport keeps what is written until its event loop comes round: two system calls to be told that the socket
is writable, and a turn of the loop, for each reply of thirty octets.  A socket almost always is writable; so what
can be sent is sent straight away, and only what it does not take goes the long way.

The rule that must not be broken: nothing overtakes what the transport still holds, and nothing passes TLS by.
"""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """What of a stream transport is used."""

    def write(self, data: bytes) -> None: ...


class Wire:
    """Writes to one transport."""

    __slots__ = ("_is_behind", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        # Of a transport that once fell behind nobody tells when it has caught up: it stays on the long way.
        # Asked of its class: a TLS transport passes what it does not know itself on to the socket beneath it.
        self._is_behind = not hasattr(type(transport), "writeSomeData")

    def write(self, data: bytes) -> None:
        """Sends the octets, now if possible, else as soon as the peer takes them."""
        transport = self._transport
        if not self._is_behind:
            # Once TLS has begun, ``write`` leads through it, and the socket must not be touched.
            if getattr(transport, "TLS", False) or not getattr(transport, "connected", False):
                self._is_behind = True
            else:
                sent = transport.writeSomeData(data)  # type: ignore[attr-defined]  # looked for above
                if sent == len(data):
                    return
                self._is_behind = True
                if isinstance(sent, int):  # else the connection is lost, as the transport will find out
                    data = data[sent:]
        transport.write(data)
