"""The budget of a message: its calls of Python and of the system, for docs/performance.md.

    python -m bench.budget [--messages N]

Each number is the difference of two runs, one with twice as many messages as the other, so that beginning and end of
the program do not count.  Profilers slow what they watch: nothing of time is told here.
"""

from __future__ import annotations

import argparse
import pstats
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench.peers
from bench.peers import Relay, find
from bench.works import SETTLE_S, Sink, source

STAGES = ("receive", "smtp", "policy", "queue", "schedule", "route", "deliver", "message", "operate")
_CALL = re.compile(r"^[0-9]+ +(\w+)\(", re.MULTILINE)


def run(sink: Sink, messages: int, kept: bool, under: Callable[[Path], list[str]]) -> Path:
    """One run of the relay under something that counts; gives the file with what was counted."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        counted = Path(tempfile.mkstemp(prefix="budget-")[1])
        peer = Relay()
        bench.peers.under = under(counted)
        try:
            peer.start(folder, sink.port)
            time.sleep(2 * SETTLE_S)
            result = source(20, messages, kept=kept)(peer, sink)
            time.sleep(2 * SETTLE_S)
        finally:
            bench.peers.under = []
            peer.stop()
    if not result.complete:
        raise OSError("not every message arrived")
    return counted


def difference(
    sink: Sink, messages: int, kept: bool, under: Callable[[Path], list[str]], read: Callable[[Path], Counter[str]]
) -> dict[str, float]:
    """What a message costs."""
    counts = []
    for times in (1, 2):
        counted = run(sink, times * messages, kept, under)
        counts.append(read(counted))
        counted.unlink()
    few, many = counts
    return {name: (many[name] - few[name]) / messages for name in many}


def system_calls(counted: Path) -> Counter[str]:
    return Counter(_CALL.findall(counted.read_text("utf-8", "replace")))


def python_calls(counted: Path) -> Counter[str]:
    """Calls by stage: ``stage`` of functions in Python, ``stage, C`` of functions in C that it calls."""
    calls: Counter[str] = Counter()
    stats: dict[Any, Any] = pstats.Stats(str(counted)).stats  # type: ignore[attr-defined]
    for (file, _, _), (_, count, _, _, callers) in stats.items():
        if file != "~":
            calls[stage_of(file)] += count
            continue
        for (caller, _, _), (many, *_) in callers.items():
            calls[f"{stage_of(caller)}, C"] += many
    return calls


def stage_of(file: str) -> str:
    found = re.search(r"/relay/(\w+)[/.]", file)
    if found is not None and "site-packages" not in file:
        return found[1] if found[1] in STAGES else "wire"
    return "twisted" if "/twisted/" in file else "library"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000)
    messages = parser.parse_args().messages
    strace = [find("strace"), "-f", "-qq", "-o"]
    sink = Sink()
    try:
        each, kept = (
            difference(sink, messages, kept, lambda counted: [*strace, str(counted)], system_calls)
            for kept in (False, True)
        )
        print("| system calls a message | one connection each | kept |\n| --- | --- | --- |")
        for name in sorted(each, key=lambda name: -each[name]):
            if each[name] >= 0.05:
                print(f"| {name} | {each[name]:.1f} | {max(0.0, kept.get(name, 0)):.1f} |")
        print(f"| all | {sum(each.values()):.0f} | {sum(kept.values()):.0f} |", flush=True)
        profiled = [sys.executable, "-m", "bench.profiled"]
        each, kept = (
            difference(sink, messages, kept, lambda counted: [*profiled, str(counted)], python_calls)
            for kept in (False, True)
        )
        print("\n| calls of Python a message (and of C from there) | one connection each | kept |\n| --- | --- | --- |")
        for name in (*STAGES, "wire", "twisted", "library"):
            cells = (f"{runs.get(name, 0):.0f} ({runs.get(name + ', C', 0):.0f})" for runs in (each, kept))
            print(f"| {name} | {' | '.join(cells)} |")
        print(f"| all | {sum(each.values()):.0f} | {sum(kept.values()):.0f} |", flush=True)
    finally:
        sink.stop()


if __name__ == "__main__":
    main()
