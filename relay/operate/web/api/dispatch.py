"""From a request to its operation, and from the answer back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from http import HTTPStatus

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.web.answering import Answered, in_json, send
from relay.operate.web.api.messages import MESSAGES, EnvelopeQuery, Submission
from relay.operate.web.api.openapi import description
from relay.operate.web.api.operation import NDJSON, Answer, Call, Json, Octets, Operation, Row, Topic
from relay.operate.web.api.problem import Problem, problem_of
from relay.operate.web.api.reading import body_of, kind_of, query_of
from relay.operate.web.entry import SHUT, Entry
from relay.operate.web.inbound import BrokenOff, Inbound
from relay.operate.web.page import Asks
from relay.operate.web.site import AdminRequest
from relay.operate.web.streaming import Outlet

VERSION = "v1"
MESSAGES_PATH = b"/api/v1/messages"
DESCRIPTION = "openapi.json"
WRITTEN_AT_ONCE_OCTETS = 32 * 1024

_log = Logger()
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Api(Resource):
    """The branch ``/api`` of the tree."""

    isLeaf = True

    def __init__(
        self, topics: Sequence[Topic], asks: Asks, entry: Entry, clock: IReactorTime, submission: Submission
    ) -> None:
        Resource.__init__(self)
        self._operations = [operation for topic in topics for operation in topic.operations]
        self._description = lru_cache(1)(lambda: in_json(HTTPStatus.OK, description(topics)))  # few ever ask
        self._asks = asks
        self._entry = entry
        self._clock = clock
        self._submission = submission

    def receives(self, request: AdminRequest, method: bytes, uri: bytes, length: int | None) -> Inbound | None:
        """Takes the body of a message as it comes; of other requests Twisted gathers what is allowed.  Called when the
        head of the request is there."""
        path, _, _ = uri.partition(b"?")
        if method != b"POST" or path.rstrip(b"/") != MESSAGES_PATH:
            return None
        kind, submission = kind_of(request), self._submission
        body = Inbound(
            length, submission.limit_of(kind), request.pause, request.resume, submission.when_too_large(kind)
        )
        if body.is_too_large:
            return body  # the site refuses it, unread
        request.method, request.uri = method, uri
        request.taken = Deferred.fromCoroutine(self._take(request, kind, body))
        request.notifyFinish().addErrback(lambda _: body.break_off())
        return body

    async def _take(self, request: AdminRequest, kind: str, body: Inbound) -> Answer | Problem:
        """What becomes of a message; ``_do`` answers it when all of it has come."""
        try:
            self._may_come_in(request)
            (operation,) = MESSAGES.operations
            asked = query_of(operation, request)
            assert isinstance(asked, EnvelopeQuery)
            return await self._submission.take(ip_of(request), kind, asked, body)
        except Problem as problem:
            return problem
        except BrokenOff:
            return Problem(HTTPStatus.BAD_REQUEST, "the body broke off")
        except Exception:
            _log.failure("a message could not be taken")
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault in the relay; its log has the details")
        finally:
            body.refuse()

    def _may_come_in(self, request: Request) -> None:
        turned = self._entry.turned_away(request)
        if turned is not None:
            raise Problem(turned.status, turned.why)
        if self._entry.is_shut:
            raise Problem(SHUT.status, SHUT.why)
        if not self._entry.is_in(request):
            why = "show the token of admin.token_file: Authorization: Bearer TOKEN"
            raise Problem(HTTPStatus.UNAUTHORIZED, why, more={"WWW-Authenticate": 'Bearer realm="relay"'})

    def render(self, request: Request) -> int:
        answered = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answered.cancel())
        answered.addErrback(_failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        try:
            await self._do(request)
        except Problem as problem:
            _break_off(request) if request.startedWriting else send(request, problem.answered())
        except (NotRunning, CannotAsk, Refusal) as error:
            _break_off(request) if request.startedWriting else send(request, problem_of(error).answered())

    async def _do(self, request: Request) -> None:
        self._may_come_in(request)
        steps = [step.decode("utf-8", "replace") for step in request.postpath or ()]
        if steps and not steps[-1]:
            steps.pop()
        if steps == [VERSION, DESCRIPTION] and request.method in (b"GET", b"HEAD"):
            send(request, self._description())
            return
        operation, path = self._operation(request, steps)
        if operation.handle is None:
            await self._send_taken(request, operation)
            return
        call = Call(self._asks, self._clock, request, path)
        call.query = query_of(operation, request)
        call.body = body_of(operation, request)
        await _send(request, operation, await operation.handle(call))

    async def _send_taken(self, request: Request, operation: Operation) -> None:
        assert isinstance(request, AdminRequest) and request.taken is not None
        taken: Answer | Problem = await request.taken
        if isinstance(taken, Problem):
            raise taken
        await _send(request, operation, taken)

    def _operation(self, request: Request, steps: Sequence[str]) -> tuple[Operation, dict[str, str]]:
        if steps[:1] != [VERSION]:
            raise Problem(
                HTTPStatus.NOT_FOUND,
                f"what there is begins with /api/{VERSION}/, and /api/{VERSION}/{DESCRIPTION} describes it",
            )
        method = "GET" if request.method == b"HEAD" else request.method.decode("ascii", "replace")
        found = [(one, path) for one in self._operations if (path := one.takes(steps[1:])) is not None]
        of_place = [(one, path) for one, path in found if one.path == found[0][0].path]
        for one, path in of_place:
            if one.method == method:
                return one, dict(path)
        if found:
            allowed = sorted({one.method for one, _ in of_place})
            why = f"{method} is nothing that can be done here; {' and '.join(allowed)} can"
            raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, why, more={"Allow": ", ".join(allowed)})
        wanted, known = "/" + "/".join(steps[1:]), [one.path for one in self._operations]
        close = get_close_matches(wanted, known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"/api/{VERSION}/{DESCRIPTION} has all that there is"
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no {wanted}; {advice}")


async def _send(request: Request, operation: Operation, answer: Answer) -> None:
    if isinstance(answer, Octets):
        await _stream(request, answer.kind, answer.pieces, answer.more)
    elif isinstance(answer, Json):
        whole = in_json(answer.status, answer.value)
        send(request, Answered(whole.status, whole.kind, whole.body, answer.more))
    elif answer.page is None:
        await _stream(request, NDJSON, _each_line(answer.rows))
    elif operation.has_rows is not None and NDJSON in (request.getHeader("accept") or ""):
        await _stream(request, NDJSON, _lines(answer.rows))
    else:
        send(request, in_json(HTTPStatus.OK, await answer.page(answer.rows)))
        await _close(answer.rows)


async def _each_line(rows: AsyncIterator[Row]) -> AsyncIterator[bytes]:
    """Lines that do not wait for company."""
    yield b""  # the reader hears at once that he is heard
    async for row in rows:
        yield _encode(row).encode() + b"\n"


async def _lines(rows: AsyncIterator[Row]) -> AsyncIterator[bytes]:
    lines: list[str] = []
    gathered = 0
    async for row in rows:
        lines.append(_encode(row))
        gathered += len(lines[-1])
        if gathered >= WRITTEN_AT_ONCE_OCTETS:
            yield ("\n".join(lines) + "\n").encode()
            lines.clear()
            gathered = 0
    yield ("\n".join(lines) + "\n" if lines else "").encode()


async def _stream(
    request: Request, kind: str, pieces: AsyncIterator[bytes], more: Mapping[str, str] | None = None
) -> None:
    """Sends pieces.  The first is there before the status is said, so that what cannot be begun is a problem."""
    first = await anext(pieces, b"")
    request.setHeader("Content-Type", kind)
    for name, value in (more or {}).items():
        request.setHeader(name, value)
    if request.method != b"HEAD":
        request.write(first)
        await Outlet(request).send(pieces)
    await _close(pieces)
    request.finish()


async def _close(iterator: AsyncIterator[object]) -> None:
    """Lets go of what was not read to its end."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


def _break_off(request: Request) -> None:
    """An answer that could not be brought to its end must not look like a whole one: the last chunk is missing."""
    if request.channel is not None:  # else who asked has broken off himself
        request.channel.loseConnection()


def _failed(failure: Failure, request: Request) -> None:
    """Who asked has gone; or a defect of ours."""
    if failure.check(CancelledError) is not None and getattr(request, "_disconnected", False):
        return
    _log.failure("a request failed: {path}", failure=failure, path=request.path[:200])
    if request.startedWriting:
        _break_off(request)
    else:
        why = "a fault in the relay; its log has the details"
        send(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, why).answered())


def ip_of(request: Request) -> str:
    """The client's address; empty for a unix socket."""
    return getattr(request.getClientAddress(), "host", None) or ""
