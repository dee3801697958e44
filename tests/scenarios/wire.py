"""Clients and next hops that are rude on purpose: octets over a plain socket, written and read as they are."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


class Caller:
    """A client that says octets.  ``codes`` reads whole replies."""

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._unread = b""

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def codes(self, count: int) -> list[int]:
        """The codes of the next replies; fewer when the connection is closed before."""
        found: list[int] = []
        while len(found) < count:
            line, end, rest = self._unread.partition(b"\r\n")
            if end:
                self._unread = rest
                if line[3:4] != b"-":
                    found.append(int(line[:3]))
                continue
            try:
                more = self.socket.recv(65536)
            except ConnectionError:
                more = b""
            if not more:
                break
            self._unread += more
        return found

    def ask(self, *lines: bytes) -> list[int]:
        """Says each line, all at once, and reads as many replies."""
        self.say(b"".join(line + b"\r\n" for line in lines))
        return self.codes(len(lines))

    def greet(self) -> Caller:
        assert self.codes(1) == [220]
        assert self.ask(b"EHLO client.example") == [250]
        return self


@dataclass
class RawHop:
    """A next hop that keeps the octets as they came.

    commands  the lines of all sessions, without CRLF
    contents  what stood between 354 and CRLF.CRLF, dots still stuffed, with the end of data
    replies   verb -> what it says, in place of yes
    flood     verb -> octets that it says without end in place of a reply, until the other side has enough
    flooded   octets that it got rid of so
    """

    port: int = 0
    commands: list[bytes] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    replies: dict[bytes, bytes] = field(default_factory=dict)
    flood: dict[bytes, bytes] = field(default_factory=dict)
    flooded: int = 0
    sessions: int = 0
    extensions: tuple[bytes, ...] = (b"PIPELINING", b"8BITMIME", b"DSN")

    def serve(self, connection: socket.socket) -> None:
        self.sessions += 1
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            lines = connection.makefile("rb")
            self._say(connection, b"GREETING", b"220 hop.example")
            while line := lines.readline():
                self.commands.append(line.removesuffix(b"\r\n"))
                verb = line[:4].upper().rstrip()
                if verb in self.flood:
                    while True:
                        self.flooded += connection.send(self.flood[verb] * 1000)
                if verb == b"EHLO":
                    offered = [b"hop.example", *self.extensions]
                    usual = b"".join(b"250-%s\r\n" % one for one in offered[:-1]) + b"250 " + offered[-1]
                    self._say(connection, verb, usual)
                elif verb == b"DATA":
                    self._say(connection, verb, b"354 go")
                    if not self.replies.get(verb, b"354").startswith(b"354"):
                        continue
                    content = b""
                    while not (b"\r\n" + content).endswith(b"\r\n.\r\n"):
                        more = lines.readline()
                        if not more:
                            return
                        content += more
                    self.contents.append(content)
                    self._say(connection, b"END", b"250 2.0.0 taken")
                elif verb == b"QUIT":
                    self._say(connection, verb, b"221 bye")
                    return
                else:
                    self._say(connection, verb, b"250 ok")

    def _say(self, connection: socket.socket, verb: bytes, usual: bytes) -> None:
        connection.sendall(self.replies.get(verb, usual) + b"\r\n")


@contextlib.contextmanager
def raw_hop(serve: Callable[[socket.socket], None] | None = None, **settings: object) -> Iterator[RawHop]:
    """Such a hop on loopback; with ``serve`` each connection is served by that."""
    hop = RawHop(**settings)  # type: ignore[arg-type]
    listening = socket.create_server(("127.0.0.1", 0), backlog=500)
    hop.port = listening.getsockname()[1]

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=serve or hop.serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield hop
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
