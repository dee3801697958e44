"""A worker: a whole relay in a process of its own, on its shard, behind sockets that its parent has bound.

The parent forks it, and talks to it on a line (a pair of sockets), one word at a time:

    parent says    reload, stop; or faulty, with a sentence: a reload was asked for, and the file cannot be used
    worker says    ready; reloaded; or failed, with a sentence, and ends

Each knows of the other's death by the end of the line, however it died.  A worker whose parent is gone ends as it
does for ``stop``: nothing is lost, and nobody serves a port that nobody minds.

It is forked and not started anew, since the user it works as may not be allowed to read the program.

The rule that must not be broken: a worker touches nothing that it has from its parent but the sockets and its line.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import ITransport
from twisted.internet.main import installReactor
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

READY = b"ready"
RELOADED = b"reloaded"
FAILED = b"failed "
RELOAD = b"reload"
FAULTY = b"faulty "
STOP = b"stop"

CANNOT_START = 1
DEFECT = 70  # EX_SOFTWARE of sysexits.h


class Line(LineOnlyReceiver):
    """One end of the line.

    heard  called with each word
    ended  called once, when the other end is gone
    """

    delimiter = b"\n"
    transport: ITransport

    def __init__(self, heard: Callable[[bytes], object], ended: Callable[[], object]) -> None:
        self._heard = heard
        self._ended = ended

    def lineReceived(self, line: bytes) -> None:
        self._heard(line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended()

    def say(self, word: bytes) -> None:
        self.transport.write(word + b"\n")


def take_line(reactor: Any, end: socket.socket, line: Line) -> None:
    """Gives one end of a line to a reactor."""
    end.setblocking(False)
    reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: line))
    end.close()


def fork(work: Callable[[Any, socket.socket], int], reactor: Any, keep: Collection[int]) -> tuple[int, socket.socket]:
    """Begins a worker.  Gives its process id and the parent's end of the line.

    work     runs in the new process, with a reactor of its own and its end of the line; gives its exit code
    reactor  the parent's; the new one is of the same kind
    keep     descriptors that the worker needs, beside the first three
    """
    ours, its = socket.socketpair()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pid = os.fork()
    if not pid:
        _live(work, reactor, its, keep)
    its.close()
    return pid, ours


def _live(work: Callable[[Any, socket.socket], int], old: Any, line: socket.socket, keep: Collection[int]) -> NoReturn:
    """The life of a worker, from the fork to its end; it never returns into what the parent was doing."""
    code = DEFECT
    try:
        _let_go({0, 1, 2, line.fileno(), *keep})
        code = work(_own_reactor(old), line)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else CANNOT_START
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _let_go(keep: Collection[int]) -> None:
    """Lets go of the parent's descriptors, signals and service manager.

    Their numbers stay taken: objects of the parent that still name them can then do no harm to files of ours.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.environ.pop("NOTIFY_SOCKET", None)  # systemd hears one voice
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for entry in list(Path("/dev/fd").iterdir()):
        fd = int(entry.name)
        if fd not in keep and fd != nothing and _is_open(fd):
            os.dup2(nothing, fd, inheritable=False)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:  # it was the listing's own
        return False
    return True


def _own_reactor(old: Any) -> Any:
    """A reactor of the same kind, in the place where Twisted looks for one."""
    sys.modules.pop("twisted.internet.reactor", None)
    fresh = type(old)()
    if "twisted.internet.reactor" not in sys.modules:
        installReactor(fresh)
    return fresh


class Forks:
    """Real processes, for relay.operate.parent.

    work  what a worker does: its number, its reactor, its end of the line; gives its exit code
    keep  tells the descriptors that a worker needs
    """

    def __init__(
        self, reactor: Any, work: Callable[[int, Any, socket.socket], int], keep: Callable[[], set[int]]
    ) -> None:
        self._reactor = reactor
        self._work = work
        self._keep = keep

    def fork(self, worker: int) -> tuple[int, socket.socket]:
        return fork(lambda reactor, end: self._work(worker, reactor, end), self._reactor, self._keep())

    def take_line(self, end: socket.socket, line: Line) -> None:
        take_line(self._reactor, end, line)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def ended(self, pid: int) -> int | None:
        found, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if found else None


class Worker:
    """What a worker process runs: the service, its line, the reactor.

    service  a relay.operate.service.RelayService whose start raises ``refusal`` when it cannot work
    """

    def __init__(self, reactor: Any, service: Any, refusal: type[Exception]) -> None:
        self._reactor = reactor
        self._service = service
        self._refusal = refusal
        self._line = Line(self._heard, self._stop)

    def run(self, end: socket.socket) -> int:
        """Until it is told to end.  Gives the exit code."""
        try:
            self._service.privilegedStartService()
            self._service.startService()
        except self._refusal as why:
            end.sendall(FAILED + str(why).replace("\n", " ").encode("utf-8", "replace") + b"\n")
            return CANNOT_START
        take_line(self._reactor, end, self._line)
        self._line.say(READY)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._service.stopService)
        self._reactor.run()
        return 0

    def _heard(self, word: bytes) -> None:
        if word == STOP:
            self._stop()
        elif word == RELOAD:
            self._service.reload()
            self._line.say(RELOADED)
        elif word.startswith(FAULTY):
            self._service.not_reloaded(word.removeprefix(FAULTY).decode("utf-8", "replace"))

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):  # it is ending already
            self._reactor.stop()
