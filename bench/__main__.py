"""Drives each relay with Postfix's smtp-source into one counting sink, in interleaved rounds.

The machine's speed wanders, so only ratios within one run mean anything: every round runs every peer,
and the table shows medians with their spread.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.peers import PEERS, Missing, Peer, find, free_port, wait_for
from bench.usage import usage


@dataclass(frozen=True, slots=True)
class Work:
    """What smtp-source is told to do: sessions at once, messages, octets, connections kept or not."""

    name: str
    sessions: int
    messages: int
    octets: int = 4096
    kept: bool = False
    recipients: int = 1

    def arguments(self, port: int) -> list[str]:
        words = ["-s", str(self.sessions), "-m", str(self.messages), "-l", str(self.octets), "-r", str(self.recipients)]
        return [*words, *(["-d"] if self.kept else []), f"127.0.0.1:{port}"]


WORKS = [
    Work("4 KiB, 20 sessions, one connection each", 20, 3000),
    Work("4 KiB, 100 sessions, one connection each", 100, 3000),
    Work("4 KiB, 20 sessions, kept", 20, 4000, kept=True),
    Work("4 KiB, 100 sessions, kept", 100, 4000, kept=True),
    Work("1 MiB, 10 sessions, kept", 10, 60, 1 << 20, kept=True),
    Work("4 KiB to 1,000 recipients on one hop", 1, 5, recipients=1000),
]


@dataclass(frozen=True, slots=True)
class Result:
    """messages_per_s from the first connection to the last arrival; complete: every one arrived, once."""

    messages_per_s: float
    cpu_ms: float
    memory_octets: int
    complete: bool


class Sink:
    """The counting sink in a process of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process = subprocess.Popen([sys.executable, "-m", "bench.sink", str(self.port)])
        wait_for(self.port)

    def ask(self, command: str) -> dict[str, int]:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            stream = connection.makefile("rwb")
            stream.readline()
            stream.write(command.encode() + b"\r\n")
            stream.flush()
            answer = stream.readline()[4:]
            return dict(json.loads(answer)) if answer.startswith(b"{") else {}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def run(peer: Peer, work: Work, sink: Sink, limit_s: float = 180.0) -> Result:
    """One round of one peer."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        folder.chmod(0o755)
        peer.start(folder, sink.port)
        try:
            time.sleep(0.5)
            sink.ask("XRESET")
            before = usage(peer.pids())
            start = time.monotonic()
            source = subprocess.Popen([find("smtp-source"), *work.arguments(peer.port)])
            wanted, end = work.messages * work.recipients, start + limit_s
            counts = sink.ask("XSTAT")
            while counts["recipients"] < wanted and time.monotonic() < end:
                time.sleep(0.02)
                counts = sink.ask("XSTAT")
            took = time.monotonic() - start
            source.wait(30)
            after = usage(peer.pids())
            complete = counts["recipients"] == wanted and counts["distinct"] == work.messages
            rate = counts["recipients"] / took
            return Result(rate, (after.cpu_s - before.cpu_s) * 1000 / max(1, wanted), after.memory_octets, complete)
        finally:
            peer.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help="which, separated by commas (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=int, action="append", help="number of a work, from 0 (default: all)")
    options = parser.parse_args()
    sink = Sink()
    try:
        for number in options.work or range(len(WORKS)):
            work = WORKS[number]
            print(f"\n{work.name}")
            results: dict[str, list[Result]] = {}
            for _ in range(options.rounds):
                for name in options.peers.split(","):
                    peer = PEERS[name]()
                    try:
                        results.setdefault(peer.name, []).append(run(peer, work, sink))
                    except Missing as why:
                        print(f"  {peer.name}: left out: {why}")
            for name, rounds in results.items():
                rates = [result.messages_per_s for result in rounds]
                print(
                    f"  {name:28} {statistics.median(rates):8.0f}/s  ({min(rates):.0f}-{max(rates):.0f})"
                    f"  CPU {statistics.median(r.cpu_ms for r in rounds):6.2f} ms"
                    f"  memory {max(r.memory_octets for r in rounds) >> 20} MiB"
                    f"{'' if all(r.complete for r in rounds) else '  NOT ALL ARRIVED ONCE'}"
                )
    finally:
        sink.stop()


if __name__ == "__main__":
    main()
