"""A browser without a window: talks HTTP to the page in memory, keeps cookies, and sends the forms it was given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from relay.operate.config import Config
from relay.operate.web.opening import Front
from tests.fakes.inquirer import FakeInquirer
from tests.operate.web.scene import Scene

NOW = 1_795_691_112.0
TOKEN = "a-token-of-twenty-four-chars"


class Wire(StringTransport):
    """The client's end of a connection."""

    aborting = False

    def abortConnection(self) -> None:
        self.aborting = True


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: str

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def cookies(self) -> Iterator[tuple[str, str, str]]:
        """Name, value, and the rest of each cookie that is set."""
        for key, value in self.headers:
            if key.lower() == "set-cookie":
                pair, _, rest = value.partition(";")
                name, _, text = pair.partition("=")
                yield name, text, rest

    def text(self) -> str:
        """What a reader sees, in one line."""
        return re.sub(r"[ \n\t]+", " ", re.sub(r"<[^>]*>", " ", self.body.replace("<wbr>", "")))


@dataclass
class Browser:
    """See the module.

    sends  fields of every request beside Host and Cookie
    ip     from where it comes
    """

    front: Front
    clock: Clock
    host: str = "localhost:8025"
    sends: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    ip: str = "127.0.0.1"

    def get(self, path: str, **sends: str) -> Answer:
        return self.ask("GET", path, sends=sends)

    def post(self, path: str, form: Mapping[str, Any] | list[tuple[str, str]], **sends: str) -> Answer:
        """A form as somebody sends it who was not given it: without a seal, if it has none."""
        body = urlencode(form, doseq=True).encode()
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, body, {**kind, **sends})

    def send(self, form: Form, press: tuple[str, str] | None = None, **filled: Any) -> Answer:
        """A form as a person sends it: what it holds, what was filled in, and the button that was pressed."""
        pairs = [(name, value) for name, value in form.fields if name not in filled]
        for name, value in filled.items():
            pairs += [(name, one) for one in (value if isinstance(value, list) else [value])]
        pairs += [press] if press is not None else []
        if form.method == "post":
            return self.post(form.action, pairs)
        return self.get(f"{form.action}?{urlencode(pairs)}")

    def ask(self, method: str, path: str, body: bytes = b"", sends: Mapping[str, str] | None = None) -> Answer:
        fields = {"host": self.host, **self.sends, **{k.replace("_", "-"): v for k, v in (sends or {}).items()}}
        if self.cookies:
            fields["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body or method == "POST":
            fields.setdefault("content-length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        answer = self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        for name, value, rest in answer.cookies():
            if "Max-Age=0" in rest:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    def raw(self, octets: bytes) -> Answer:
        """Any octets, and the first answer to them."""
        channel: Any = self.front.site.buildProtocol(None)
        transport = Wire(peerAddress=IPv4Address("TCP", self.ip, 40000))
        channel.makeConnection(transport)
        channel.dataReceived(octets)
        for _ in range(100):
            if transport.value() or transport.disconnecting or transport.aborting:
                break
            self.clock.advance(0.25)
        answer = _parsed(transport.value())
        channel.connectionLost(None)
        return answer

    def follow(self, answer: Answer) -> Answer:
        """Where a redirection leads."""
        assert answer.status == 303, (answer.status, answer.text())
        return self.get(answer.header("location") or "")


def browser(scene: Scene | FakeInquirer | None = None, token_file: Path | None = None, **settings: Any) -> Browser:
    """A browser in front of a scene; with a token file, of a page that needs a login."""
    clock = Clock()
    clock.advance(NOW)
    admin = {"token_file": str(token_file)} if token_file is not None else {}
    config = Config.model_validate({"hostname": "gateway.example.org", "admin": admin, "workers": 2, **settings})
    asks = scene if isinstance(scene, FakeInquirer) else (scene or Scene(NOW)).inquirer()
    return Browser(Front(lambda: config, asks, clock, lambda step, **fields: None), clock)


def asked_of(one: Browser) -> FakeInquirer:
    """The relay behind it."""
    asks = one.front.house.asks
    assert isinstance(asks, FakeInquirer)
    return asks


def _parsed(octets: bytes) -> Answer:
    head, _, body = octets.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    status = int(first.split()[1]) if first.startswith("HTTP/") else 0
    return Answer(status, pairs, body.decode("utf-8"))


# -- what is on a page -------------------------------------------------------------------------------


@dataclass
class Form:
    """A form: where it goes, what it holds by itself, its buttons."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Element:
    """An element as it begins, and the text right within it."""

    tag: str
    attributes: dict[str, str]
    within: tuple[str, ...]
    text: str = ""


class Page(HTMLParser):
    """All elements of a page, and its forms."""

    EMPTY = frozenset({"meta", "link", "input", "br", "path", "rect", "hr", "wbr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.forms: list[Form] = []
        self.open: list[Element] = []
        self.faults: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{one.tag}> is not closed" for one in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        element = Element(tag, attributes, tuple(one.tag for one in self.open))
        self.elements.append(element)
        if tag not in self.EMPTY:
            self.open.append(element)
        if tag == "form":
            self.forms.append(Form(attributes.get("action", ""), attributes.get("method", "get")))
        elif "form" in element.within and attributes.get("name"):
            self._field(tag, attributes)

    def _field(self, tag: str, attributes: dict[str, str]) -> None:
        form, pair = self.forms[-1], (attributes["name"], attributes.get("value", ""))
        if tag == "button":
            form.buttons.append(pair)
        elif tag == "input" and ("checked" in attributes or attributes.get("type") not in ("checkbox", "radio")):
            form.fields.append(pair)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1].tag != tag:
            self.faults.append(f"</{tag}> within {[one.tag for one in self.open]}")
            return
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for one in self.open:
            one.text += data

    def all(self, tag: str) -> list[Element]:
        return [one for one in self.elements if one.tag == tag]

    def form(self, action: str, field_name: str = "") -> Form:
        """The first form that goes there; with a field or button of this name, if one is given."""
        for form in self.forms:
            names = [name for name, _ in (*form.fields, *form.buttons)]
            if form.action == action and (not field_name or field_name in names):
                return form
        raise AssertionError(f"no form to {action} with {field_name}; there are {self.forms}")
