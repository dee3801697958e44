"""Who is let in cheaply is served as well as anybody, and gets a transport as soon as he needs one."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import pytest
from twisted.internet import error, tcp
from twisted.internet.address import IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from relay.landing import BareWire, Landing, landed
from relay.wire import Switchboard, Wire, wire_of
from tests.fakes.descriptors import Reactor


class Guest(Protocol):
    """Lives on a wire, greets, and does with what it hears what a test wants."""

    lives_on_wire = True
    does: Callable[[bytes], object] = staticmethod(lambda _: None)

    def __init__(self) -> None:
        self.heard = b""
        self.paused = 0
        self.lost_with: list[type[BaseException]] = []

    def connectionMade(self) -> None:
        self.wire = wire_of(cast(Any, self.transport), None, self.dataReceived)
        self.wire.registerProducer(self, True)
        self.wire.write(b"220 hello\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.does(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.wire.lost()
        assert reason.type is not None
        self.lost_with.append(reason.type)

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class House(Factory):
    """Makes guests, or what a test wants."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.addresses: list[IAddress | None] = []
        self.make: Callable[[], Protocol | None] = Guest

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        self.addresses.append(addr)
        protocol = self.make()
        self.made.append(protocol)
        return protocol


class Harbour:
    """A landed port, and those who come to it."""

    def __init__(self, interface: str = "127.0.0.1") -> None:
        self.reactor = Reactor()
        self.board = Switchboard(self.reactor)
        self.house = House()
        self.port = tcp.Port(0, self.house, 50, interface, self.reactor)
        self.port.startListening()
        self.landing = cast(Landing, landed(self.port, self.board))
        self._clients: list[socket.socket] = []

    def come(self) -> tuple[socket.socket, Any]:
        """Somebody connects.  Gives his end, and our protocol."""
        client = socket.create_connection((self.port.getHost().host, self.port.getHost().port), timeout=5)
        self._clients.append(client)
        self.reactor.turn()
        return client, self.house.made[-1]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for _ in range(3):
            self.reactor.turn()
        self.landing.stopListening()
        self.reactor.turn()
        assert not self.reactor.readers, "nothing is left open"


@pytest.fixture
def harbour() -> Iterator[Harbour]:
    harbour = Harbour()
    yield harbour
    harbour.close()


def test_a_guest_is_greeted_heard_and_parted_from_without_a_transport(harbour: Harbour) -> None:
    client, guest = harbour.come()

    def part(_: bytes) -> None:
        guest.wire.write(b"221 bye\r\n")
        guest.wire.close()
        assert not guest.lost_with, "never while the protocol is at work"

    guest.does = part
    assert client.recv(100) == b"220 hello\r\n"
    client.sendall(b"QUIT\r\n")
    harbour.reactor.turn()
    assert (guest.heard, guest.lost_with) == (b"QUIT\r\n", [error.ConnectionDone])
    assert (client.recv(100), client.recv(100)) == (b"221 bye\r\n", b"")
    assert isinstance(guest.transport, BareWire)


def test_several_who_come_at_once_are_let_in(harbour: Harbour) -> None:
    address = (harbour.port.getHost().host, harbour.port.getHost().port)
    clients = [socket.create_connection(address, timeout=5) for _ in range(7)]
    for _ in range(5):
        harbour.reactor.turn()
    assert [client.recv(100) for client in clients] == [b"220 hello\r\n"] * 7
    for client in clients:
        client.close()


def test_replies_do_not_wait_for_company(harbour: Harbour) -> None:
    _, guest = harbour.come()
    assert guest.transport._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_protocol_that_asks_for_more_gets_a_transport(harbour: Harbour) -> None:
    harbour.house.make = Protocol
    client, protocol = harbour.come()
    assert isinstance(protocol.transport, tcp.Server)
    assert protocol.transport.getPeer().port == client.getsockname()[1]
    protocol.transport.loseConnection()
    harbour.reactor.turn()
    assert client.recv(100) == b""


def test_who_is_not_wanted_is_closed(harbour: Harbour) -> None:
    harbour.house.make = lambda: None
    client, _ = harbour.come()
    assert client.recv(100) == b""


def test_a_defect_in_letting_one_in_keeps_nobody_else_out(harbour: Harbour, capfd: pytest.CaptureFixture[str]) -> None:
    def make() -> Protocol:
        raise KeyError("a defect")

    harbour.house.make = make
    client = socket.create_connection((harbour.port.getHost().host, harbour.port.getHost().port), timeout=5)
    harbour.reactor.turn()
    assert client.recv(100) == b""
    client.close()
    harbour.house.make = Guest
    assert harbour.come()[0].recv(100) == b"220 hello\r\n"


@pytest.mark.parametrize("rudely", [False, True], ids=["closes", "resets"])
def test_a_client_that_goes_is_gone(harbour: Harbour, rudely: bool) -> None:
    client, guest = harbour.come()
    client.recv(100)
    if rudely:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    harbour.reactor.turn()
    assert guest.lost_with == [error.ConnectionLost if rudely else error.ConnectionDone]
    guest.wire.write(b"250 nobody hears it\r\n")
    guest.wire.close()
    guest.wire.abort()
    harbour.reactor.turn()
    assert len(guest.lost_with) == 1


def test_it_closes_when_the_protocol_has_returned_whoever_asked_for_it(harbour: Harbour) -> None:
    client, guest = harbour.come()
    client.sendall(b"too late\r\n")
    guest.wire.close()
    assert not guest.lost_with
    harbour.reactor.turn()
    assert (guest.heard, guest.lost_with) == (b"", [error.ConnectionDone])


def test_who_does_not_read_gets_all_of_it_in_the_end(harbour: Harbour) -> None:
    """What the socket does not take makes a transport of it, the producer is told, and nothing is lost or overtaken."""
    client, guest = harbour.come()
    said = bytes(range(256)) * 40_000
    guest.wire.write(said)
    assert isinstance(guest.transport, tcp.Server)
    assert guest.paused
    guest.wire.write(b"and this")
    guest.wire.unregisterProducer()
    guest.wire.close()
    client.setblocking(False)
    heard = b""
    while len(heard) < len(b"220 hello\r\n" + said + b"and this"):
        harbour.reactor.turn()
        with suppress(BlockingIOError):
            heard += client.recv(1 << 20)
    harbour.reactor.turn()
    assert heard == b"220 hello\r\n" + said + b"and this"
    assert guest.lost_with == [error.ConnectionDone]


def test_who_is_paused_is_not_read_as_a_transport_neither(harbour: Harbour) -> None:
    client, guest = harbour.come()
    guest.wire.pause()
    client.sendall(b"NOOP\r\n")
    harbour.reactor.turn()
    assert guest.heard == b""
    assert guest.wire.transport is guest.transport
    harbour.reactor.turn()
    assert guest.heard == b""
    guest.wire.resume()
    harbour.reactor.turn()
    assert guest.heard == b"NOOP\r\n"


def test_tls_has_a_transport_of_its_own(harbour: Harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 3207: what comes behind the 220 is read by TLS and by nobody else."""
    begun: list[object] = []
    monkeypatch.setattr(tcp.Server, "startTLS", lambda self, context: begun.append((self, context)))
    client, guest = harbour.come()
    guest.wire.startTLS("a context")
    assert begun == [(guest.transport, "a context")]
    client.sendall(b"\x16\x03\x01")
    harbour.board.doRead()
    assert guest.heard == b""


def test_a_connection_is_dropped(harbour: Harbour) -> None:
    client, guest = harbour.come()
    client.recv(100)
    client.sendall(b"unread")
    guest.wire.abort()
    harbour.reactor.turn()
    assert guest.lost_with == [error.ConnectionAborted]
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_without_descriptors_twisted_sees_to_it(harbour: Harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def accept(self) -> None:
            raise OSError(errno.EMFILE, "too many open files")

    left: list[bool] = []
    monkeypatch.setattr(harbour.landing, "_socket", Full())
    monkeypatch.setattr(harbour.port, "doRead", lambda: left.append(True))
    harbour.landing.read()
    assert left == [True]


def test_a_landing_accepts_no_more_when_it_stops(harbour: Harbour) -> None:
    harbour.landing.leave()
    client = socket.create_connection((harbour.port.getHost().host, harbour.port.getHost().port), timeout=5)
    harbour.reactor.turn()
    assert not harbour.house.made
    client.close()
    harbour.board.connect(harbour.landing)


def test_ipv6_addresses_are_told(harbour: Harbour) -> None:
    other = Harbour("::1")
    client, guest = other.come()
    assert other.house.addresses == [IPv6Address("TCP", "::1", client.getsockname()[1])]
    guest.wire.abort()
    other.close()


def test_only_ports_of_tcp_are_landed() -> None:
    class Other:
        """Some other port."""

    other = cast(Any, Other())
    assert landed(other, Switchboard(Reactor())) is other
    assert landed(tcp.Port(0, House()), None) is not None


def test_a_wire_is_its_own() -> None:
    wire = Wire(cast(Any, object()))
    assert wire_of(wire, None, bytes) is wire
