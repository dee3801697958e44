"""The web server of the page, the API and the metrics: its limits, the fields of every response, its tree.

    /              the pages
    /assets/       style, script, picture; the only thing that strangers get beside the login
    more           whatever ``Tree.hang`` puts beside them

The rule that must not be broken: nothing is answered before ``Entry`` has looked at the request, and a body is bounded
before it is read.
"""

# mypy: disable-error-code="no-untyped-call"
# twisted.web has no annotations where these classes begin.

from __future__ import annotations

import enum
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, cast
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, ITransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from relay.operate.web.entry import SHUT, Entry, Turned
from relay.operate.web.inbound import Inbound, too_large

IDLE_S = 60.0
LAST_WORDS_S = 1.0
CONNECTIONS_LIMIT = 200
BODY_LIMIT_OCTETS = 256 * 1024
"""What a form may have: some ten thousand ids."""


def _problem(status: int, detail: str) -> bytes:
    """A whole answer, for what is refused before there is a request."""
    phrase = HTTPStatus(status).phrase
    said = f'{{"type":"about:blank","title":"{phrase}","status":{status},"detail":"{detail}"}}\n'
    return (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(said)}\r\n\r\n{said}"
    ).encode()


_LESS_AT_ONCE = "say it in several requests, or name what you mean by sender, recipient or destination"

FIELDS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "relay",
}
"""In every response; a resource may say another Cache-Control."""


class Access(enum.Enum):
    """Who may have a branch of the tree, and what others hear."""

    ANYBODY = "anybody"
    ITS_OWN = "its own"  # it looks for itself, and answers in its own way whom it turns away
    BEARER = "bearer"  # others hear 401
    PERSON = "person"  # others are led to the login


class Receives(Protocol):
    """Takes the body of a request as it comes; gives None when the usual way will do."""

    def __call__(self, request: AdminRequest, method: bytes, uri: bytes, length: int | None, /) -> Inbound | None: ...


class Tree(Resource):
    """The root of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.access: dict[bytes, Access] = {}
        self.limits: dict[bytes, int] = {}
        self.receivers: dict[bytes, Receives] = {}

    def hang(
        self, name: str, resource: IResource, access: Access = Access.PERSON, limit_octets: int = BODY_LIMIT_OCTETS
    ) -> None:
        """Puts a branch at ``/name``.

        limit_octets  the largest body of a request that is taken there
        """
        self.putChild(name.encode(), resource)
        self.access[name.encode()] = access
        self.limits[name.encode()] = limit_octets

    def take_bodies(self, name: str, receives: Receives) -> None:
        """Bodies for a branch are given to it as they come, where it wants that."""
        self.receivers[name.encode()] = receives

    def receiver_of(self, path: bytes) -> Receives | None:
        return self.receivers.get(_first(path))

    def access_to(self, path: bytes) -> Access:
        return self.access.get(_first(path), Access.PERSON)

    def limit_of(self, path: bytes) -> int:
        return self.limits.get(_first(path), BODY_LIMIT_OCTETS)


class AdminChannel(HTTPChannel):
    """A connection; there are only so many."""

    site: AdminSite

    @property
    def is_answered(self) -> bool:
        """Whether a request is here whole, and its answer is under way."""
        return bool(self.requests) and self.requests[0].is_whole

    def connectionMade(self) -> None:
        self.site.admit(self)
        super().connectionMade()

    def lineLengthExceeded(self, line: bytes) -> None:
        """An address or a field of 16 KiB.  Twisted would hang up without a word."""
        cast(ITransport, self.transport).write(
            _problem(431 if self.requests else 414, "that is more than is read here")
        )
        self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.channels.pop(self, None)
        super().connectionLost(reason)


class AdminRequest(Request):
    """A request whose body is bounded.

    is_whole  all of it has come
    """

    is_whole = False
    _left_octets = 0
    _limit_octets = 0
    _is_refused = False
    _inbound: Inbound | None = None
    taken: Deferred[Any] | None = None
    """What becomes of a body that was taken as it came."""

    @property
    def _channel(self) -> Any:
        return self.channel  # there as long as nothing is answered

    def gotLength(self, length: int | None) -> None:
        """The head of the request is here; ``length`` is None when it does not tell."""
        # Twisted tells the path only when the body has come; by then it is too late.
        path: bytes = getattr(self._channel, "_path", b"")
        tree: Tree = self._channel.site.resource
        receives = tree.receiver_of(path.partition(b"?")[0])
        if receives is not None:
            self._inbound = receives(self, getattr(self._channel, "_command", b""), path, length)
            if self._inbound is not None:
                super().gotLength(0)
                if self._inbound.is_too_large:
                    self._refuse(self._inbound.limit_octets, self._inbound.advice)
                return
        self._left_octets = self._limit_octets = tree.limit_of(path.partition(b"?")[0])
        super().gotLength(0 if length is None else min(length, self._left_octets))
        if length is not None and length > self._limit_octets:
            self._refuse(self._limit_octets)

    def pause(self) -> None:
        """Stops reading from the client."""
        self._channel.transport.pauseProducing()

    def resume(self) -> None:
        if self.channel is not None:
            self._channel.transport.resumeProducing()

    def handleContentChunk(self, data: bytes) -> None:
        if self._inbound is not None:
            self._inbound.receive(data)
            if self._inbound.is_too_large:
                self._refuse(self._inbound.limit_octets, self._inbound.advice)
            return
        self._left_octets -= len(data)
        if self._left_octets < 0:
            self._refuse(self._limit_octets)
        if not self._is_refused:
            super().handleContentChunk(data)

    def _refuse(self, limit_octets: int, advice: str = _LESS_AT_ONCE) -> None:
        """Says so at once, and hears out for a moment what still comes: who closes at once is not heard."""
        if not self._is_refused:
            self._is_refused = True
            self.requestHeaders.removeHeader(b"Expect")
            self._channel.transport.write(_problem(413, too_large(limit_octets, advice)))
            self._channel.callLater(LAST_WORDS_S, self._channel.loseConnection)

    def process(self) -> None:
        self.is_whole = True
        if self._inbound is not None:
            self._inbound.end()
        if self._is_refused:
            self._channel.loseConnection()
            return
        for name, value in FIELDS.items():
            self.responseHeaders.setRawHeaders(name, [value])
        super().process()

    def setHeader(self, name: Any, value: Any) -> None:
        if name != b"Server":  # Twisted's own name and version concern nobody
            super().setHeader(name, value)


class AdminSite(Site):
    """Serves the tree to those who may come in.

    channels  the connections that are open, in the order in which they came
    """

    noisy = False
    displayTracebacks = False
    protocol: Any = AdminChannel  # and not HTTP/2, where it happens to be installed

    def __init__(self, tree: Tree, entry: Entry, clock: IReactorTime, welcome: Callable[[Turned], IResource]) -> None:
        """welcome  what somebody gets who is turned away"""
        super().__init__(
            tree, requestFactory=AdminRequest, timeout=IDLE_S, reactor=clock, parsePOSTFormSubmission=False
        )
        self.entry = entry
        self.channels: dict[AdminChannel, None] = {}
        self._welcome = welcome

    def admit(self, channel: AdminChannel) -> None:
        """Takes one more.  When there are too many, the oldest makes room that has not said yet what it wants: else
        whoever says it a letter a minute could keep everybody out."""
        self.channels[channel] = None
        if len(self.channels) > CONNECTIONS_LIMIT:
            leaves = next((one for one in self.channels if not one.is_answered), channel)
            del self.channels[leaves]
            cast(Any, leaves.transport).abortConnection()

    def close(self) -> None:
        """Ends all connections: what is written still leaves, what is only being made does not."""
        for channel in list(self.channels):
            channel.loseConnection()

    def getResourceFor(self, request: Request) -> IResource:
        access = self.resource.access_to(request.path)
        turned = self.entry.turned_away(request) if access is not Access.ITS_OWN else None
        if turned is not None:
            return self._welcome(turned)
        if access in (Access.ANYBODY, Access.ITS_OWN) or self.entry.is_in(request):
            found: IResource = super().getResourceFor(request)
            return found
        if self.entry.is_shut:
            return self._welcome(SHUT)
        return LeadToLogin() if access is Access.PERSON else NoBearer()


class LeadToLogin(Resource):
    """For a browser whose user has not logged in."""

    isLeaf = True

    def render(self, request: HttpRequest) -> bytes:
        back = f"?next={quote(request.uri, safe='/')}" if request.method == b"GET" and request.uri != b"/" else ""
        request.setResponseCode(HTTPStatus.SEE_OTHER)
        request.setHeader("Location", f"/login{back}")
        return b""


class NoBearer(Resource):
    """For a program that has shown no token, or a wrong one."""

    isLeaf = True

    def render(self, request: HttpRequest) -> bytes:
        request.setResponseCode(HTTPStatus.UNAUTHORIZED)
        request.setHeader("WWW-Authenticate", 'Bearer realm="relay"')
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        return b"Show the token of admin.token_file: Authorization: Bearer TOKEN\n"


def _first(path: bytes) -> bytes:
    return path.lstrip(b"/").partition(b"/")[0]
