"""What programs get: a resource that takes its time, and answers whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

JSON = "application/json"

_log = Logger()


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that is in memory as a whole.

    kind   the media type
    more   other fields of the header
    """

    status: HTTPStatus
    kind: str
    body: bytes
    more: Mapping[str, str] = field(default_factory=dict)


def plain(status: HTTPStatus, text: str) -> Answered:
    return Answered(status, "text/plain; charset=utf-8", text.encode())


def in_json(status: HTTPStatus, value: object) -> Answered:
    return Answered(status, JSON, json.dumps(value, separators=(",", ":")).encode() + b"\n")


class Answering(Resource):
    """A resource for GET."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)

    async def answer(self, request: Request) -> Answered:
        raise NotImplementedError

    def render(self, request: Request) -> bytes | int:
        if request.method not in (b"GET", b"HEAD"):
            send(request, plain(HTTPStatus.METHOD_NOT_ALLOWED, "There is nothing but GET here.\n"))
            return NOT_DONE_YET
        answered = Deferred.fromCoroutine(self.answer(request))
        request.notifyFinish().addErrback(lambda _: answered.cancel())
        answered.addCallbacks(lambda answer: send(request, answer)).addErrback(failed, request)
        return NOT_DONE_YET


def send(request: Request, answer: Answered) -> None:
    """Sends it, and ends the request."""
    request.setResponseCode(answer.status)
    request.setHeader("Content-Type", answer.kind)
    for name, value in answer.more.items():
        request.setHeader(name, value)
    request.setHeader("Content-Length", str(len(answer.body)))
    if request.method != b"HEAD":
        request.write(answer.body)
    request.finish()


def failed(failure: Failure, request: Request) -> None:
    """Who asked has gone; or a defect of ours."""
    if failure.check(CancelledError) is not None and getattr(request, "_disconnected", False):
        return
    _log.failure("a request failed: {path}", failure=failure, path=request.path[:200])
    send(request, plain(HTTPStatus.INTERNAL_SERVER_ERROR, "A fault in the relay; its log has the details.\n"))
