"""The page put together: the tree, its pages, and the port's factory.

It is made before privileges are given up, since the user who works may not be allowed to read the program's folder or
the token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource

from relay.message.step import Tell
from relay.operate import complaints
from relay.operate.complaints import Complaint
from relay.operate.config import Config
from relay.operate.web.api.dispatch import Api
from relay.operate.web.api.messages import Submission
from relay.operate.web.api.topics import TOPICS
from relay.operate.web.assets import Assets
from relay.operate.web.entry import TOKEN_LEAST_CHARACTERS, Entry
from relay.operate.web.health import Health
from relay.operate.web.metrics import Metrics
from relay.operate.web.page import NO_SUCH_PAGE, Asks, Call, House, Page, Shown, error
from relay.operate.web.pages.configuration import Configuration
from relay.operate.web.pages.destinations import Destinations
from relay.operate.web.pages.explain import Explain
from relay.operate.web.pages.forecast import Forecast
from relay.operate.web.pages.log import Log
from relay.operate.web.pages.login import Login, Logout, Theme
from relay.operate.web.pages.message import Message
from relay.operate.web.pages.overview import Overview
from relay.operate.web.pages.queue import Queue
from relay.operate.web.pages.tracing import Trace
from relay.operate.web.site import Access, AdminSite, Tree
from relay.operate.web.templating import Templates
from relay.receive.watched import InThread, at_once

PAGES: tuple[type[Page], ...] = (Overview, Queue, Destinations, Trace, Explain, Forecast, Configuration, Log)
"""In the order in which a person finds them."""


class TokenFault(Exception):
    """The token cannot be used; ``str()`` says where it is named, why, and what would help.

    what     the same without the place
    is_gone  its file is known to hold none, and not merely unread
    """

    def __init__(self, place: str, what: str, is_gone: bool) -> None:
        super().__init__(f"{place}: {what}")
        self.what = what
        self.is_gone = is_gone


class Front:
    """The page as the service knows it.

    site        the factory for the port
    tree        where others hang what they have
    house       what its pages stand on
    submission  takes messages in, once it is told where
    """

    def __init__(
        self,
        config: Callable[[], Config],
        asks: Asks,
        clock: IReactorTime,
        tell: Tell,
        in_thread: InThread = at_once,
        glance: Asks | None = None,
    ) -> None:
        """glance  asks as ``asks`` does, and waits for nobody; see House.  Raises TokenFault."""
        self._config = config
        self._tell = tell
        self._token_fault = ""
        self.entry = Entry(clock, read_token(config()), config().hostname)
        assets = Assets()
        templates, names = Templates(assets.addresses), [(page.name, page.title) for page in PAGES]
        self.house = house = House(asks, glance or asks, self.entry, clock, config, templates, names)
        self.tree = _TreeOfPages(house)
        self.tree.hang("assets", assets, Access.ANYBODY)
        for page in PAGES:
            self.tree.hang(page.name, page(house))
        self.tree.hang(Login.name, Login(house), Access.ANYBODY)
        for small in (Message, Logout, Theme):
            self.tree.hang(small.name, small(house))
        self.tree.hang("metrics", Metrics(asks), Access.BEARER)
        self.tree.hang("health", Health(asks, self.entry), Access.ANYBODY)
        self.submission = Submission(in_thread, lambda: config().accept.message_size_octets)
        api = Api(TOPICS, asks, self.entry, clock, self.submission)
        self.tree.hang("api", api, Access.ITS_OWN)
        self.tree.take_bodies("api", api.receives)
        self.site = AdminSite(
            self.tree, self.entry, clock, lambda turned: _Fixed(house, error(turned.status, turned.why))
        )
        _warm_up(house)

    def reload(self) -> None:
        """Reads the token again.

        A token is changed to shut somebody out.  So a file that holds none any more lets nobody in: what is held up
        by that can be made good, and what the holder of a stolen token does (read mail, remove it) cannot.  A file
        that cannot be read says nothing of the old token, which holds: the user who works here may never be allowed
        to read it, and then every reload, be it for a log file, would shut everybody out.  Either is complained of.
        """
        try:
            self.entry.use(read_token(self._config()))
            self._token_fault = ""
        except TokenFault as fault:
            self._token_fault = str(fault)
            if fault.is_gone:
                self.entry.shut()
            becomes = "nobody is let in" if self.entry.is_shut else "the old one holds"
            self._tell("trouble", place=self._config().place("admin.token_file"), error=f"{becomes}: {fault}")

    def complaints(self) -> Iterator[Complaint]:
        """What is wrong with the token."""
        return complaints.of_token(self._token_fault, self.entry.is_shut)

    def close(self) -> None:
        """Lets go of everybody who looks on."""
        self.site.close()


def read_token(config: Config) -> str | None:
    """The token of the configuration; None when it has none.  Raises TokenFault."""
    path = config.admin.token_file if config.admin is not None else None
    if path is None:
        return None
    place = config.place("admin.token_file")
    token = _first_line(path, place)
    if len(token) < TOKEN_LEAST_CHARACTERS or not token.isascii() or not token.isprintable():
        raise TokenFault(
            place,
            f"the first line of {path} is no token; it needs {TOKEN_LEAST_CHARACTERS} characters or more: "
            f"openssl rand -hex 24 > {path}",
            is_gone=True,
        )
    return token


def _first_line(path: Path, place: str) -> str:
    try:
        with path.open(encoding="utf-8") as lines:
            return lines.readline(1024).strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        is_gone = isinstance(error, FileNotFoundError | UnicodeDecodeError)
        raise TokenFault(place, f"{path} cannot be read: {why}", is_gone) from None


class _TreeOfPages(Tree):
    def __init__(self, house: House) -> None:
        super().__init__()
        self._house = house

    def getChild(self, path: bytes, request: object) -> Resource:
        return _Fixed(self._house, error(HTTPStatus.NOT_FOUND, NO_SUCH_PAGE))


class _Fixed(Page):
    """A page that says one thing, whatever it is asked."""

    def __init__(self, house: House, shown: Shown) -> None:
        super().__init__(house)
        self._shown = shown

    async def answer_of(self, call: Call) -> Shown:
        call.visitor.is_fresh = False  # nobody is given a cookie by it
        return self._shown


def _warm_up(house: House) -> None:
    """What libraries import on first use they import now."""
    house.templates.render("again.html", {})
