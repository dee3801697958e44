"""More than the disk and the next hop can take: clients wait, none is lost, and memory stays where it was.

Two thousand sessions at once against the real process, by a client that is one loop over an epoll.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.scenarios.disks import in_memory
from tests.scenarios.peers import dead_port, raise_descriptors, running_relay, wait_until
from tests.scenarios.tracing import injected
from tests.scenarios.wire import Caller, raw_hop

pytestmark = [pytest.mark.endtoend, pytest.mark.slow]

MIB = 1024 * 1024
SESSIONS = int(os.environ.get("RELAY_SESSIONS", "2000"))


class Session:
    """One client of the crowd: says the next thing when it has its reply."""

    def __init__(self, port: int, number: int, messages: int, content: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setblocking(False)
        self.left = messages
        self.acknowledged = 0
        self.refused: Counter[int] = Counter()
        self.is_over = False
        self._number = number
        self._content = content + b"\r\n.\r\n"
        self._unread = b""
        self._unsent = b""
        self._expects = self._greeted

    def readable(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.is_over = True
            return
        self._unread += data
        while not self.is_over and b"\r\n" in self._unread:
            line, _, self._unread = self._unread.partition(b"\r\n")
            if line[3:4] != b"-":
                code = int(line[:3])
                if code >= 400:
                    self.refused[code] += 1
                if code == 421:
                    self.is_over = True
                else:
                    self._expects(code)

    def writable(self) -> None:
        if self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except BlockingIOError:
                return
            except ConnectionError:
                self.is_over = True
                return
            self._unsent = self._unsent[sent:]

    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent)

    def _say(self, octets: bytes) -> None:
        self._unsent += octets
        self.writable()

    def _greeted(self, code: int) -> None:
        self._expects = self._welcomed
        self._say(b"EHLO client.example\r\n")

    def _welcomed(self, code: int) -> None:
        self._next()

    def _next(self) -> None:
        if not self.left:
            self._expects = self._parted
            self._say(b"QUIT\r\n")
            return
        self.left -= 1
        self._replies = 0
        self._expects = self._envelope
        self._say(
            b"MAIL FROM:<ann@client.example>\r\nRCPT TO:<m%dx%d@elsewhere.example>\r\nDATA\r\n"
            % (self._number, self.left)
        )

    def _envelope(self, code: int) -> None:
        self._replies += 1
        if self._replies == 3:
            if code == 354:
                self._expects = self._ended
                self._say(self._content)
            else:
                self._next()

    def _ended(self, code: int) -> None:
        self.acknowledged += code == 250
        self._next()

    def _parted(self, code: int) -> None:
        self.is_over = True


def crowd(port: int, sessions: int, messages: int, content: bytes, limit_s: float) -> list[Session]:
    """So many clients at once; comes back when all are done."""
    poll = select.epoll()
    everybody = [Session(port, number, messages, content) for number in range(sessions)]
    by_fd = {one.socket.fileno(): one for one in everybody}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    end = time.monotonic() + limit_s
    open_fds = set(by_fd)
    while open_fds:
        assert time.monotonic() < end, f"{len(open_fds)} sessions did not come to their end in {limit_s} s"
        for fd, _ in poll.poll(1):
            one = by_fd[fd]
            one.readable()
            one.writable()
            if one.is_over:
                poll.unregister(fd)
                one.socket.close()
                open_fds.discard(fd)
            else:
                poll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if one.wants_to_write else 0))
    poll.close()
    return everybody


def told(everybody: list[Session]) -> tuple[int, Counter[int]]:
    refused: Counter[int] = Counter()
    for one in everybody:
        refused += one.refused
    return sum(one.acknowledged for one in everybody), refused


CONFIG = (
    'routes: [{{to: "*", via: "smtp://127.0.0.1:{port}"}}]\nlimits: {{connections: 4000}}\n'
    "retry: {{first: 1s, longest: 5s}}\n"
)


@pytest.mark.parametrize(
    ("octets", "messages", "growth_octets"), [(2_000, 3, 96 * MIB), (60_000, 1, 400 * MIB), (300_000, 1, 400 * MIB)]
)
def test_two_thousand_sessions_at_once_while_nothing_can_be_delivered(
    tmp_path: Path, octets: int, messages: int, growth_octets: int
) -> None:
    """Memory holds the sessions and a bounded part of the mail (docs/operations.md); the rest waits on disk."""
    raise_descriptors(2 * SESSIONS + 500)
    content = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * (octets // 72)
    with dead_port() as nowhere, running_relay(tmp_path, CONFIG.format(port=nowhere)) as relay:
        before = relay.peak_octets()
        began = time.monotonic()
        acknowledged, refused = told(crowd(relay.port, SESSIONS, messages, content, 240))
        took_s = time.monotonic() - began
        grown = relay.peak_octets() - before
        print(
            f"{SESSIONS} sessions, {messages} x {octets}: {acknowledged} taken in {took_s:.1f} s, "
            f"refused {dict(refused)}, grown {grown / MIB:.0f} MiB"
        )
        assert acknowledged == SESSIONS * messages - sum(refused.values())
        assert set(refused) <= {421, 451, 452}
        assert grown < growth_octets
        rows = relay.command("queue", "list", "--json").stdout.splitlines()
        assert len(rows) == acknowledged
        with Caller(relay.port) as client:
            client.greet()


def test_a_slow_disk_makes_clients_wait_and_not_memory_grow(tmp_path: Path) -> None:
    """Each sync takes a quarter second: commits gather what has come, clients wait for their 250, nobody is refused."""
    raise_descriptors(2 * SESSIONS + 500)
    content = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 40
    with raw_hop() as hop, running_relay(tmp_path, CONFIG.format(port=hop.port)) as relay:
        before = relay.peak_octets()
        with injected(relay.pid, "fdatasync,fsync", "delay_enter=250000"):
            began = time.monotonic()
            acknowledged, refused = told(crowd(relay.port, SESSIONS, 2, content, 240))
            took_s = time.monotonic() - began
        grown = relay.peak_octets() - before
        print(
            f"a slow disk: {acknowledged} taken in {took_s:.1f} s, refused {dict(refused)}, grown {grown / MIB:.0f} MiB"
        )
        assert acknowledged + sum(refused.values()) == SESSIONS * 2
        assert set(refused) <= {421, 451, 452}
        assert grown < 96 * MIB
        wait_until(lambda: len(hop.contents) >= acknowledged, "all that was taken arrives", 120)


def test_a_crowd_of_large_messages_and_little_room_is_452_and_passes(tmp_path: Path) -> None:
    """A full disk under a crowd: as many are taken as it holds (96 MiB less the reserve, and what is left free), the
    others told 452, and none of those taken is lost."""
    raise_descriptors(1000)
    content = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 14_000
    with (
        in_memory(tmp_path / "disk", "size=96m") as folder,
        dead_port() as nowhere,
        running_relay(tmp_path / "r", CONFIG.format(port=nowhere), spool=folder / "spool") as relay,
    ):
        before = relay.peak_octets()
        acknowledged, refused = told(crowd(relay.port, 200, 2, content, 240))
        grown = relay.peak_octets() - before
        print(f"a full disk: {acknowledged} taken, refused {dict(refused)}, grown {grown / MIB:.0f} MiB")
        assert 60 < acknowledged < 80
        assert acknowledged + sum(refused.values()) == 400
        assert set(refused) <= {451, 452}
        assert grown < 128 * MIB
        assert len(relay.command("queue", "list", "--json").stdout.splitlines()) == acknowledged
