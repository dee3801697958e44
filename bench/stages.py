"""Where the processor's time of a message goes, stage by stage: ``python -m bench.stages [--messages N]``.

The relay is looked at two hundred times a second by py-spy (``pip install py-spy``), which stops it for that moment and
otherwise lets it run as it does.  A moment counts for the innermost function of relay that is at work in it, with what
that has called: Python's own library, SQLite, and the kernel.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.budget import STAGES, stage_of
from bench.peers import Relay, find
from bench.usage import family, usage
from bench.works import SETTLE_S, Sink, source

_RECORD = ("record", "-r", "200", "-f", "raw", "--full-filenames", "-d", "600")
_FILE = re.compile(r"\(([^()]*):\d+\)")
_PACKAGE = str(Path(__file__).parent.parent / "relay")


def moments(file: Path) -> Counter[str]:
    """Stage -> how often it was at work; in the storage thread: ``disk``."""
    found: Counter[str] = Counter()
    for line in file.read_text("utf-8", "replace").splitlines():
        stack, _, count = line.rpartition(" ")
        places = [match[1] for match in _FILE.finditer(stack)]
        ours = [place for place in places if place.startswith(_PACKAGE)]
        in_thread = any(place.endswith("relay/queue/threads.py") for place in places)
        if in_thread and places[-1].endswith("relay/queue/threads.py"):
            continue  # it waits for work
        found["disk" if in_thread else stage_of(ours[-1]) if ours else "twisted"] += int(count)
    return found


def program_of(peer: Relay) -> int:
    """The process of the relay itself, beneath the one that watches over it."""
    return family(peer.pids()[0])[1]


def measure(sink: Sink, messages: int, kept: bool) -> tuple[Counter[str], float]:
    """Moments by stage, and µs of processor a message."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as name:
        peer, file = Relay(), Path(name) / "moments"
        try:
            peer.start(Path(name), sink.port)
            source(20, 500, kept=kept)(peer, sink)  # everybody warm
            time.sleep(SETTLE_S)
            words = [find("py-spy"), *_RECORD, "-o", str(file), "-p", str(program_of(peer))]
            spy = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(2 * SETTLE_S)
            before = usage(peer.pids())
            source(20, messages, kept=kept)(peer, sink)
            used_s = usage(peer.pids()).cpu_s - before.cpu_s
            spy.send_signal(signal.SIGINT)
            spy.wait(30)
        finally:
            peer.stop()
        return moments(file), used_s / messages * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    options = parser.parse_args()
    sink = Sink()
    try:
        each, kept = (measure(sink, options.messages, kept) for kept in (False, True))
    finally:
        sink.stop()
    print("| µs of processor a message | one connection each | kept |\n| --- | --- | --- |")
    for stage in (*STAGES, "wire", "twisted", "disk"):
        shares = [(found[stage] / found.total(), used) for found, used in (each, kept)]
        print(f"| {stage} | {' | '.join(f'{share * used:.0f} ({share:.0%})' for share, used in shares)} |")
    print(f"| all | {each[1]:.0f} | {kept[1]:.0f} |")


if __name__ == "__main__":
    main()
