"""HTTP by octets, without sockets: a request goes in, what the site answers comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from relay.operate.config import Config
from relay.operate.web.opening import Front
from tests.fakes.inquirer import Answer, FakeInquirer

TOKEN = "a-token-of-twenty-four-or-so"


@dataclass
class Heard:
    """An answer."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Wire:
    """A site, and connections to it.

    token_file  with it everybody must show its token
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    token_file: Path | None = None

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.inquirer = FakeInquirer(self.answers)
        self.told: list[tuple[str, dict[str, object]]] = []
        admin = {"token_file": str(self.token_file)} if self.token_file is not None else {}
        self.config = Config.model_validate({"hostname": "gateway.example.org", "admin": admin})
        self.front = Front(lambda: self.config, self.inquirer, self.clock, self._tell)

    def _tell(self, step: str, /, **fields: object) -> None:
        self.told.append((step, fields))

    def begin(self, octets: bytes) -> tuple[Any, StringTransport]:
        """A connection on which this was said."""
        protocol = self.front.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40000))
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(octets)
        return protocol, transport

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Heard:
        """A request, and its answer."""
        _, transport = self.begin(request_of(method, path, body, **fields))
        return heard(transport.value())

    def get(self, path: str, **fields: str) -> Heard:
        return self.ask("GET", path, **fields)


def request_of(method: str, path: str, body: bytes = b"", **fields: str) -> bytes:
    """The octets of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def heard(octets: bytes) -> Heard:
    """The answer that these octets are."""
    head, _, body = octets.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if fields.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    return Heard(int(first.split()[1]), fields, body)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        length, _, body = body.partition(b"\r\n")
        octets = int(length, 16)
        if not octets:
            break
        whole, body = whole + body[:octets], body[octets + 2 :]
    return whole
