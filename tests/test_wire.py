"""Octets leave at once, in order, and never past TLS."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from relay.wire import Wire


@dataclass
class Socket:
    """A transport as Twisted has it; takes so many octets at each try, then what is held goes out later."""

    takes: list[int]
    connected: bool = True
    TLS: bool = False
    sent: bytes = b""
    held: bytes = b""
    through_tls: bytes = b""
    tried: int = field(default=0)

    def writeSomeData(self, data: bytes) -> int:
        assert not self.TLS, "plain text past TLS"
        assert not self.held, "overtaken"
        self.tried += 1
        taken = data[: self.takes.pop(0) if self.takes else len(data)]
        self.sent += taken
        return len(taken)

    def write(self, data: bytes) -> None:
        if self.TLS:
            self.through_tls += data
        else:
            self.held += data

    def flush(self) -> None:
        self.sent, self.held = self.sent + self.held, b""


def test_what_fits_leaves_at_once() -> None:
    socket = Socket([])
    wire = Wire(socket)
    wire.write(b"250 OK\r\n")
    wire.write(b"221 bye\r\n")
    assert (socket.sent, socket.held) == (b"250 OK\r\n221 bye\r\n", b"")


@given(st.lists(st.binary(min_size=1, max_size=8)), st.lists(st.integers(0, 8)), st.integers(0, 5))
def test_nothing_is_lost_overtaken_or_doubled(pieces: list[bytes], takes: list[int], flush_every: int) -> None:
    socket = Socket(takes)
    wire = Wire(socket)
    for number, piece in enumerate(pieces):
        wire.write(piece)
        if flush_every and number % flush_every == 0:
            socket.flush()
    socket.flush()
    assert socket.sent == b"".join(pieces)


def test_nothing_passes_tls_by() -> None:
    """RFC 3207: after the 220 everything is encrypted; the socket below must not be written to directly."""
    socket = Socket([])
    wire = Wire(socket)
    wire.write(b"220 go ahead\r\n")
    socket.TLS = True
    wire.write(b"250 secret\r\n")
    assert (socket.sent, socket.through_tls) == (b"220 go ahead\r\n", b"250 secret\r\n")


def test_a_lost_connection_is_left_to_the_transport() -> None:
    class Lost(Socket):
        def writeSomeData(self, data: bytes) -> int:
            return OSError()  # type: ignore[return-value]  # as Twisted returns it

    socket = Lost([])
    Wire(socket).write(b"250 OK\r\n")
    assert socket.held == b"250 OK\r\n"


def test_a_transport_that_cannot_is_written_to_as_usual() -> None:
    class Plain:
        def __init__(self) -> None:
            self.written = b""

        def write(self, data: bytes) -> None:
            self.written += data

    plain = Plain()
    Wire(plain).write(b"250 OK\r\n")
    assert plain.written == b"250 OK\r\n"
