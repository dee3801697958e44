"""The control socket: how the command line talks to the running relay.

A request is one line of JSON, ``{"do": "queue.list", "sender": "ann@example.org"}``.  The answer is any number of
lines ``{"row": {…}}`` and then one last line: ``{"end": true}``, or ``{"error": "words", "kind": "…"}``.
The kinds are ``request`` (asked wrongly), ``unavailable`` (try again), ``fault`` (a defect of ours).

The rules that must not be broken: an answer of a million rows is never in memory, since rows are made only as
fast as the asker reads; and an asker that does not read stops nobody else.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort, IPushProducer, IReactorUNIX, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.operate.asking import socket_path
from relay.queue.store import StoreUnavailable

REQUEST_LIMIT_OCTETS = 1 << 20  # a list of some 60,000 ids
WRITTEN_AT_ONCE_OCTETS = 32 * 1024

Row = Mapping[str, object]

AT_ONCE: Row = {}
"""Yielded among the rows, this very object: what was yielded before does not wait for company."""

_log = Logger()
_encode = json.JSONEncoder(separators=(",", ":")).encode


class BadRequest(Exception):
    """Asked wrongly; ``str()`` says what would be right."""


class Request:
    """What is asked, with its fields by kind; a field that nobody looked for is a mistake of the asker."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = dict(fields)

    def text(self, name: str) -> str | None:
        """A text, or None when it is not given.  Raises BadRequest."""
        value = self._fields.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise BadRequest(f"{name} must be text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty when it is not given."""
        value = self._fields.pop(name, None) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadRequest(f"{name} must be a list of texts")
        return tuple(value)

    def number(self, name: str, least: float = 0.0, most: float = math.inf) -> float | None:
        """A number, or None when it is not given."""
        value = self._fields.pop(name, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise BadRequest(f"{name} must be a number")
        if value is not None and not least <= value <= most:
            raise BadRequest(f"{name} must be from {least:g} to {most:g}")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false when it is not given."""
        value = self._fields.pop(name, False)
        if not isinstance(value, bool):
            raise BadRequest(f"{name} must be true or false")
        return value

    def no_more(self) -> None:
        """Says that every field was looked at."""
        if self._fields:
            raise BadRequest(f"nothing is known of {', '.join(sorted(self._fields))} here")


Command = Callable[[Request], AsyncGenerator[Row, None]]
"""Answers one kind of request, row by row."""


@implementer(IPushProducer)
class ControlProtocol(Protocol):
    """One asker; one request at a time."""

    transport: ITransport

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands
        self._received = b""
        self._answering = False
        self._gone = False
        self._writable: Deferred[None] | None = None  # there while the asker does not keep up

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]  # ITransport leaves it out

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        self._take_requests()
        if len(self._received) > REQUEST_LIMIT_OCTETS:
            self._write({"error": f"a request is at most {REQUEST_LIMIT_OCTETS} octets", "kind": "request"})
            self._hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self.resumeProducing()  # whoever waits to write finds that nobody is there

    def pauseProducing(self) -> None:
        if self._writable is None:
            self._writable = Deferred()

    def resumeProducing(self) -> None:
        if self._writable is not None:
            writable, self._writable = self._writable, None
            writable.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost; ``connectionLost`` follows."""

    def _take_requests(self) -> None:
        while not self._answering and not self._gone and b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            self._answering = True
            answered = Deferred.fromCoroutine(self._answer(line)).addBoth(self._answered)
            if not answered.called:
                answered.addBoth(lambda _: self._take_requests())

    def _answered(self, _: object) -> None:
        self._answering = False

    async def _answer(self, line: bytes) -> None:
        try:
            await self._send_rows(self._rows(line))
        except BadRequest as error:
            self._write({"error": str(error), "kind": "request"})
        except StoreUnavailable as error:
            self._write({"error": str(error), "kind": "unavailable"})
        except Exception:
            if self._gone:
                return
            _log.failure("a request on the control socket failed: {line!r}", line=line[:200])
            self._write({"error": "a fault in the relay; its log has the details", "kind": "fault"})
        else:
            self._write({"end": True})

    def _rows(self, line: bytes) -> AsyncGenerator[Row, None]:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            raise BadRequest("a request is one line of JSON") from None
        name = fields.pop("do", None) if isinstance(fields, dict) else None
        if not isinstance(name, str) or name not in self._commands:
            raise BadRequest(f"do must be one of {', '.join(sorted(self._commands))}")
        return self._commands[name](Request(fields))

    async def _send_rows(self, rows: AsyncGenerator[Row, None]) -> None:
        """Writes rows in portions, no faster than the asker reads."""
        lines: list[str] = []
        gathered = 0
        try:
            async for row in rows:
                if row is not AT_ONCE:
                    lines.append(_encode({"row": row}) + "\n")
                    gathered += len(lines[-1])
                if gathered >= WRITTEN_AT_ONCE_OCTETS or row is AT_ONCE:
                    self._write_lines(lines)
                    gathered = 0
                    if self._writable is not None:
                        await self._writable
                if self._gone:
                    await rows.aclose()
                    return
        finally:
            self._write_lines(lines)

    def _write_lines(self, lines: list[str]) -> None:
        if lines and not self._gone:
            self.transport.write("".join(lines).encode("utf-8", "backslashreplace"))
        lines.clear()

    def _write(self, row: Row) -> None:
        if not self._gone:
            self.transport.write(_encode(row).encode("utf-8", "backslashreplace") + b"\n")

    def _hang_up(self) -> None:
        self._received = b""
        self.transport.unregisterProducer()  # type: ignore[attr-defined]  # ITransport leaves it out
        self.transport.loseConnection()


class ControlFactory(Factory):
    """Gives each asker its protocol."""

    noisy = False

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands

    def logPrefix(self) -> str:
        """What Twisted's log calls who listens."""
        return "relay, for its commands,"

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol:
        return ControlProtocol(self._commands)


def listen_for_control(reactor: IReactorUNIX, spool: Path, commands: Mapping[str, Command]) -> IListeningPort:
    """Opens the control socket of a spool, for its owner alone.

    Only he who holds the spool's lock may call this: a socket that is there already is taken for a dead one.
    Raises CannotListenError, ValueError when the path is too long.
    """
    path = socket_path(spool)
    Path(path).unlink(missing_ok=True)
    return reactor.listenUNIX(path, ControlFactory(commands), mode=0o600)
