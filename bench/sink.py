"""A next hop that only counts, as fast as Python can: ``python -m bench.sink PORT [ADDRESS]``.

It offers PIPELINING and 8BITMIME, takes everything, and remembers each Message-ID and when it came, so that
what is missing or came twice is seen.  ``XSTAT`` answers with the counts as JSON, ``XTIMES`` with the times
(of the clock that all processes share, time.monotonic), ``XRESET`` forgets.  One process, one epoll loop, one write
for each read.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time

_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
_EHLO = b"250-sink.bench\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n"
_OK = b"250 2.0.0 Ok\r\n"
_END = b"\r\n.\r\n"


class Tally:
    """What has arrived."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.messages = 0
        self.recipients = 0
        self.octets = 0
        self.names: dict[bytes, float] = {}

    def json(self) -> bytes:
        counts = {
            "messages": self.messages,
            "distinct": len(self.names),
            "recipients": self.recipients,
            "octets": self.octets,
        }
        return b"250 " + json.dumps(counts).encode() + b"\r\n"

    def times(self) -> bytes:
        return b"250 " + json.dumps({name.decode(): at for name, at in self.names.items()}).encode() + b"\r\n"


class Connection:
    """One client.  ``receive`` gives what to write back, or None to close."""

    __slots__ = ("_buffer", "_head", "_in_content", "_recipients", "_seen", "_tally", "socket")

    def __init__(self, sock: socket.socket, tally: Tally) -> None:
        self.socket = sock
        self._tally = tally
        self._buffer = b""
        self._in_content = False
        self._head = b""
        self._seen = 0
        self._recipients = 0

    def receive(self, data: bytes) -> bytes | None:
        out = bytearray()
        data = self._buffer + data
        while data:
            if self._in_content:
                data, done = self._content(data)
                if not done:
                    break
                out += _OK
                continue
            line, newline, rest = data.partition(b"\r\n")
            if not newline:
                break
            data = rest
            verb = line[:4].upper()
            if verb == b"QUIT":
                self.socket.send(bytes(out) + b"221 2.0.0 Bye\r\n")
                return None
            out += self._command(verb, line)
        self._buffer = data
        return bytes(out)

    def _command(self, verb: bytes, line: bytes) -> bytes:
        if verb == b"EHLO":
            return _EHLO
        if verb == b"RCPT":
            self._recipients += 1
        elif verb == b"DATA":
            self._in_content = True
            self._head = b""
            self._seen = 0
            return b"354 Go\r\n"
        elif verb == b"XSTA":
            return self._tally.json()
        elif verb == b"XTIM":
            return self._tally.times()
        elif verb == b"XRES":
            self._tally.forget()
        return _OK

    def _content(self, data: bytes) -> tuple[bytes, bool]:
        """Takes content; gives what is left and whether the message has ended."""
        end = data.find(_END)
        if end < 0:
            # Keep what might be the beginning of the end; the rest is only counted.
            keep = data[-4:]
            if len(self._head) < 4096:
                self._head += data[:-4]
            self._seen += len(data) - len(keep)
            return keep, False
        if len(self._head) < 4096:
            self._head += data[:end]
        name = _MESSAGE_ID.search(self._head, 0, 8192)
        tally = self._tally
        tally.messages += 1
        tally.recipients += self._recipients  # counted when the content is here, not when it is promised
        self._recipients = 0
        tally.octets += self._seen + end + 2
        tally.names.setdefault(name[1] if name else b"?%d" % tally.messages, time.monotonic())
        self._in_content = False
        return data[end + len(_END) :], True


def serve(port: int, address: str = "127.0.0.1") -> None:
    """Runs until killed."""
    tally = Tally()
    server = socket.create_server((address, port), backlog=1024)
    server.setblocking(False)
    poll = select.epoll()
    poll.register(server, select.EPOLLIN)
    connections: dict[int, Connection] = {}
    while True:
        for number, _event in poll.poll():
            if number == server.fileno():
                while True:
                    try:
                        sock, _ = server.accept()
                    except BlockingIOError:
                        break
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connections[sock.fileno()] = Connection(sock, tally)
                    poll.register(sock, select.EPOLLIN)
                    sock.send(b"220 sink.bench ESMTP\r\n")
                continue
            connection = connections[number]
            try:
                data = connection.socket.recv(262_144)
                reply = connection.receive(data) if data else None
                if reply:
                    connection.socket.sendall(reply)
            except OSError:
                reply = None
            if reply is None:
                poll.unregister(connection.socket)
                connection.socket.close()
                del connections[number]


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:])
