"""What went wrong, as ``application/problem+json`` (RFC 9457): in words that say what would be right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.web.answering import Answered

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 5
NO_DESTINATION = {HTTPStatus.NOT_FOUND: "Nobody knows the destination: it is mistyped, or nothing is for it any more."}


class Problem(Exception):
    """Ends an operation.

    detail  a sentence
    faults  several things that are wrong: ``where`` and ``what``
    more    other fields of the header
    members  more to be said (RFC 9457 §3.2)
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        faults: Sequence[Mapping[str, str]] = (),
        more: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.faults = faults
        self.more = more or {}
        self.members: Mapping[str, object] = {}

    def row(self) -> dict[str, object]:
        """RFC 9457 §3: with the type about:blank the title is the status's own phrase."""
        said: dict[str, object] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": str(self),
        }
        return {**said, **({"errors": list(self.faults)} if self.faults else {}), **self.members}

    def answered(self) -> Answered:
        return Answered(self.status, PROBLEM_JSON, json.dumps(self.row()).encode() + b"\n", self.more)


def unavailable(why: str) -> Problem:
    """Our own trouble, which passes."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, why, more={"Retry-After": str(RETRY_AFTER_S)})


def problem_of(error: NotRunning | CannotAsk | Refusal) -> Problem:
    """What the shards did not answer."""
    if isinstance(error, NotRunning):
        return unavailable("no part of the relay answers just now; it may be starting")
    if isinstance(error, CannotAsk) or error.kind == "unavailable":
        return unavailable(str(error))
    if error.kind == "request":
        return Problem(HTTPStatus.BAD_REQUEST, str(error))
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))


def not_found(error: Refusal) -> Problem:
    """A refusal that means that there is no such thing."""
    return Problem(HTTPStatus.NOT_FOUND, str(error)) if error.kind == "request" else problem_of(error)
