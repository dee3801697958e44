"""An answer that may be long: written as fast as its reader takes it, and never gathered.

The rule that must not be broken: a reader that does not read stops what is made for it, and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer


@implementer(IPushProducer)
class Outlet:
    """Where the pieces of one answer go."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._writable: Deferred[None] | None = None  # there while the reader does not keep up

    async def send(self, pieces: AsyncIterator[bytes]) -> None:
        """Writes all of them.  Who hangs up cancels it (relay.operate.web.answering)."""
        self._request.registerProducer(self, True)
        try:
            async for piece in pieces:
                self._request.write(piece)
                if self._writable is not None:
                    await self._writable
        finally:
            self._request.unregisterProducer()

    def pauseProducing(self) -> None:
        if self._writable is None:
            self._writable = Deferred()

    def resumeProducing(self) -> None:
        if self._writable is not None:
            writable, self._writable = self._writable, None
            writable.callback(None)

    def stopProducing(self) -> None:
        """The reader is gone; whoever asked hears of that by its request."""
