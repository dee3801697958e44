"""Getting a session with a host: its addresses in order, quickly past those that do not answer.

The next address is tried at once when one fails, and beside it when it keeps silent (RFC 8305 §5); the first that
connects is talked to, and the others are let go.  A host that turns us away on one address is asked on the next
(RFC 5321 §5.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectionRefusedError, NoRouteError, TCPTimedOutError, TimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from relay.deliver.classify import session_refused, unreachable
from relay.deliver.connection import Connection
from relay.deliver.settings import DeliverySettings
from relay.message.account import Part
from relay.message.outcome import Deferred
from relay.route.via import Hop
from relay.smtp.client_events import SessionEnded
from relay.smtp.transaction import Step

_unix: Callable[..., IStreamClientEndpoint] = UNIXClientEndpoint  # it has no types of its own


class Dial(Protocol):
    """Says how to reach an address; the seam where a simulation puts its own network.

    address  textual IP address; empty for a hop with a path
    """

    def __call__(self, hop: Hop, address: str, timeout_s: float) -> IStreamClientEndpoint: ...


def dial_by(reactor: IReactorTime) -> Dial:
    """Real sockets."""

    def dial(hop: Hop, address: str, timeout_s: float) -> IStreamClientEndpoint:
        if hop.path is not None:
            return _unix(cast(IReactorUNIX, reactor), hop.path, timeout=timeout_s)
        endpoint = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        return endpoint(cast(IReactorTCP, reactor), address, hop.port, timeout=timeout_s)

    return dial


def label_of(hop: Hop, address: str) -> str:
    """The host as it stands in outcomes: ``name [address]``."""
    if hop.path is not None:
        return hop.path
    return f"[{address}]" if hop.host == address else f"{hop.host} [{address}]"


class _Builds(Factory):
    noisy = False

    def __init__(self, build: Callable[[], Connection]) -> None:
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return self._build()


class Opening:
    """One attempt to get a session.

    build      makes the connection for a label, plain or not; its keeper is this Opening until it is open
    succeeded  is given the open connection
    failed     is told why there is none
    closed     is told of each connection whose socket is gone

    said  what was said in the sessions that did not come to be, or why there was none
    """

    def __init__(
        self,
        hop: Hop,
        addresses: Sequence[str],
        *,
        clock: IReactorTime,
        dial: Dial,
        settings: DeliverySettings,
        build: Callable[[Opening, str, bool], Connection],
        succeeded: Callable[[Opening, Connection], None],
        failed: Callable[[Opening, Deferred], None],
        closed: Callable[[Connection], None],
    ) -> None:
        self._hop = hop
        self._untried = list(addresses)
        self._clock = clock
        self._dial = dial
        self._settings = settings
        self._build = build
        self._succeeded = succeeded
        self._failed = failed
        self._closed = closed
        self._dialling: dict[str, defer.Deferred[IProtocol]] = {}
        self._talking: Connection | None = None
        self._talking_to = ""
        self._plain: set[str] = set()  # addresses where TLS was only an opportunity, and failed
        self._stagger: IDelayedCall | None = None
        self._why = unreachable("no address to connect to", hop.host)
        self._is_over = False
        self.said: list[Part] = []

    def start(self) -> None:
        self._next()

    def cancel(self) -> None:
        """Gives up; nobody is told."""
        self._is_over = True
        self._stop_dialling()
        if self._talking is not None:
            self._talking.abort()

    def _next(self) -> None:
        """The next address, or the end when there is none."""
        self._stop_stagger()
        if not self._untried:
            if not self._dialling and self._talking is None and not self._is_over:
                self._is_over = True
                self._failed(self, self._why)
            return
        address = self._untried.pop(0)
        if self._untried:
            self._stagger = self._clock.callLater(self._settings.stagger_s, self._next)
        label = label_of(self._hop, address)
        endpoint = self._dial(self._hop, address, self._settings.connect_timeout_s)
        plain = address in self._plain
        dialling = endpoint.connect(_Builds(lambda: self._build(self, label, plain)))
        self._dialling[address] = dialling
        dialling.addCallbacks(self._connected, self._refused, callbackArgs=(address,), errbackArgs=(address, label))

    def _connected(self, connection: IProtocol, address: str) -> None:
        connection = cast(Connection, connection)
        self._dialling.pop(address, None)
        if self._is_over or self._talking is not None:
            connection.abort()
            return
        self._talking = connection
        self._talking_to = address
        self._stop_dialling()

    def _refused(self, failure: Failure, address: str, label: str) -> None:
        self._dialling.pop(address, None)
        if self._is_over:
            return
        if isinstance(failure.value, defer.CancelledError) and self._talking is not None:
            self._untried.insert(0, address)  # another was quicker; this one may still be needed
            return
        port = f":{self._hop.port}" if self._hop.path is None else ""
        self._why = unreachable(f"connect to {label}{port}: {_in_words(failure)}", label)
        self.said.append((label, "", [(self._clock.seconds(), str(self._why.reply))]))
        if self._talking is None:
            self._next()

    def _stop_dialling(self) -> None:
        self._stop_stagger()
        for dialling in list(self._dialling.values()):
            dialling.cancel()

    def _stop_stagger(self) -> None:
        if self._stagger is not None and self._stagger.active():
            self._stagger.cancel()
        self._stagger = None

    # -- as the keeper of the connection that it talks to ------------------------------------

    def opened(self, connection: Connection) -> None:
        self._is_over = True
        connection.before = self.said
        self._succeeded(self, connection)

    def ended(self, connection: Connection, how: SessionEnded) -> None:
        if connection is not self._talking or self._is_over:
            return
        self._talking = None
        self._why = session_refused(how, connection.label)
        remark = [] if how.reply is not None else [(self._clock.seconds(), how.why)]
        tls = connection.guard.tls if connection.guard is not None else ""
        self.said.append((connection.label, tls, [*connection.session.record, *remark]))
        if connection.guard is not None and connection.guard.ended(how):
            self._plain.add(self._talking_to)
            self._untried.insert(0, self._talking_to)
        elif how.step is Step.AUTH:
            self._untried.clear()  # our password is not better at its other addresses, and is soon locked out
        self._next()

    def released(self, connection: Connection) -> None:
        """Nobody holds it yet."""

    def nearly_free(self, connection: Connection) -> None:
        """Nobody holds it yet."""

    def closed(self, connection: Connection) -> None:
        self._closed(connection)


def _in_words(failure: Failure) -> str:
    """Why there is no connection, as people say it who do not know Twisted."""
    if failure.check(ConnectionRefusedError):
        return "connection refused"
    if failure.check(TimeoutError, TCPTimedOutError):
        return "no answer"
    if failure.check(NoRouteError):
        return "no route to host"
    return failure.getErrorMessage().rstrip(".")
