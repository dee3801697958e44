"""Who may come in to the page and the API.

    without a token  who is on this machine, and asks for it under a name that only this machine has
    with one         who shows it: once, in a form, for a session; or with every request, as a bearer (RFC 6750 §2.1)

Sessions are kept in memory and end with the relay.  A visitor is whoever keeps our cookie, logged in or not: what his
forms must bring along is made from it.

The rules that must not be broken: without a token nobody is answered who was led here by a foreign name (DNS
rebinding) or by a proxy; no request that another site had a browser make changes anything; a wrong token costs time.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request

from relay.policy.attempts import AttemptLimits, Attempts
from relay.receive.attendance import client_group

TOKEN_LEAST_CHARACTERS = 16
SESSIONS_LIMIT = 100
IDLE_S = 12 * 3600.0
LONGEST_S = 7 * 86400.0
VISITOR_OCTETS = 24

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_SAFE = (b"GET", b"HEAD", b"OPTIONS")


@dataclass(frozen=True, slots=True)
class Turned:
    """A request is turned away: the status, and why in words."""

    status: HTTPStatus
    why: str


SHUT = Turned(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The file of admin.token_file holds no token any more, so nobody is let in until it holds one and the relay is "
    "reloaded. On this machine the command relay status still answers.",
)
"""503 and not 401: a program that sends mail through the API is to try again."""


@dataclass(slots=True)
class _Session:
    begun_at: float
    used_at: float


@dataclass(slots=True)
class Visitor:
    """Whoever keeps our cookie.

    name      what the cookie holds
    is_fresh  it was made just now, and the browser must be told
    """

    name: str
    is_fresh: bool = False


@dataclass(slots=True)
class Entry:
    """See the module.

    token     what lets somebody in; None: nobody needs it
    is_shut   nobody is let in, whatever is shown
    hostname  how this machine is called, beside localhost
    """

    clock: IReactorTime
    token: str | None
    hostname: str
    chance: Callable[[int], bytes] = secrets.token_bytes
    is_shut: bool = field(default=False, init=False)
    _key: bytes = field(init=False)
    _sessions: OrderedDict[str, _Session] = field(default_factory=OrderedDict)
    _attempts: Attempts = field(default_factory=lambda: Attempts(AttemptLimits()))

    def __post_init__(self) -> None:
        self._key = self.chance(32)

    def use(self, token: str | None) -> None:
        """Another token; who came in by the old one is out."""
        self.is_shut = False
        if token != self.token:
            self.token = token
            self._sessions.clear()

    def shut(self) -> None:
        """Nobody is let in until there is a token again; who came in by the old one is out."""
        self.use(self.chance(32).hex())  # one that nobody has
        self.is_shut = True

    # -- a request -------------------------------------------------------------------------------

    def turned_away(self, request: Request) -> Turned | None:
        """Why this request is not even looked at; None when it is."""
        if self.token is None:
            if any(request.getHeader(name) for name in _FORWARDED):
                return Turned(
                    HTTPStatus.FORBIDDEN,
                    "A proxy passes this request on, and then anybody might send it. "
                    "Set admin.token_file in the configuration, so that those who come in have to show a token.",
                )
            if not self._is_our_name(_host_of(request)):
                return Turned(
                    HTTPStatus.MISDIRECTED_REQUEST,
                    "Without a token this page answers only under a name of this machine: localhost, an IP address, "
                    "or the hostname of the configuration. Use one of these, or set admin.token_file there.",
                )
        if request.method not in _SAFE and _is_of_another_site(request):
            return Turned(HTTPStatus.FORBIDDEN, "Another site had your browser send this. Nothing was changed.")
        return None

    def is_in(self, request: Request) -> bool:
        """Whether whoever sent this may see and do what there is."""
        if self.token is None:
            return True
        bearer = _bearer_of(request)
        return self._is_token(bearer) if bearer is not None else self._has_session(self._cookie_of(request))

    def _is_our_name(self, host: str) -> bool:
        name = host.rstrip(".").lower()
        if not name:
            return True  # no browser leaves it out
        if name == "localhost" or name.endswith(".localhost") or name == self.hostname.rstrip(".").lower():
            return True
        return _is_address(name)  # a page of another site has a name

    # -- visitors --------------------------------------------------------------------------------

    def visitor(self, request: Request) -> Visitor:
        """Who this is, by the cookie; else somebody new, who must be given one."""
        known = self._cookie_of(request)
        return Visitor(known) if known is not None else Visitor(self.chance(VISITOR_OCTETS).hex(), True)

    def remember(self, request: Request, visitor: Visitor) -> None:
        """Gives the browser its cookie."""
        request.addCookie(
            self._cookie_name(request),
            visitor.name,
            path=b"/",
            httpOnly=True,
            secure=is_secure(request),
            sameSite=b"strict",
        )

    def seal(self, visitor: Visitor) -> str:
        """What this visitor's forms bring along, and no other site can know."""
        return hmac.new(self._key, visitor.name.encode(), hashlib.sha256).hexdigest()

    def is_sealed(self, visitor: Visitor, seal: str) -> bool:
        """Whether a form is one that this visitor was given."""
        return not visitor.is_fresh and hmac.compare_digest(self.seal(visitor).encode(), seal.encode())

    def _cookie_of(self, request: Request) -> str | None:
        found: bytes | None = request.getCookie(self._cookie_name(request))
        text = found.decode("latin-1") if found is not None else ""
        return text if len(text) == 2 * VISITOR_OCTETS and text.isascii() and text.isalnum() else None

    @staticmethod
    def _cookie_name(request: Request) -> bytes:
        """Cookies know no ports, so two relays on one machine need two names."""
        port = _port_of(request)
        return b"__Host-relay" + port if is_secure(request) else b"relay" + port

    # -- sessions --------------------------------------------------------------------------------

    def try_token(self, request: Request, said: str) -> tuple[Visitor | None, float]:
        """A token from the form.  Gives the visitor who is in by it, or None and how many seconds to hold back that
        answer.  Infinite: this client has tried too often, and what it says is not looked at."""
        now, client = self.clock.seconds(), client_of(request)
        if self._attempts.is_locked_out(client, "", now):
            return None, float("inf")
        if not self._is_token(said):
            return None, self._attempts.failed(client, "", now)
        visitor = Visitor(self.chance(VISITOR_OCTETS).hex(), True)  # a name known before is not worth more
        self._sessions[visitor.name] = _Session(now, now)
        while len(self._sessions) > SESSIONS_LIMIT:
            self._sessions.popitem(last=False)
        return visitor, 0.0

    def log_out(self, request: Request) -> None:
        """Ends the session of this request."""
        self._sessions.pop(self._cookie_of(request) or "", None)

    def _is_token(self, said: str) -> bool:
        ours = hashlib.sha256((self.token or "").encode()).digest()
        return self.token is not None and hmac.compare_digest(hashlib.sha256(said.encode()).digest(), ours)

    def _has_session(self, name: str | None) -> bool:
        session = self._sessions.get(name or "")
        if session is None:
            return False
        now = self.clock.seconds()
        if now - session.used_at > IDLE_S or now - session.begun_at > LONGEST_S:
            del self._sessions[name or ""]
            return False
        session.used_at = now
        self._sessions.move_to_end(name or "")
        return True


def client_of(request: Request) -> str:
    """Whose failures are counted together: of what a proxy on this machine passes on, those of whom it names, or one
    stranger's wrong tokens would lock out everybody who comes the same way."""
    host: str = getattr(request.getClientAddress(), "host", "") or ""
    if not host or (_is_address(host) and ipaddress.ip_address(host).is_loopback):
        named = (request.getHeader("x-forwarded-for") or "").rpartition(",")[2].strip()
        host = named if _is_address(named) else host
    return client_group(host)


def is_secure(request: Request) -> bool:
    """Whether the browser speaks HTTPS: to us, or to a proxy that says so.  It decides only what a cookie is like."""
    return request.isSecure() or request.getHeader("x-forwarded-proto") == "https"


def _host_of(request: Request) -> str:
    """The name or address in the Host field, without port and brackets."""
    said = request.getHeader("host") or ""
    if said.startswith("["):
        return said[1:].partition("]")[0]
    return said.partition(":")[0]


def _port_of(request: Request) -> bytes:
    port = (request.getHeader("host") or "").rpartition("]")[2].rpartition(":")[2]
    return f"-{port}".encode() if port.isascii() and port.isdigit() and len(port) <= 5 else b""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _bearer_of(request: Request) -> str | None:
    scheme, _, said = (request.getHeader("authorization") or "").partition(" ")
    return said.strip() if scheme.lower() == "bearer" else None


def _is_of_another_site(request: Request) -> bool:
    """By what browsers say of whence a request comes; other clients say nothing, and have no cookies of anybody."""
    site = request.getHeader("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.getHeader("origin")
    if origin is None:
        return False
    ours = (request.getHeader("host"), request.getHeader("x-forwarded-host"))
    return origin.partition("://")[2] not in ours
