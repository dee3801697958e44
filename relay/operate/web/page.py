"""What all pages have in common: a call comes in, a page answers it, a template shows it.

A page is a class with ``show`` for what is looked at and ``change`` for forms that do something.  It gives what to
show, or where to go; what the relay refuses becomes a page that says so.

The rule that must not be broken: a form that changes something brings the visitor's seal along, or changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qs

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from relay import __version__
from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.config import Config
from relay.operate.web.entry import Entry, Visitor, is_secure
from relay.operate.web.templating import Templates
from relay.operate.web.words import sentence

Row = dict[str, Any]

FIELDS_LIMIT = 12_000
NOTES_LIMIT = 200
THEMES = ("light", "dark")
NO_SUCH_PAGE = "There is no such page."
DEFECT = "A fault in the relay; its log has the details."

_log = Logger()


class Asks(Protocol):
    """What pages need of relay.operate.inquirer.Inquirer."""

    async def ask(self, do: str, /, **fields: object) -> list[Row]: ...
    async def ask_one(self, do: str, /, **fields: object) -> Row: ...
    def stream(self, do: str, /, **fields: object) -> AsyncIterator[Row]: ...


@dataclass(slots=True)
class House:
    """What every page stands on.

    asks    the relay, all of its shards
    glance  the same, for who looks every few seconds: who does not answer at once is told to be silent
    config  as it is in force
    pages   name and title of those that a person chooses from
    """

    asks: Asks
    glance: Asks
    entry: Entry
    clock: IReactorTime
    config: Callable[[], Config]
    templates: Templates
    pages: Sequence[tuple[str, str]] = ()
    notes: OrderedDict[str, list[str]] = field(default_factory=OrderedDict)

    def note(self, visitor: Visitor, text: str) -> None:
        """Something to tell this visitor on the next page he sees."""
        self.notes.setdefault(visitor.name, []).append(text)
        self.notes.move_to_end(visitor.name)
        if len(self.notes) > NOTES_LIMIT:
            self.notes.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """A page to show: a template, and what is filled in."""

    template: str
    values: Mapping[str, object] = field(default_factory=dict)
    status: HTTPStatus = HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Something was done, and this is where to look; ``note`` is told there."""

    location: str
    note: str = ""


class Call:
    """A request as pages see it: texts, the first of each name, without white space around."""

    def __init__(self, request: Any, visitor: Visitor) -> None:
        self.request: Request = request
        self.visitor = visitor
        self.rest: tuple[str, ...] = tuple(_text(part) for part in request.postpath if part)
        self._query = _fields(request.uri.partition(b"?")[2])
        self._form: dict[str, list[str]] = {}
        if request.method == b"POST" and _is_form(request):
            self._form = _fields(request.content.read())  # bounded: see AdminRequest

    def asked(self, name: str) -> str:
        """What the query says."""
        return _first(self._query, name)

    def said(self, name: str) -> str:
        """What the form says."""
        return _first(self._form, name)

    def all_said(self, name: str) -> list[str]:
        """All that the form says under one name."""
        return [text.strip() for text in self._form.get(name, ())]

    @property
    def is_live(self) -> bool:
        """Whether a page that is shown already wants to know what has changed."""
        return self.request.getHeader("x-relay-live") is not None


class Page(Resource):
    """One page.

    name   its first step in a URL, empty for the overview
    depth  how many steps may follow
    """

    isLeaf = True
    depth: ClassVar[int] = 0
    name: ClassVar[str] = ""
    title: ClassVar[str] = ""

    def __init__(self, house: House) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.house = house

    async def show(self, call: Call) -> Shown | Elsewhere:
        """What is looked at."""
        raise NotImplementedError

    async def change(self, call: Call) -> Shown | Elsewhere:
        """What a form wants done."""
        return error(HTTPStatus.METHOD_NOT_ALLOWED, "Nothing can be changed here.")

    # -- how it is carried -------------------------------------------------------------------

    def render(self, request: Request) -> bytes | int:
        visitor = self.house.entry.visitor(request)
        if _came_from_elsewhere(request, visitor):
            return self._come_again(request)
        answered = Deferred.fromCoroutine(self._answer(request, visitor))
        request.notifyFinish().addErrback(lambda _: answered.cancel())
        answered.addErrback(_failed, request)
        return NOT_DONE_YET

    def _come_again(self, request: Request) -> bytes:
        """A browser that follows another site's link leaves our cookie at home; what our own page asks for brings it.
        Answered at once, it would be given a new one, and be logged out."""
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        return self.house.templates.render("again.html", {})

    async def _answer(self, request: Request, visitor: Visitor) -> None:
        call = Call(request, visitor)
        answer = await self.answer_of(call)
        if isinstance(answer, Elsewhere):
            if answer.note:
                self.house.note(call.visitor, answer.note)
            request.setResponseCode(HTTPStatus.SEE_OTHER)
            request.setHeader("Location", answer.location)
            body = b""
        else:
            request.setResponseCode(answer.status)
            request.setHeader("Content-Type", "text/html; charset=utf-8")
            body = self.house.templates.render(answer.template, {**self._common(call), **answer.values})
        if call.visitor.is_fresh:
            self.house.entry.remember(request, call.visitor)
        request.setHeader("Content-Length", str(len(body)))
        if request.method != b"HEAD":
            request.write(body)
        request.finish()

    async def answer_of(self, call: Call) -> Shown | Elsewhere:
        """What the page answers, whatever is asked and however."""
        method = call.request.method
        try:
            if len(call.rest) > self.depth:
                return error(HTTPStatus.NOT_FOUND, NO_SUCH_PAGE)
            if method in (b"GET", b"HEAD"):
                return await self.show(call)
            if method != b"POST":
                return error(HTTPStatus.METHOD_NOT_ALLOWED, "A page is looked at, or its forms are sent.")
            if not self.house.entry.is_sealed(call.visitor, call.said("seal")):
                return error(
                    HTTPStatus.FORBIDDEN,
                    "This form is out of date: the relay was started again, or the browser sent no cookie. "
                    "Nothing was changed. Load the page anew, and try once more.",
                )
            return await self.change(call)
        except NotRunning:
            return error(HTTPStatus.SERVICE_UNAVAILABLE, "No part of the relay answers just now; it may be starting.")
        except CannotAsk as why:
            return error(HTTPStatus.SERVICE_UNAVAILABLE, sentence(str(why)))
        except Refusal as refusal:
            return error(_STATUS_OF_KIND.get(refusal.kind, HTTPStatus.INTERNAL_SERVER_ERROR), sentence(str(refusal)))
        except Exception:
            _log.failure("a page failed: {path}", path=call.request.path[:200])
            return error(HTTPStatus.INTERNAL_SERVER_ERROR, DEFECT)

    def _common(self, call: Call) -> dict[str, object]:
        """What every template may name."""
        entry, visitor, request = self.house.entry, call.visitor, call.request
        return {
            "here": self.name,
            "title": self.title,
            "hostname": self.house.config().hostname,
            "version": __version__,
            "now": self.house.clock.seconds(),
            "seal": entry.seal(visitor),
            "theme": theme_of(request),
            "address": _text(request.uri),
            "pages": self.house.pages,
            "known": entry.turned_away(request) is None and entry.is_in(request),
            "in_the_clear": not is_secure(request),
            "can_leave": entry.token is not None and entry.is_in(request),
            "notes": [] if call.is_live else self.house.notes.pop(visitor.name, []),
        }


def no_in_words(refusal: Refusal) -> str:
    """Why the relay says no to a question that it need not have an answer to."""
    text = str(refusal)
    return "There is no journal." if text.startswith(_NOT_KNOWN) else sentence(text)


def error(status: HTTPStatus, why: str) -> Shown:
    """A page that says what is wrong."""
    return Shown("error.html", {"title": status.phrase, "why": why, "status": int(status)}, status)


def theme_of(request: Request) -> str:
    """``light`` or ``dark`` when somebody chose; else empty, and the system's own."""
    said = (request.getCookie(b"relay-theme") or b"").decode("latin-1")
    return said if said in THEMES else ""


def local_path(said: str) -> str:
    """A place of ours to go to, whatever a form says; the overview for anything else."""
    is_ours = said.startswith("/") and not said.startswith(("//", "/\\")) and said.isascii() and said.isprintable()
    return said if is_ours else "/"


_NOT_KNOWN = "do must be"
"""How relay.operate.control refuses a question that nobody answers."""
_STATUS_OF_KIND = {"request": HTTPStatus.BAD_REQUEST, "unavailable": HTTPStatus.SERVICE_UNAVAILABLE}


def _failed(failure: Failure, request: Request) -> None:
    """Who asked has gone; or a defect of ours."""
    if failure.check(CancelledError) is not None and getattr(request, "_disconnected", False):
        return
    _log.failure("a page failed: {path}", failure=failure, path=request.path[:200])
    request.setResponseCode(HTTPStatus.INTERNAL_SERVER_ERROR)
    request.setHeader("Content-Type", "text/plain; charset=utf-8")
    request.setHeader("Content-Length", str(len(DEFECT) + 1))
    request.write(f"{DEFECT}\n".encode())
    request.finish()


def _came_from_elsewhere(request: Request, visitor: Visitor) -> bool:
    return (
        request.method == b"GET"
        and visitor.is_fresh
        and request.getHeader("sec-fetch-site") == "cross-site"
        and request.getHeader("sec-fetch-mode") == "navigate"
    )


def _is_form(request: Request) -> bool:
    return (request.getHeader("content-type") or "").partition(";")[0].strip() == "application/x-www-form-urlencoded"


def _fields(data: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(data.decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_LIMIT, errors="replace")
    except ValueError:  # too many
        return {}


def _first(fields: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(fields.get(name, ())), "").strip()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


__all__ = ["Asks", "Call", "Elsewhere", "House", "Page", "Shown", "error", "is_secure", "local_path", "theme_of"]
