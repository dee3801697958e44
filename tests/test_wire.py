"""Octets come and go at once, in order, and never past TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import tcp
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from relay.wire import Switchboard, Wire
from tests.fakes.descriptors import Reactor


class Talk(Protocol):
    """A protocol that has a wire, and does with what it hears what a test wants."""

    def __init__(self, board: Switchboard | None = None) -> None:
        self.board = board
        self.heard = b""
        self.lost_with: list[Failure] = []
        self.does: Callable[[bytes], object] = lambda _: None

    def connectionMade(self) -> None:
        self.wire = Wire(cast(Any, self.transport), self.board, self.dataReceived)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.does(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.wire.lost()
        self.lost_with.append(reason)


class Line:
    """A connection: ``talk`` at our end of it, ``peer`` at the other."""

    def __init__(self, reactor: Reactor, board: Switchboard | None) -> None:
        ours, self.peer = socket.socketpair()
        self.talk = Talk(board)
        self.transport = tcp.Connection(ours, self.talk, reactor)
        self.transport.connected = 1
        self.transport.startReading()
        self.talk.makeConnection(cast(ITransport, self.transport))


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def board(reactor: Reactor) -> Iterator[Switchboard]:
    yield Switchboard(reactor)
    assert not reactor.readers, "nobody is listened to in the end"


@pytest.fixture
def open_line(reactor: Reactor, board: Switchboard) -> Iterator[Callable[[], Line]]:
    lines: list[Line] = []

    def open_one() -> Line:
        lines.append(Line(reactor, board))
        return lines[-1]

    yield open_one
    for line in lines:
        line.peer.close()
        line.talk.wire.abort()


# -- out --------------------------------------------------------------------------------------------------------------


class Socket:
    """Takes so many octets at each try."""

    def __init__(self, takes: list[int]) -> None:
        self.takes = takes
        self.sent = b""
        self.is_broken = False

    def setblocking(self, flag: bool) -> None: ...

    def fileno(self) -> int:
        return 99

    def send(self, data: bytes) -> int:
        if self.is_broken:
            raise ConnectionResetError
        taken = bytes(data)[: self.takes.pop(0) if self.takes else len(data)]
        if not taken:
            raise BlockingIOError(11, "not now")
        self.sent += taken
        return len(taken)


def wire_on(sock: Socket) -> tuple[Wire, tcp.Connection]:
    transport = tcp.Connection(cast(Any, sock), Protocol(), Reactor())
    transport.connected = 1
    return Wire(cast(Any, transport)), transport


def test_what_fits_leaves_at_once() -> None:
    sock = Socket([])
    wire, transport = wire_on(sock)
    wire.write(b"250 OK\r\n")
    wire.write(b"221 bye\r\n")
    assert sock.sent == b"250 OK\r\n221 bye\r\n"
    assert not transport.reactor.writers, "nothing is left to be sent"


@given(st.lists(st.binary(min_size=1, max_size=8)), st.lists(st.integers(0, 8)), st.integers(0, 5))
def test_nothing_is_lost_overtaken_or_doubled(pieces: list[bytes], takes: list[int], flush_every: int) -> None:
    sock = Socket(takes)
    wire, transport = wire_on(sock)

    for number, piece in enumerate(pieces):
        wire.write(piece)
        if flush_every and number % flush_every == 0:
            transport.doWrite()
    while sock.takes and transport in transport.reactor.writers:
        transport.doWrite()
    transport.doWrite()
    assert sock.sent == b"".join(pieces)


def test_a_lost_connection_is_left_to_the_transport() -> None:
    sock = Socket([])
    wire, transport = wire_on(sock)
    sock.is_broken = True
    wire.write(b"250 OK\r\n")
    assert transport in transport.reactor.writers, "it will find out"


def test_a_transport_that_cannot_is_written_to_as_usual() -> None:
    class Plain:
        written = b""

        def write(self, data: bytes) -> None:
            self.written += data

    plain = Plain()
    Wire(cast(Any, plain)).write(b"250 OK\r\n")
    assert plain.written == b"250 OK\r\n"


def test_nothing_passes_tls_by(
    reactor: Reactor, open_line: Callable[[], Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 3207: after the 220 everything is encrypted; the socket below must not be read or written directly."""
    line = open_line()
    through_tls: list[bytes] = []

    def start_tls(context: object) -> None:
        monkeypatch.setattr(line.transport, "write", through_tls.append)

    monkeypatch.setattr(line.transport, "startTLS", start_tls)
    line.talk.wire.write(b"220 go ahead\r\n")
    line.talk.wire.startTLS("a context")
    line.talk.wire.write(b"250 secret\r\n")
    assert (line.peer.recv(100), through_tls) == (b"220 go ahead\r\n", [b"250 secret\r\n"])
    assert line.transport in reactor.readers, "the transport reads from now on"
    line.peer.sendall(b"\x16\x03\x01")
    assert not board_hears(line)


def board_hears(line: Line) -> bool:
    """Whether a turn of the switchboard alone brings anything to the protocol."""
    before = line.talk.heard
    assert line.talk.board is not None
    line.talk.board.doRead()
    return line.talk.heard != before


# -- in ---------------------------------------------------------------------------------------------------------------


def test_the_switchboard_alone_reads(reactor: Reactor, open_line: Callable[[], Line]) -> None:
    line, other = open_line(), open_line()
    line.peer.sendall(b"NOOP\r\n")
    reactor.turn()
    assert (line.talk.heard, other.talk.heard) == (b"NOOP\r\n", b"")
    assert not reactor.readers & {line.transport, other.transport}


def test_the_end_of_a_connection_is_the_transports_to_find(reactor: Reactor, open_line: Callable[[], Line]) -> None:
    line = open_line()
    line.peer.sendall(b"QUI")
    line.peer.close()
    for _ in range(3):
        reactor.turn()
    assert line.talk.heard == b"QUI"
    assert len(line.talk.lost_with) == 1


def test_one_that_is_paused_is_not_read(reactor: Reactor, open_line: Callable[[], Line]) -> None:
    line = open_line()
    line.talk.wire.pause()
    line.peer.sendall(b"NOOP\r\n")
    reactor.turn()
    assert line.talk.heard == b""
    line.talk.wire.resume()
    reactor.turn()
    assert line.talk.heard == b"NOOP\r\n"


@pytest.mark.parametrize("within", [True, False], ids=["while it is read", "at another time"])
def test_it_closes_behind_its_last_words(reactor: Reactor, open_line: Callable[[], Line], within: bool) -> None:
    line = open_line()

    def leave(_: object = None) -> None:
        line.talk.wire.write(b"221 bye\r\n")
        line.talk.wire.close()
        assert not line.talk.lost_with, "never while the protocol is at work"

    if within:
        line.talk.does = leave
        line.peer.sendall(b"QUIT\r\n")
    else:
        leave()
    reactor.turn()
    assert (line.peer.recv(100), line.peer.recv(100)) == (b"221 bye\r\n", b"")
    assert len(line.talk.lost_with) == 1


def test_what_is_still_held_is_sent_before_it_closes(reactor: Reactor, open_line: Callable[[], Line]) -> None:
    line = open_line()
    line.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    said = b"x" * 500_000

    def leave(_: object) -> None:
        line.talk.wire.write(said)
        line.talk.wire.close()

    line.talk.does = leave
    line.peer.sendall(b"QUIT\r\n")
    line.peer.settimeout(5)
    reactor.turn()
    heard = b""
    while more := line.peer.recv(65536):
        heard += more
        reactor.turn()
    assert heard == said


def test_who_is_closed_by_another_is_not_read(reactor: Reactor, open_line: Callable[[], Line]) -> None:
    lines = [open_line(), open_line()]
    for line, other in (lines, lines[::-1]):
        line.talk.does = lambda _, other=other: other.talk.wire.close()
        line.peer.sendall(b"first\r\n")
    reactor.turn()
    assert sorted(line.talk.heard for line in lines) == [b"", b"first\r\n"]


def test_a_defect_ends_only_its_own_connection(
    reactor: Reactor, open_line: Callable[[], Line], capfd: pytest.CaptureFixture[str]
) -> None:
    line, other = open_line(), open_line()
    line.talk.does = lambda _: {}["a defect"]
    for one in (line, other):
        one.peer.sendall(b"NOOP\r\n")
    reactor.turn()
    reactor.turn()
    assert other.talk.heard == b"NOOP\r\n"
    assert (len(line.talk.lost_with), len(other.talk.lost_with)) == (1, 0)


def test_an_aborted_connection_is_heard_no_more(reactor: Reactor, open_line: Callable[[], Line]) -> None:
    line = open_line()
    line.peer.sendall(b"NOOP\r\n")
    line.talk.wire.abort()
    reactor.turn()
    assert (line.talk.heard, len(line.talk.lost_with)) == (b"", 1)
