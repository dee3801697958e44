"""The control socket: rows as fast as they are read, bounded requests, faults in words."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from relay.operate.asking import socket_path
from relay.operate.control import REQUEST_LIMIT_OCTETS, BadRequest, ControlFactory, ControlProtocol, Request, Row
from relay.queue.store import StoreUnavailable


class Asked:
    """Commands for the test, and what became of them."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = False
        self.later: Deferred[int] = Deferred()

    async def count(self, request: Request) -> AsyncGenerator[Row, None]:
        upto = int(request.text("upto") or 3)
        request.no_more()
        try:
            for number in range(upto):
                self.made += 1
                yield {"number": number}
        finally:
            self.closed = True

    async def wait(self, request: Request) -> AsyncGenerator[Row, None]:
        yield {"number": await self.later}

    async def refuse(self, request: Request) -> AsyncGenerator[Row, None]:
        raise BadRequest("not so")
        yield {}

    async def unavailable(self, request: Request) -> AsyncGenerator[Row, None]:
        yield {"number": 1}
        raise StoreUnavailable("the disk is away")

    async def broken(self, request: Request) -> AsyncGenerator[Row, None]:
        yield {"number": 1 // 0}


def connected() -> tuple[Asked, ControlProtocol, StringTransport]:
    asked = Asked()
    names = ("count", "wait", "refuse", "unavailable", "broken")
    protocol = ControlFactory({name: getattr(asked, name) for name in names}).buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    return asked, protocol, transport


def answers(transport: StringTransport) -> list[dict[str, object]]:
    return [json.loads(line) for line in transport.value().splitlines()]


@pytest.mark.parametrize("cut", [1, 5, 1000])
def test_rows_come_and_then_the_end(cut: int) -> None:
    _, protocol, transport = connected()
    request = b'{"do": "count", "upto": "2"}\n'
    for start in range(0, len(request), cut):
        protocol.dataReceived(request[start : start + cut])
    assert answers(transport) == [{"row": {"number": 0}}, {"row": {"number": 1}}, {"end": True}]


def test_requests_are_answered_one_after_the_other() -> None:
    asked, protocol, transport = connected()
    protocol.dataReceived(b'{"do": "wait"}\n{"do": "count", "upto": "1"}\n')
    assert answers(transport) == []
    asked.later.callback(7)
    assert answers(transport) == [{"row": {"number": 7}}, {"end": True}, {"row": {"number": 0}}, {"end": True}]


def test_many_requests_in_one_piece_do_not_pile_up() -> None:
    _, protocol, transport = connected()
    protocol.dataReceived(b'{"do":"count","upto":"0"}\n' * 5000)
    assert len(answers(transport)) == 5000


@pytest.mark.parametrize(
    ("request_line", "kind", "text"),
    [
        (b"hello", "request", "one line of JSON"),
        (b"[" * 5000, "request", "one line of JSON"),
        (b"[]", "request", "do must be one of"),
        (b'{"do": "fly"}', "request", "do must be one of broken, count"),
        (b'{"do": "count", "upto": 5}', "request", "upto must be text"),
        (b'{"do": "count", "upTo": "5"}', "request", "nothing is known of upTo"),
        (b'{"do": "refuse"}', "request", "not so"),
        (b'{"do": "unavailable"}', "unavailable", "the disk is away"),
    ],
)
def test_what_cannot_be_answered_is_said_and_the_next_is_taken(request_line: bytes, kind: str, text: str) -> None:
    _, protocol, transport = connected()
    protocol.dataReceived(request_line + b"\n")
    last = answers(transport)[-1]
    assert (last["kind"], text in str(last["error"])) == (kind, True)
    transport.clear()
    protocol.dataReceived(b'{"do": "count", "upto": "0"}\n')
    assert answers(transport) == [{"end": True}]


def test_a_defect_is_logged_whole_and_told_without_its_text() -> None:
    events: list[dict[str, object]] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]  # any callable is an observer
    try:
        _, protocol, transport = connected()
        protocol.dataReceived(b'{"do": "broken"}\n')
    finally:
        globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]
    assert answers(transport) == [{"error": "a fault in the relay; its log has the details", "kind": "fault"}]
    assert any("log_failure" in event for event in events)


def test_rows_are_made_only_as_fast_as_they_are_read() -> None:
    """A million rows are never in memory."""
    asked, protocol, transport = connected()
    protocol.pauseProducing()
    protocol.dataReceived(b'{"do": "count", "upto": "100000"}\n')
    made = asked.made
    assert made < 5000
    assert len(transport.value()) < 100_000
    protocol.resumeProducing()
    assert asked.made == 100_000
    assert answers(transport)[-1] == {"end": True}


def test_an_asker_that_goes_away_ends_the_work() -> None:
    asked, protocol, _ = connected()
    protocol.pauseProducing()
    protocol.dataReceived(b'{"do": "count", "upto": "100000"}\n')
    protocol.connectionLost(Failure(ConnectionLost()))
    assert asked.closed
    assert asked.made < 5000


def test_an_asker_that_goes_away_while_the_store_works_is_no_trouble() -> None:
    asked, protocol, transport = connected()
    protocol.dataReceived(b'{"do": "wait"}\n')
    protocol.connectionLost(Failure(ConnectionLost()))
    asked.later.callback(1)
    assert transport.value() == b""


@pytest.mark.parametrize("first", [b"", b'{"do": "wait"}\n'])
def test_a_request_without_an_end_is_cut_off(first: bytes) -> None:
    _, protocol, transport = connected()
    protocol.dataReceived(first)
    for _ in range(REQUEST_LIMIT_OCTETS // 65536 + 1):
        protocol.dataReceived(b"x" * 65536)
    assert transport.disconnecting
    assert "at most" in str(answers(transport)[-1]["error"])


def test_a_request_reads_each_field_by_its_kind() -> None:
    request = Request({"ids": ["a", "b"], "all": True, "sender": "x@y"})
    assert (request.texts("ids"), request.flag("all"), request.text("sender")) == (("a", "b"), True, "x@y")
    request.no_more()
    for bad in (lambda: Request({"ids": "a"}).texts("ids"), lambda: Request({"all": 1}).flag("all")):
        with pytest.raises(BadRequest):
            bad()


def test_a_long_path_is_shortened_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """unix(7): the path of a socket has 107 octets."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(ValueError, match="is too long"):
        socket_path(deep / "spool")
    monkeypatch.chdir(deep)
    assert socket_path(deep / "spool") == "spool/control.sock"
