"""A large content on its way from the store to a connection, one piece at a time.

The next piece is read when there is room for it in the transport (or, with BDAT, when the server has answered the
one before), so that a message of any size costs the memory of two pieces.

It is a push producer: a pull producer is asked by Twisted's TLS again and again, in a busy loop, while a piece is read.

The rule that must not be broken: the end of the content is said only when every octet was, and as many as promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from relay.deliver.connection import Connection, Errand


class Content(Protocol):
    """The content of a queued message, to be read in pieces from its beginning."""

    def read(self) -> Deferred[bytes]:
        """The next piece; empty at the end."""
        ...

    def close(self) -> None: ...


class WrongSize(Exception):
    """The store gave more or less than the message's size."""


@implementer(IPushProducer)
class Pump:
    """Moves the pieces and then the rest of an Errand's content."""

    def __init__(self, connection: Connection, errand: Errand, content: Content) -> None:
        self._connection = connection
        self._errand = errand
        self._content = content
        self._before = b"".join(errand.pieces)
        self._moved = 0
        self._is_reading = False
        self._is_registered = False
        self._is_paused = False
        self._is_wanted = False
        self._is_turning = False
        self._is_over = False

    def start(self) -> None:
        if not self._errand.transaction.chunked:
            self._is_registered = True
            self._connection.carrier.registerProducer(self, True)
        self.read_on()

    def read_on(self) -> None:
        """The next piece is wanted."""
        self._is_wanted = True
        if self._is_turning:
            return  # who turns goes on by itself: a store that answers at once must not make us call ourselves
        self._is_turning = True
        try:
            while self._is_wanted and not (self._is_reading or self._is_paused or self._is_over):
                self._is_wanted = False
                self._is_reading = True
                self._content.read().addCallbacks(self._got, self._failed)
        finally:
            self._is_turning = False

    def pauseProducing(self) -> None:
        """The transport holds enough."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self.read_on()

    def stopProducing(self) -> None:
        """The transport is gone; the connection hears of it by itself."""
        self._is_registered = False
        self.stop()

    def stop(self) -> None:
        """No more, whether all of it went or not."""
        if not self._is_over:
            self._is_over = True
            self._content.close()
        self._unregister()

    def _unregister(self) -> None:
        if self._is_registered:
            self._is_registered = False
            self._connection.carrier.unregisterProducer()

    def _got(self, piece: bytes) -> None:
        self._is_reading = False
        if self._is_over:
            return
        ended = not piece
        before, self._before = self._before, b""
        self._moved += len(before) + len(piece)
        size = self._errand.transaction.size
        if self._moved > size or (ended and self._moved < size):
            self._connection.cut_short(WrongSize(f"{self._moved} octets of content instead of {size}"))
            return
        if ended:
            self._unregister()
        self._connection.send_pieces(before, piece, ended=ended)
        if self._is_registered:
            self.read_on()

    def _failed(self, failure: Failure) -> None:
        self._is_reading = False
        if not self._is_over:
            error = failure.value
            self._connection.cut_short(error if isinstance(error, Exception) else WrongSize(str(error)))
