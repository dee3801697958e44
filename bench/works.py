"""The works: what every relay is given to do, and what came of it."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers import Peer, find, free_port, wait_for
from bench.sender import Client, idle, paced
from bench.usage import share_busy, usage

MIB = 1 << 20
SETTLE_S = 0.5
LIMIT_S = 120.0


@dataclass(slots=True)
class Result:
    """What one round measured.

    value     in the work's unit; 0 when it could not be done
    complete  every message arrived, once
    more      of latencies: the 99th percentile and the worst
    others    how busy other programs kept the processors just before, 0..1
    """

    value: float
    cpu_ms: float = 0.0
    memory_octets: int = 0
    complete: bool = True
    more: dict[str, float] = field(default_factory=dict)
    others: float = 0.0


class Sink:
    """The counting sink in a process of its own."""

    def __init__(self, port: int = 0, address: str = "127.0.0.1") -> None:
        self.port = port or free_port()
        self.address = address
        self._process = subprocess.Popen([sys.executable, "-m", "bench.sink", str(self.port), address])
        wait_for(self.port, address=address)

    def ask(self, command: str) -> dict[str, float]:
        with socket.create_connection((self.address, self.port)) as connection:
            stream = connection.makefile("rwb")
            stream.readline()
            stream.write(command.encode() + b"\r\n")
            stream.flush()
            answer = stream.readline()[4:]
            return dict(json.loads(answer)) if answer.startswith(b"{") else {}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work.

    unit       of ``Result.value``; for ``ms`` less is better
    everybody  whether other relays do it too, or it is about ours only
    """

    name: str
    unit: str
    run: Callable[[Peer, Sink], Result]
    goal: str
    everybody: bool = True


def part_of(messages: int, sessions: int, peer: Peer) -> int:
    """How many of these messages a peer gets: a slow one need not have all, to know its rate."""
    return max(2 * sessions, int(messages * peer.part))


def source(sessions: int, messages: int, octets: int = 4096, kept: bool = False) -> Callable[[Peer, Sink], Result]:
    """Work for smtp-source.  The rate counts from its start to the last arrival, of distinct messages."""

    def run(peer: Peer, sink: Sink) -> Result:
        return _from_source(peer, sink, part_of(messages, sessions, peer))

    def _from_source(peer: Peer, sink: Sink, messages: int) -> Result:
        words = ["-s", str(sessions), "-m", str(messages), "-l", str(octets), *(["-d"] if kept else [])]
        sink.ask("XRESET")
        before = usage(peer.pids())
        begun = time.monotonic()
        load = subprocess.Popen([find("smtp-source"), *words, f"127.0.0.1:{peer.port}"], stderr=subprocess.DEVNULL)
        took = arrive(sink, messages, begun, load)
        after, counts = usage(peer.pids()), sink.ask("XSTAT")
        complete = counts["messages"] == counts["distinct"] == messages
        value = counts["distinct"] / took * (octets / MIB if octets >= MIB else 1)
        cpu_ms = (after.cpu_s - before.cpu_s) * 1000 / max(1, counts["distinct"])
        return Result(value, cpu_ms, after.memory_octets, complete)

    return run


def arrive(sink: Sink, messages: int, begun: float, load: subprocess.Popen[bytes]) -> float:
    """Waits until all have arrived; gives the seconds since it began."""
    counts = sink.ask("XSTAT")
    last, moved = 0.0, time.monotonic()
    while counts["distinct"] < messages and moved + LIMIT_S / 4 > time.monotonic() < begun + LIMIT_S:
        time.sleep(0.02)
        counts = sink.ask("XSTAT")
        if counts["messages"] != last:
            last, moved = counts["messages"], time.monotonic()
    if counts["distinct"] < messages:
        load.kill()
    load.wait()
    return (time.monotonic() if counts["distinct"] >= messages else moved) - begun


def one_message(recipients: Callable[[], Sequence[str]]) -> Callable[[Peer, Sink], Result]:
    """One message to many; recipients a second."""

    def run(peer: Peer, sink: Sink) -> Result:
        names = recipients()
        sink.ask("XRESET")
        before = usage(peer.pids())
        client = Client(peer.port)
        begun = time.monotonic()
        client.send(f"{begun}@client.bench", names, 4096)
        while (counts := sink.ask("XSTAT"))["recipients"] < len(names) and time.monotonic() < begun + LIMIT_S:
            time.sleep(0.02)
        took = time.monotonic() - begun
        client.close()
        after = usage(peer.pids())
        cpu_ms = (after.cpu_s - before.cpu_s) * 1000 / len(names)
        return Result(counts["recipients"] / took, cpu_ms, after.memory_octets, counts["recipients"] == len(names))

    return run


def latency(pace: float, seconds: float) -> Callable[[Peer, Sink], Result]:
    """From our final dot to the arrival of the sink's, in ms: median, and p99 in ``more``."""

    def run(peer: Peer, sink: Sink) -> Result:
        paced(peer.port, pace, 2.0)  # everybody warm
        time.sleep(1.0)
        sink.ask("XRESET")
        sent = paced(peer.port, pace, seconds)
        until = time.monotonic() + 10
        while sink.ask("XSTAT")["distinct"] < len(sent) and time.monotonic() < until:
            time.sleep(0.1)
        came = sink.ask("XTIMES")
        waits = sorted((came[name] - at) * 1000 for name, at in sent.items() if name in came)
        more = {"p99": waits[int(len(waits) * 0.99)], "worst": waits[-1]}
        return Result(statistics.median(waits), complete=len(waits) == len(sent), more=more)

    return run


def idle_sessions(sessions: int) -> Callable[[Peer, Sink], Result]:
    """KiB of memory for each session that has said EHLO and waits."""

    def run(peer: Peer, sink: Sink) -> Result:
        before = usage(peer.pids())
        clients = idle(peer.port, sessions)
        time.sleep(1.0)
        after = usage(peer.pids())
        for client in clients:
            client.close()
        return Result((after.memory_octets - before.memory_octets) / sessions / 1024, 0, after.memory_octets)

    return run


def one_round(peer: Peer, work: Work, sink: Sink) -> Result:
    """One round of one peer, from an empty queue."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            peer.start(folder, sink.port)
            time.sleep(SETTLE_S)
            others = share_busy(SETTLE_S)
            result = work.run(peer, sink)
            result.others = others
            return result
        finally:
            with suppress(OSError):
                peer.stop()
