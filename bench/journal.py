"""What the journal costs a message: ``python -m bench.journal [MESSAGES]``.

One relay, in this process, under a steady stream of 4 KiB messages from Postfix's smtp-source; its journal is switched
on and off several times a second, so that whatever else the machine does falls on both.  Told are the processor time of
the process and the octets that it writes to files, for each message delivered.  What is journaled is forgotten again in
the same turn, as it is in the long run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any, cast

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from bench.peers import find, free_port
from bench.works import Sink
from relay.operate.config import load
from relay.operate.logfile import LogFile
from relay.operate.service import RelayService
from relay.operate.steps import StepLog
from relay.operate.surroundings import real_surroundings
from relay.queue.store import FOR_EVER

TURN_S = 0.3
SESSIONS = 20

_CONFIG = """\
hostname: relay.bench
spool: {folder}/spool
log: {{file: {folder}/relay.log}}
listen: [{{endpoint: "tcp:{port}:interface=127.0.0.1:backlog=1024"}}]
routes: [{{to: "*", via: "smtp://127.0.0.1:{sink}"}}]
"""


def written_octets() -> int:
    """By write(2) and its like to files; sockets are written by send(2)."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text("ascii").splitlines())
    return int(fields["wchar"])


class Turns:
    """The measurements of turns with the journal, and without."""

    def __init__(self) -> None:
        self._turns: dict[bool, list[tuple[int, float, int]]] = {True: [], False: []}

    def add(self, journaled: bool, messages: int, cpu_s: float, octets: int) -> None:
        if messages:
            self._turns[journaled].append((messages, cpu_s, octets))

    def tell(self) -> None:
        for journaled, turns in self._turns.items():
            messages, cpu_s, octets = (sum(column) for column in zip(*turns, strict=True))
            lower, middle, upper = quantiles([cpu_s / messages for messages, cpu_s, _ in turns], n=4)
            print(
                f"{'with' if journaled else 'without':>8} journal: {cpu_s / messages * 1e6:5.0f} µs of processor a "
                f"message (turns: {lower * 1e6:.0f} {middle * 1e6:.0f} {upper * 1e6:.0f}), "
                f"{octets / messages / 1024:5.1f} KiB written; {messages} messages in {len(turns)} turns"
            )


async def measure(clock: IReactorTime, messages: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as name:
        folder, sink, port = Path(name), Sink(), free_port()
        (folder / "relay.yaml").write_text(_CONFIG.format(folder=folder, port=port, sink=sink.port), encoding="utf-8")
        config = load(folder / "relay.yaml")
        log = StepLog(clock, LogFile(clock, config.log.file))
        service = RelayService(config, real_surroundings(clock, config), log)
        service.privilegedStartService()
        service.startService()
        words = ["-s", str(SESSIONS), "-m", str(messages), "-l", "4096", "-d", f"127.0.0.1:{port}"]
        load_process = subprocess.Popen([find("smtp-source"), *words])
        turns, journaled = Turns(), False
        try:
            while load_process.poll() is None:
                journaled = not journaled
                service.store.journals = journaled
                begun = log.counts["delivered"], time.process_time(), written_octets()
                await task.deferLater(cast(Any, clock), TURN_S, lambda: None)
                if journaled:
                    await service.store.forget(FOR_EVER, 1 << 40)
                counted = log.counts["delivered"] - begun[0]
                turns.add(journaled, counted, time.process_time() - begun[1], written_octets() - begun[2])
        finally:
            load_process.kill()
            await service.stopService()
            sink.stop()
    turns.tell()


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    task.react(lambda clock: Deferred.fromCoroutine(measure(clock, wanted)))
