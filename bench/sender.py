"""Clients of the benchmark for what smtp-source cannot do: many domains, a given pace, sessions that only wait."""

from __future__ import annotations

import itertools
import os
import resource
import socket
import threading
import time
from collections.abc import Sequence

BATCH = 100
MESSAGES_A_SESSION = 50  # OpenSMTPD takes no more than a hundred
_LINE = b"x" * 76 + b"\r\n"


class Client:
    """One session."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")
        self._reply()
        self.say(b"EHLO client.bench")

    def say(self, *lines: bytes) -> None:
        """Sends lines together, and waits for the reply to each."""
        self._socket.sendall(b"".join(line + b"\r\n" for line in lines))
        for _ in lines:
            self._reply()

    def _reply(self) -> None:
        while True:
            line = self._stream.readline()
            if line[:1] not in (b"2", b"3"):
                raise OSError(f"the relay said {line!r}")
            if line[3:4] != b"-":
                return

    def send(self, name: str, recipients: Sequence[str], octets: int) -> float:
        """Sends a message; gives the time just before the final dot."""
        self.say(b"MAIL FROM:<ann@client.bench>")
        for begin in range(0, len(recipients), BATCH):
            self.say(*(b"RCPT TO:<%s>" % one.encode() for one in recipients[begin : begin + BATCH]))
        self.say(b"DATA")
        head = f"From: ann@client.bench\r\nSubject: bench\r\nMessage-ID: <{name}>\r\n\r\n".encode()
        self._socket.sendall(head + _LINE * (octets // len(_LINE)))
        at = time.monotonic()
        self.say(b".")
        return at

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


def paced(port: int, pace: float, seconds: float, clients: int = 4) -> dict[str, float]:
    """Sends so many messages a second; gives the time of each final dot by Message-ID."""
    sent: dict[str, float] = {}
    begin, run = time.monotonic() + 0.1, os.getpid()

    def work(number: int) -> None:
        client = Client(port)
        for sent_here, turn in enumerate(itertools.count(number, clients), 1):
            at = turn / pace
            if at > seconds:
                break
            if sent_here % MESSAGES_A_SESSION == 0:
                client.close()
                client = Client(port)
            time.sleep(max(0.0, begin + at - time.monotonic()))
            name = f"{run}.{begin:.6f}.{turn}@client.bench"
            sent[f"<{name}>"] = client.send(name, [f"r{turn}@hop.bench"], 4096)
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sent


def idle(port: int, sessions: int) -> list[Client]:
    """So many sessions that have said EHLO."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return [Client(port) for _ in range(sessions)]
