"""Relays that begin at once: they are forked from a process that has everything imported, which takes most of a second.

What runs in the fork is what ``twistd`` runs, with the same arguments; some tests start ``twistd`` itself
(test_operating.py, test_workers.py).  ``RELAY_NURSERY=no`` makes all of them do that.

The nursery (``python -m tests.scenarios.nursery``) is told on its standard input, each in a line of JSON:
``arguments``, ``log``, ``folder``, ``environment``.  It says ``{"pid": n}``, and later ``{"ended": n, "status": n}``.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

# -- the test's side -----------------------------------------------------------------------------------------------


class Child:
    """A process of the nursery; of subprocess.Popen what the scenarios use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._has_ended = threading.Event()

    def ended(self, code: int) -> None:
        self.returncode = code
        self._has_ended.set()

    def poll(self) -> int | None:
        if self.returncode is None and not self._lives():
            self._has_ended.wait(60)  # the nursery is about to say so
        return self.returncode

    def _lives(self) -> bool:
        try:
            state = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b") ")[2][:1]
        except OSError:
            return False
        return state not in (b"Z", b"X")

    def wait(self, timeout: float | None = None) -> int:
        if not self._has_ended.wait(timeout):
            raise subprocess.TimeoutExpired(["twistd"], timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Nursery:
    """One for a test process; begun with the first relay, and gone with us: its standard input ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.scenarios.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent.parent,
        )
        self._children: dict[int, Child] = {}
        self._born = threading.Semaphore(0)
        self._newest: Child | None = None
        self._asking = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def begin(self, arguments: Sequence[str], log: Path, folder: Path) -> Child:
        """Starts ``twistd`` with these arguments; what it says goes to the log."""
        with self._asking:
            assert self._process.stdin is not None
            order = {
                "arguments": list(arguments),
                "log": str(log),
                "folder": str(folder),
                "environment": dict(os.environ),
            }
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            assert self._born.acquire(timeout=60), "the nursery does not answer"
            assert self._newest is not None
            return self._newest

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "pid" in said:
                self._newest = self._children[said["pid"]] = Child(said["pid"])
                self._born.release()
            else:
                self._children.pop(said["ended"]).ended(os.waitstatus_to_exitcode(said["status"]))


_nursery: Nursery | None = None


def begin(arguments: Sequence[str], log: Path, folder: Path) -> Child | subprocess.Popen[bytes]:
    """Starts ``twistd``, quickly where that is wanted."""
    global _nursery
    if os.environ.get("RELAY_NURSERY") == "no":
        command = [Path(sys.executable).parent / "twistd", *arguments]
        with log.open("ab") as stream:
            return subprocess.Popen(command, stdout=stream, stderr=stream, cwd=folder)
    if _nursery is None:
        _nursery = Nursery()
    return _nursery.begin(arguments, log, folder)


# -- the nursery's side --------------------------------------------------------------------------------------------


def _mind() -> None:
    """Forks relays, and tells of their ends, until nobody asks any more."""
    _import_all()
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    asked = b""
    while True:
        for key, _ in selector.select():
            if key.fd == woken:
                os.read(woken, 4096)
                _tell_of_the_dead()
                continue
            piece = os.read(0, 65536)
            if not piece:
                return
            *orders, asked = (asked + piece).split(b"\n")
            for order in orders:
                _say({"pid": _fork(**json.loads(order))})


def _import_all() -> None:
    """What a relay imports, but for the reactor, which each makes for itself."""
    for name in (
        "twisted.application.app",
        "twisted.internet.epollreactor",
        "twisted.plugins.relay_plugin",
        "twisted.scripts.twistd",
        "relay.operate.maker",
    ):
        importlib.import_module(name)
    assert "twisted.internet.reactor" not in sys.modules


def _tell_of_the_dead() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _say({"ended": pid, "status": status})


def _say(row: dict[str, Any]) -> None:
    os.write(1, json.dumps(row).encode() + b"\n")


def _fork(arguments: list[str], log: str, folder: str, environment: dict[str, str]) -> int:
    pid = os.fork()
    if not pid:
        os.environ.clear()
        os.environ.update(environment)
        _live(arguments, log, folder)
    return pid


def _live(arguments: list[str], log: str, folder: str) -> NoReturn:
    """The life of a relay, from the fork to its end."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.closerange(3, 64)
        nothing = os.open(os.devnull, os.O_RDONLY)
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for fd, target in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(fd, target)
        os.closerange(3, 8)
        os.chdir(folder)
        sys.argv = ["twistd", *arguments]
        from twisted.scripts.twistd import run

        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    _mind()
