"""Drives each relay with Postfix's smtp-source and clients of its own into one counting sink, in interleaved rounds.

    python -m bench --quick              a few minutes: fewer messages, one round, the fast peers
    python -m bench                      everything; an hour, and some gigabytes of disk
    python -m bench --write              … and puts the tables and the chart into docs/performance.md
    python -m bench --json m.json --works 0,1 --queued= --no-syncs
                                         these works alone; what was measured is added to what the file has

The machine's speed wanders, so only ratios within one run mean anything: every round runs every peer,
and the table shows medians with their spread.  Messages are counted as distinct ones at the sink.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.measured import Measured
from bench.names import serve as _names  # noqa: F401 - so that a missing dnspython is said at once
from bench.peers import PEERS, Peer
from bench.queued import Queued
from bench.report import write
from bench.roots import Missing
from bench.syncs import syncs_per_message
from bench.works import (
    Result,
    Sink,
    Work,
    idle_sessions,
    latency,
    one_message,
    one_round,
    source,
)

NAMES_ADDRESS, HOST_ADDRESS = "127.0.0.3", "127.0.0.2"
"""Where the DNS of the benchmark answers, and the mail host of all its domains."""

QUICK_PEERS = ("straight", "relay", "relay-2", "postfix")


def works(quick: bool) -> Sequence[Work]:
    few = 4 if quick else 1
    less_cpu = "messages/s, ≤ 1/5 of the processor time"
    return [
        Work("4 KiB, 20 sessions, one connection each", "messages/s", source(20, 8000 // few), f"≥ 3× {less_cpu}"),
        Work("4 KiB, 100 sessions, one connection each", "messages/s", source(100, 8000 // few), f"≥ 4× {less_cpu}"),
        Work("4 KiB, 20 sessions, kept", "messages/s", source(20, 12000 // few, kept=True), "≥ 5×"),
        Work("4 KiB, 100 sessions, kept", "messages/s", source(100, 12000 // few, kept=True), "≥ 6×"),
        Work("1 MiB, 10 sessions, kept", "MiB/s", source(10, 200 // few, 1 << 20, True), "≥ 1.5×, < 150 MiB of memory"),
        Work("one message to 10,000 on one hop", "recipients/s", one_message(on_one_hop), "≥ 3×"),
        Work("one message to 10,000 in 1,000 domains", "recipients/s", one_message(in_domains), "≥ 3×"),
        Work("50 messages/s: from final dot to final dot", "ms", latency(50, 20 / few), "median < 10 ms, p99 < 50 ms"),
        Work("5,000 idle sessions", "KiB each", idle_sessions(5000 // few), "< 12 KiB", everybody=False),
    ]


def on_one_hop() -> Sequence[str]:
    return [f"r{number}@hop.bench" for number in range(10_000)]


def in_domains() -> Sequence[str]:
    return [f"r{number}@d{number % 1000}.bench" for number in range(10_000)]


def by_mx(work: Work) -> bool:
    return "domains" in work.name


class Benchmark:
    """One run: gathers what was measured, and says it as it goes."""

    def __init__(self, names: Sequence[str], rounds: int, measured: Measured) -> None:
        self.measured = measured
        self._peers = list(names)
        self._rounds = rounds
        self._sink = Sink()

    def close(self) -> None:
        self._sink.stop()

    def do(self, work: Work) -> None:
        print(f"\n{work.name}", flush=True)
        mine = [name for name in self._peers if work.everybody or name.startswith("relay")]
        if work.unit == "ms" or work.unit.startswith("recipients"):
            mine = [name for name in mine if name != "straight"]
        if by_mx(work):
            with tempfile.TemporaryDirectory():
                self._in_domains(work, [name for name in mine if name.startswith(("relay", "postfix"))])
        else:
            self._in_turn(work, mine, self._sink, "")
        for line in self.measured.lines(work):
            print(f"  {line}", flush=True)

    def _in_domains(self, work: Work, mine: Sequence[str]) -> None:
        try:
            sink = Sink(25, HOST_ADDRESS)
        except Missing as why:
            self.measured.left_out[work.name] = f"port 25 of {HOST_ADDRESS}: {why}"
            return
        names = subprocess.Popen([sys.executable, "-m", "bench.names", NAMES_ADDRESS, "53", HOST_ADDRESS])
        try:
            self._in_turn(work, mine, sink, NAMES_ADDRESS)
        finally:
            names.terminate()
            names.wait()
            sink.stop()

    def _in_turn(self, work: Work, mine: Sequence[str], sink: Sink, names: str) -> None:
        for _ in range(self._rounds):
            for name in list(mine):
                if name in self.measured.left_out:
                    continue
                peer = PEERS[name]()
                peer.by_mx = names
                try:
                    self.measured.add(work, peer.name, one_round(peer, work, sink))
                except Missing as why:
                    self.measured.left_out[name] = str(why)
                    print(f"  {peer.name}: left out: {why}", flush=True)
                except (OSError, subprocess.SubprocessError, ValueError) as why:
                    self.measured.add(work, peer.name, Result(0.0, complete=False))
                    print(f"  {peer.name}: failed: {why!r}", flush=True)

    def count_syncs(self) -> None:
        print("\nsyncs per message", flush=True)
        for name in self._peers:
            if name == "straight" or name in self.measured.left_out:
                continue
            peer: Peer = PEERS[name]()
            try:
                self.measured.syncs[peer.name] = syncs_per_message(peer, self._sink)
            except (Missing, OSError) as why:
                print(f"  {peer.name}: not counted: {why}")
            else:
                print(f"  {peer.name:28} {self.measured.syncs[peer.name]:6.2f}", flush=True)

    def with_queues(self, sizes: Sequence[int], live: int, spools: Path | None) -> None:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as folder:
            for messages in sizes:
                print(f"\n{messages:,} messages queued for a host that does not answer", flush=True)
                queued = Queued(messages, spools or Path(folder))
                for _ in range(self._rounds):
                    self.measured.queued.setdefault(messages, []).append(queued.measure(self._sink, live, print))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", help=f"which, separated by commas, of {','.join(PEERS)}")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--works", help="numbers of works, from 0, separated by commas; empty for none")
    parser.add_argument("--queued", help="sizes of queues, separated by commas; empty for none")
    parser.add_argument("--spools", type=Path, help="a folder that keeps the queues, which take minutes to fill")
    parser.add_argument("--no-syncs", action="store_true", help="count no system calls")
    parser.add_argument("--write", action="store_true", help="put the result into docs/performance.md")
    parser.add_argument("--json", type=Path, help="add what was measured to what this file has")
    options = parser.parse_args()
    names = options.peers.split(",") if options.peers else QUICK_PEERS if options.quick else tuple(PEERS)
    benchmark = Benchmark(names, options.rounds or (1 if options.quick else 3), Measured.begun(options.json))
    try:
        all_works = works(options.quick)
        for number in range(len(all_works)) if options.works is None else numbers(options.works):
            benchmark.do(all_works[number])
        if not options.no_syncs:
            benchmark.count_syncs()
        queued = "20000" if options.quick else "100000,1000000"
        sizes = numbers(queued if options.queued is None else options.queued)
        benchmark.with_queues(sizes, 3000 if options.quick else 12000, options.spools)
    finally:
        benchmark.close()
        if options.json:
            benchmark.measured.save(options.json)
    if options.write:
        benchmark.measured.sort(all_works)
        write(benchmark.measured)


def numbers(words: str) -> Sequence[int]:
    return [int(word) for word in words.split(",") if word]


if __name__ == "__main__":
    main()
