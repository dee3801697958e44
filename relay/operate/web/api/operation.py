"""What an operation is: its place, what it may be asked, what it answers, and a sentence for each of these.

The same definition routes requests (dispatch.py) and describes itself (openapi.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from relay.operate.web.page import Asks

Row = dict[str, Any]

NDJSON = "application/x-ndjson"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Json:
    """An answer in one piece."""

    value: object
    status: HTTPStatus = HTTPStatus.OK
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows:
    """An answer that may be long.

    rows   one after the other, as fast as they are taken
    page   makes one object of some of them, for who wants that; None: there are only rows
    """

    rows: AsyncIterator[Row]
    page: Callable[[AsyncIterator[Row]], Coroutine[Any, Any, object]] | None = None


@dataclass(frozen=True, slots=True)
class Octets:
    """An answer that is no JSON."""

    kind: str
    pieces: AsyncIterator[bytes]
    more: Mapping[str, str] = field(default_factory=dict)


Answer = Json | Rows | Octets


@dataclass(slots=True)
class Call:
    """A request, understood.

    path   the values of the operation's path
    query  an instance of its ``query``
    body   an instance of its ``body``
    """

    asks: Asks
    clock: IReactorTime
    request: Request
    path: Mapping[str, str]
    query: Any = None
    body: Any = None


Handle = Callable[[Call], Coroutine[Any, Any, Answer]]


@dataclass(frozen=True, slots=True)
class Operation:
    """See the module.

    path      ``/queue/{id}``, below /api/v1
    name      for programs that make code of the description: ``listQueue``
    about     one sentence
    places    what the values of the path are
    query     what may be asked in the query
    handle    None: its body is taken as it comes, and not here (messages.py)
    body      what the body may say; ``needs_body`` when there must be one, ``also_takes`` another media type
    gives     what a good answer is
    has_rows  the answer can be had row by row, as JSON lines; ``gives`` then has them as ``rows``
    kind      the media type of a good answer that is no JSON
    problems  what may go wrong beside what always may: status -> when
    more      further sentences
    """

    method: str
    path: str
    name: str
    about: str
    handle: Handle | None
    places: Mapping[str, str] = field(default_factory=dict)
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    needs_body: bool = False
    also_takes: str = ""
    gives: type[BaseModel] | None = None
    has_rows: type[BaseModel] | None = None
    kind: str = JSON
    status: HTTPStatus = HTTPStatus.OK
    problems: Mapping[HTTPStatus, str] = field(default_factory=dict)
    more: str = ""

    @property
    def steps(self) -> Sequence[str]:
        """The path, step by step."""
        return self.path.strip("/").split("/")

    def takes(self, steps: Sequence[str]) -> Mapping[str, str] | None:
        """The values in the path, when it is this one's."""
        if len(steps) != len(self.steps):
            return None
        values: dict[str, str] = {}
        for wanted, given in zip(self.steps, steps, strict=True):
            if wanted.startswith("{"):
                values[wanted[1:-1]] = given
            elif wanted != given:
                return None
        return values if all(values.values()) else None


@dataclass(frozen=True, slots=True)
class Topic:
    """Operations that belong together."""

    name: str
    about: str
    operations: Sequence[Operation]
