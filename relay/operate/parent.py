"""The parent of several workers: it binds the sockets, begins the workers, and minds them.

No mail passes through it.  It stays who it was started as, so that it can begin another worker at any time; each
worker gives up root for itself, as a relay without a parent does.

    a worker ends unasked     another takes its shard, after a wait that grows from one failure to the next
    SIGHUP                    the configuration is looked at; when it has no fault, one worker after the other takes it
    SIGTERM                   all are told to stop; who has not within the bound is killed (its mail is on disk)

The rule that must not be broken: a shard never has two workers; the next begins when the last one's process is gone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from relay import __version__
from relay.message.step import Tell
from relay.operate import systemd
from relay.operate.config import Config, ConfigFaults
from relay.operate.workers import FAILED, FAULTY, READY, RELOAD, RELOADED, STOP, Line

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
STEADY_S = 60.0
"""Who has worked so long begins at the first wait again."""
GRACE_S = 10.0
"""Beyond ``timeouts.shutdown`` until a worker is killed: for the last commit, and for Python to end."""
RELOAD_LIMIT_S = 30.0
LOOK_S = 0.02
LOOKS = 250
"""So often is looked whether a worker that has let go of its line has ended, before it is killed."""

WORD_LIMIT_OCTETS = 8192
FAULT_LIMIT_OCTETS = 4096


class CannotBegin(Exception):
    """A worker could not start; ``str()`` says why."""


class Processes(Protocol):
    """What this needs of the operating system."""

    def fork(self, worker: int) -> tuple[int, socket.socket]:
        """Begins a worker: its process id, and our end of its line."""
        ...

    def take_line(self, end: socket.socket, line: Line) -> None:
        """Gives our end to the reactor."""
        ...

    def kill(self, pid: int) -> None: ...

    def ended(self, pid: int) -> int | None:
        """The exit code of a process that has ended, negative for a signal; None while it lives."""
        ...


@dataclass(slots=True)
class Minded:
    """A worker as its parent knows it."""

    number: int
    pid: int = 0
    line: Line | None = None
    begun_at: float = 0.0
    failures: int = 0
    is_ready: bool = False
    begins: IDelayedCall | None = None


class Parent(Service):
    """Minds the workers.

    config     as it is in force
    load       reads the configuration again; raises ConfigFaults
    clock      IReactorTime
    """

    def __init__(
        self, config: Config, processes: Processes, clock: Any, tell: Tell, load: Callable[[], Config]
    ) -> None:
        self.config = config
        self._processes = processes
        self._clock = clock
        self._tell = tell
        self._load = load
        self._workers = [Minded(number) for number in range(config.workers)]
        self._ended: Deferred[None] | None = None
        self._reloading: list[Minded] | None = None
        self._reload_limit: IDelayedCall | None = None
        self._reload_again = False
        self._faulty = b""  # what the workers are told of a file that cannot be used
        self._kill: IDelayedCall | None = None

    # -- the beginning -----------------------------------------------------------------------

    def startService(self) -> None:
        """Begins all workers, and returns when they work.  Raises CannotBegin."""
        self.running = 1
        ends = [self._fork(worker) for worker in self._workers]
        try:
            for worker, end in zip(self._workers, ends, strict=True):
                word = _first_word(end)
                if word != READY:
                    raise CannotBegin(_why(word, worker.number))
        except BaseException:
            for end in ends:
                end.close()  # they end by that
            raise
        for worker, end in zip(self._workers, ends, strict=True):
            self._mind(worker, end)
            worker.is_ready = True
        where = ", ".join(listen.endpoint for listen in self.config.listen)
        systemd.notify(systemd.READY, systemd.status(f"{len(self._workers)} workers take mail at {where}"))
        self._tell("started", place=where, workers=len(self._workers), version=__version__)
        for warning in self.config.warnings:
            self._tell("trouble", place=str(warning.place), error=warning.what)

    def _fork(self, worker: Minded) -> socket.socket:
        worker.begun_at = self._clock.seconds()
        worker.is_ready = False
        worker.pid, end = self._processes.fork(worker.number)
        return end

    def _mind(self, worker: Minded, end: socket.socket) -> None:
        worker.line = Line(lambda word: self._heard(worker, word), lambda: self._lost(worker))
        self._processes.take_line(end, worker.line)

    # -- while they work -----------------------------------------------------------------------

    def _heard(self, worker: Minded, word: bytes) -> None:
        if word == READY:
            worker.is_ready = True
            self._tell("started", worker=worker.number, pid=worker.pid)
            if self._faulty and worker.line is not None:
                worker.line.say(self._faulty)
        elif word == RELOADED:
            self._reloaded(worker)
        elif word.startswith(FAILED):
            self._tell("trouble", worker=worker.number, error=_why(word, worker.number))

    def _lost(self, worker: Minded, looks: int = LOOKS) -> None:
        """The line has ended, and so has the worker, or is about to."""
        worker.line = None
        code = self._processes.ended(worker.pid)
        if code is None:
            if not looks:  # one that let go of its line must not work on beside the next one
                self._processes.kill(worker.pid)
            self._clock.callLater(LOOK_S, self._lost, worker, max(0, looks - 1))
            return
        pid, worker.pid = worker.pid, 0
        if self._ended is not None:
            self._end_if_all_have()
        else:
            self._replace(worker, pid, code)

    def _replace(self, worker: Minded, pid: int, code: int) -> None:
        now = self._clock.seconds()
        worker.failures = 1 if worker.is_ready and now - worker.begun_at >= STEADY_S else worker.failures + 1
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (worker.failures - 1))
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        error = f"worker {worker.number} (process {pid}) ended {how}; another begins in {wait_s:g} s"
        self._tell("trouble", worker=worker.number, error=error)
        self._reloaded(worker)
        worker.begins = self._clock.callLater(wait_s, self._begin_again, worker)

    def _begin_again(self, worker: Minded) -> None:
        worker.begins = None
        self._mind(worker, self._fork(worker))

    # -- reload ----------------------------------------------------------------------------------

    def reload(self) -> None:
        """A faulty configuration changes nothing; a good one is taken by one worker after the other."""
        if self._reloading is not None:
            self._reload_again = True
            return
        try:
            newer = self._load()
        except ConfigFaults as faults:
            for fault in faults.faults:
                self._tell("trouble", place=str(fault.place), error=f"{fault}; the old configuration stays in force")
            self._say_faulty(str(faults.faults[0]))
            return
        self._faulty = b""
        for key in self.config.needs_restart(newer):
            self._tell("trouble", place=newer.place(key), error=f"{key} has changed: that takes effect with a restart")
        self.config = newer.keeping(self.config)
        systemd.notify(systemd.reloading())
        self._reloading = list(self._workers)
        self._reload_next()

    def _say_faulty(self, fault: str) -> None:
        """Has the workers know it, who are asked how the relay does."""
        self._faulty = FAULTY + " ".join(fault.split()).encode("utf-8", "replace")[:FAULT_LIMIT_OCTETS]
        for worker in self._workers:
            if worker.line is not None:
                worker.line.say(self._faulty)

    def _reload_next(self) -> None:
        while self._reloading:
            line = self._reloading[0].line
            if line is not None:
                line.say(RELOAD)
                self._reload_limit = self._clock.callLater(RELOAD_LIMIT_S, self._reloaded, self._reloading[0])
                return
            self._reloading.pop(0)  # it will begin with the new one
        self._reloading = None
        systemd.notify(systemd.READY)
        if self._reload_again:
            self._reload_again = False
            self.reload()

    def _reloaded(self, worker: Minded) -> None:
        if self._reloading and self._reloading[0] is worker:
            if self._reload_limit is not None and self._reload_limit.active():
                self._reload_limit.cancel()
            self._reloading.pop(0)
            self._reload_next()

    # -- the end -----------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Fires when all workers have ended."""
        self.running = 0
        systemd.notify(systemd.STOPPING)
        self._ended = ended = Deferred[None]()
        for worker in self._workers:
            if worker.begins is not None:
                worker.begins.cancel()
                worker.begins = None
            if worker.line is not None:
                worker.line.say(STOP)
        if self._reload_limit is not None and self._reload_limit.active():
            self._reload_limit.cancel()
        self._kill = self._clock.callLater(self.config.timeouts.shutdown_s + GRACE_S, self._kill_all)
        self._end_if_all_have()
        return ended

    def _kill_all(self) -> None:
        for worker in self._workers:
            if worker.pid:
                self._tell("trouble", worker=worker.number, error="it did not end in time, and is killed")
                self._processes.kill(worker.pid)

    def _end_if_all_have(self) -> None:
        if self._ended is not None and not self._ended.called and not any(worker.pid for worker in self._workers):
            if self._kill is not None and self._kill.active():
                self._kill.cancel()
            self._tell("stopped")
            self._ended.callback(None)


def _first_word(end: socket.socket) -> bytes:
    """Waits for the first word of a worker; empty when it ended without one."""
    word = b""
    while not word.endswith(b"\n") and len(word) < WORD_LIMIT_OCTETS:
        piece = end.recv(1)
        if not piece:
            break
        word += piece
    return word.rstrip(b"\n")


def _why(word: bytes, worker: int) -> str:
    if word.startswith(FAILED):
        return word.removeprefix(FAILED).decode("utf-8", "replace")
    return f"worker {worker} ended before it could work; its last words are above, or in the log"
