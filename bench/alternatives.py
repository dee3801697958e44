"""What else could run relay, measured: ``python -m bench.alternatives [--rounds N]``.

The same load, 4 KiB on kept sessions, is given in turn to relay on Twisted's epoll, on its asyncio reactor, and on
that with uvloop, where this is installed; and rows are written through apsw and through the standard library's sqlite3.
"""

from __future__ import annotations

import argparse
import importlib.util
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from bench.measured import spread
from bench.peers import Relay
from bench.works import Sink, Work, one_round, source

_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
_UVLOOP = (
    f"import uvloop; from twisted.internet import asyncioreactor as a; a.install(uvloop.new_event_loop()); {_TWISTD}"
)
REACTORS: dict[str, Sequence[str]] = {
    "epoll": ("-c", _TWISTD),
    "asyncio": ("-c", _TWISTD, "--reactor=asyncio"),
    "asyncio with uvloop": ("-c", _UVLOOP),
}

BATCH, OCTETS = 50, 5000
_TABLE = "CREATE TABLE messages(id INTEGER PRIMARY KEY, head TEXT, content BLOB)"
_INSERT = "INSERT INTO messages(head, content) VALUES (?, ?)"


class OnReactor(Relay):
    """relay on another reactor."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.program = (sys.executable, *REACTORS[name])


def rows(batches: int) -> Sequence[Sequence[tuple[str, bytes]]]:
    return [[("x" * 300, b"y" * OCTETS)] * BATCH] * batches


def by_apsw(file: Path, batches: int) -> None:
    db = apsw.Connection(str(file))
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.execute("PRAGMA synchronous = FULL")
    db.execute(_TABLE)
    for batch in rows(batches):
        with db:
            db.executemany(_INSERT, batch)
    db.close()


def by_sqlite3(file: Path, batches: int) -> None:
    db = sqlite3.connect(file, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(_TABLE)
    for batch in rows(batches):
        db.execute("BEGIN IMMEDIATE")
        db.executemany(_INSERT, batch)
        db.execute("COMMIT")
    db.close()


STORES: dict[str, Callable[[Path, int], None]] = {
    f"apsw (SQLite {apsw.sqlite_lib_version()})": by_apsw,
    f"sqlite3 (SQLite {sqlite3.sqlite_version})": by_sqlite3,
}


def microseconds_a_row(write: Callable[[Path, int], None], batches: int) -> float:
    """Of the processor, not of the clock: the disk's time is the same for both."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as folder:
        begun = time.process_time()
        write(Path(folder) / "db", batches)
        return (time.process_time() - begun) / batches / BATCH * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=8000)
    options = parser.parse_args()
    work = Work("", "messages/s", source(20, options.messages, kept=True), "")
    reactors = [name for name in REACTORS if "uvloop" not in name or importlib.util.find_spec("uvloop")]
    rates: dict[str, list[float]] = {name: [] for name in reactors}
    costs: dict[str, list[float]] = {name: [] for name in reactors}
    sink = Sink()
    try:
        for _ in range(options.rounds):
            for name in reactors:
                result = one_round(OnReactor(name), work, sink)
                rates[name].append(result.value)
                costs[name].append(result.cpu_ms)
    finally:
        sink.stop()
    print("| reactor | messages/s (lowest–highest) | CPU ms a message |\n| --- | --- | --- |")
    for name in reactors:
        print(f"| {name} | {spread(rates[name])} | {spread(costs[name])} |")
    print("\n| through | µs of processor a row of 5 kB, 50 in a transaction |\n| --- | --- |")
    found: dict[str, list[float]] = {name: [] for name in STORES}
    for _ in range(options.rounds):
        for name, write in STORES.items():
            found[name].append(microseconds_a_row(write, 200))
    for name, values in found.items():
        print(f"| {name} | {spread(values)}, least {min(values):.1f} |")


if __name__ == "__main__":
    main()
