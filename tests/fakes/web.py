"""A web server with TLS on loopback, in the reactor of the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet import reactor
from twisted.internet.interfaces import IListeningPort
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.fakes.authority import Issued


@dataclass
class Asked:
    """A request as it came."""

    method: str
    host: str
    path: str
    form: dict[str, str]
    fields: dict[str, str]
    body: bytes


@dataclass
class Web:
    """See the module.

    answer  asked -> status, media type, body; None: no answer ever
    """

    answer: Callable[[Asked], tuple[int, str, bytes] | None]
    asked: list[Asked] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def listen(self, certificate: Issued) -> IListeningPort:
        site = Site(_Everything(self))
        site.noisy = False
        return reactor.listenSSL(0, site, certificate, interface="127.0.0.1")

    def listen_in_the_clear(self) -> IListeningPort:
        site = Site(_Everything(self))
        site.noisy = False
        return reactor.listenTCP(0, site, interface="127.0.0.1")


class _Everything(Resource):
    isLeaf = True

    def __init__(self, web: Web) -> None:
        super().__init__()
        self._web = web

    def render(self, request: Request) -> bytes | int:
        form = {name.decode(): values[0].decode() for name, values in (request.args or {}).items()}
        host = (request.getHeader("host") or "").partition(":")[0]
        fields = {
            name.decode().lower(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        request.content.seek(0)
        body = request.content.read()
        asked = Asked(request.method.decode(), host, request.path.decode(), form, fields, body)
        self._web.asked.append(asked)
        answer = self._web.answer(asked)
        if answer is None:
            return NOT_DONE_YET
        status, kind, body = answer
        request.setResponseCode(status)
        request.setHeader("Content-Type", kind)
        for name, value in self._web.headers.items():
            request.setHeader(name, value)
        return body
