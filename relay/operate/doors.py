"""The ports of a relay: bound first, as root if need be, and served when all is ready."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from relay.operate.sockets import why_not
from relay.operate.surroundings import Surroundings


class CannotBind(Exception):
    """The port cannot be had; ``str()`` says why, and what would help."""


class Doorway(Factory):
    """A port that is open before the relay is.

    inner  makes the protocols; until then whoever comes is turned away
    """

    noisy = False

    def __init__(self) -> None:
        self.inner: IProtocolFactory | None = None

    def logPrefix(self) -> str:
        """What Twisted's log calls who listens."""
        return "relay"

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return cast(Any, self.inner).buildProtocol(addr) if self.inner is not None else None


class Doors:
    """All of them.

    ports  those that are open
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self.ports: list[IListeningPort] = []

    def bind(self, endpoint: str, place: str) -> Doorway:
        """Opens a port.  Raises CannotBind.

        endpoint  its Twisted description
        place     where the configuration wants it
        """
        door, faults = Doorway(), list[Failure]()
        # Endpoints of servers answer at once; one that did not could not be waited for before privileges are dropped.
        maybeDeferred(self._around.listen, endpoint, door).addCallbacks(self.ports.append, faults.append)
        for failure in faults:
            raise CannotBind(why_not(place, endpoint, failure))
        return door

    def add(self, port: IListeningPort) -> None:
        """One that somebody else has bound, to be closed with the others."""
        self.ports.append(port)

    def close(self) -> Deferred[Any]:
        """Nobody comes in any more; fires when all are closed."""
        return gatherResults([maybeDeferred(port.stopListening) for port in self.ports])
