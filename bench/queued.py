"""A relay with a long queue: how soon it works, what it needs, and what live traffic loses.

Only ours: others keep a queue in folders of files, and no tool fills these.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from bench.peers import ENVIRONMENT, Relay, free_port
from bench.usage import usage
from bench.works import LIMIT_S, Result, Sink, source

RELAY = Path(sys.executable).parent / "relay"
DEAD = "dead.bench"

Load = Callable[[Relay, Sink], Result]


def filled(cache: Path, messages: int) -> tuple[Path, int]:
    """A spool with so many messages for a host that does not answer, kept for the next round; and that host's port."""
    for complete in cache.glob(f"{messages}-*/complete"):
        return complete.parent, int(complete.parent.name.partition("-")[2])
    port = free_port()
    spool = cache / f"{messages}-{port}"
    shutil.rmtree(spool, ignore_errors=True)
    fill(spool, messages, lane_of(port), DEAD)
    (spool / "complete").touch()
    return spool, port


def fill(spool: Path, messages: int, lane: str, domain: str) -> None:
    subprocess.run([sys.executable, "-m", "bench.fill", str(spool), str(messages), lane, domain], check=True)


class Queued:
    """Rounds with and without a queue, in turn.

    start_s   from the start of the process to the first delivery of something queued
    list_s    until ``relay queue list`` shows its first row
    pause_ms  the longest time in which nothing of the live traffic arrived
    retry_s   how long ``relay queue retry`` took to make all of it due, while live traffic went on
    """

    def __init__(self, messages: int, folder: Path, workers: int = 1) -> None:
        self.messages = messages
        self._folder = folder
        self._spool, self._dead_port = filled(folder, messages)
        self._workers = workers

    def measure(self, sink: Sink, live: int, say: Callable[[str], None]) -> dict[str, float]:
        """One pair of rounds: live messages a second without the queue, and with it."""
        load = source(20, live, kept=True)
        without = self._round(sink, load, None, say)
        found = self._round(sink, load, self._spool, say)
        found["live_without"] = without["live"]
        found["loses"] = 1 - found["live"] / without["live"]
        return found

    def _round(self, sink: Sink, load: Load, spool: Path | None, say: Callable[[str], None]) -> dict[str, float]:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=self._folder) as name:
            folder = Path(name)
            found: dict[str, float] = {}
            dead = f"  - to: {DEAD}\n    via: smtp://127.0.0.1:{self._dead_port}\n"
            relay = Relay("relay", f"workers: {self._workers}\n", dead)
            if spool is not None:
                shutil.copytree(spool, folder / "spool")
                (folder / "spool").chmod(0o700)
                fill(folder / "spool", 20, lane_of(sink.port), "live.bench")
                os.sync()
            sink.ask("XRESET")
            begun = time.monotonic()
            relay.start(folder, sink.port)
            try:
                if spool is not None:
                    found["ready_s"] = time.monotonic() - begun
                    while not sink.ask("XSTAT")["distinct"] and time.monotonic() < begun + LIMIT_S:
                        time.sleep(0.01)
                    found["start_s"] = min(sink.ask("XTIMES").values()) - begun
                time.sleep(3)  # the dead host is known by now
                found["live"] = load(relay, sink).value
                if spool is not None:
                    found["pause_ms"] = longest_pause_ms(sink)
                    found["list_s"] = first_row(folder)
                    self._while_retried(folder, relay, sink, load, found)
                    found["memory_mib"] = usage(relay.pids()).memory_octets / (1 << 20)
            finally:
                relay.stop()
            say(f"    {found}")
            return found

    def _while_retried(self, folder: Path, relay: Relay, sink: Sink, load: Load, found: dict[str, float]) -> None:
        """Live traffic while an operator makes all of it due."""
        program = [str(RELAY), "queue", "retry", "--spool", str(folder / "spool")]
        lane = lane_of(self._dead_port)

        def retry() -> None:
            begun = time.monotonic()
            subprocess.run([*program, "--destination", lane], check=True, capture_output=True, env=ENVIRONMENT)
            found["retry_s"] = time.monotonic() - begun

        thread = threading.Thread(target=retry)
        thread.start()
        found["retry_live"] = load(relay, sink).value
        found["retry_pause_ms"] = longest_pause_ms(sink)
        thread.join()


def lane_of(port: int) -> str:
    """The name of a destination, as ``relay status`` shows it."""
    return f"smtp:[127.0.0.1]:{port}"


def longest_pause_ms(sink: Sink) -> float:
    """Between two arrivals at the sink."""
    came = sorted(sink.ask("XTIMES").values())
    return max(later - earlier for earlier, later in pairwise(came)) * 1000


def first_row(folder: Path) -> float:
    """Seconds from the command to its first row."""
    command = [str(RELAY), "queue", "list", "--json", "--spool", str(folder / "spool")]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = time.monotonic() - begun
        process.kill()
    return took
