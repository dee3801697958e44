"""The service with real sockets, files, signals and processes: one relay, or a parent with several workers.

Whatever stops it from starting ends the process with a sentence.
"""

from __future__ import annotations

import gc
import importlib
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import globalLogPublisher

from relay.operate import privileges
from relay.operate.config import Config
from relay.operate.logfile import LogFile
from relay.operate.parent import CannotBegin, Parent
from relay.operate.service import CannotStart, RelayService
from relay.operate.shards import SHARDS, number_of, orphans, root_of
from relay.operate.shares import part_of
from relay.operate.sockets import Sockets, why_not
from relay.operate.steps import StepLog
from relay.operate.surroundings import real_surroundings
from relay.operate.workers import Forks, Worker
from relay.queue.spool import SpoolInUse

Load = Callable[[], Config]


class Ended(SystemExit):
    """The process ends with this sentence."""

    def __init__(self, why: object) -> None:
        super().__init__(f"relay: {why}")


class RunningRelay(RelayService):
    """A relay that is a process by itself."""

    def __init__(self, config: Config, reactor: Any, load_again: Load) -> None:
        self._file = _open_log(config, reactor)
        log = StepLog(reactor, self._file, config.log.format, config.log.level)
        left = orphans(config.spool, 1, 0)
        super().__init__(config, real_surroundings(reactor, config), log, load_again, left)
        self._signals = Signals(reactor, self.reload)

    def privilegedStartService(self) -> None:
        self._signals.mind_hangup()
        try:
            super().privilegedStartService()
        except CannotStart as why:
            raise Ended(why) from None
        if self.identity is not None:
            self._file.give_to(self.identity.uid, self.identity.gid)

    def startService(self) -> None:
        observe(self.config, self.tell)
        try:
            super().startService()
        except CannotStart as why:
            raise Ended(why) from None
        self._signals.mind_the_end()
        settle()


class RunningParent(Parent):
    """The parent of several workers."""

    def __init__(self, config: Config, reactor: Any, load_again: Load) -> None:
        self._file = _open_log(config, reactor)
        self._log = StepLog(reactor, self._file, config.log.format, config.log.level)
        self._sockets = Sockets(reactor)
        self._signals = Signals(reactor, self._hung_up)
        forks = Forks(reactor, self._work, self._sockets.descriptors)
        super().__init__(config, forks, reactor, self._log, load_again)

    def privilegedStartService(self) -> None:
        """Binds the ports, and makes the spool the user's who will work in it."""
        self._signals.mind_hangup()
        config = self.config
        try:
            who = privileges.identity(config.user, config.group) if config.user is not None else None
            for folder in (config.spool, config.spool / SHARDS):
                privileges.prepare_spool(folder, who)
        except (privileges.PrivilegesFault, SpoolInUse) as fault:
            raise Ended(fault) from None
        if who is not None:
            privileges.load_what_is_loaded_late()
            self._file.give_to(who.uid, who.gid)
        for number, listen in enumerate(config.listen):
            for failure in self._sockets.listen(listen.endpoint):
                place = config.place(f"listen[{number}].endpoint")
                raise Ended(why_not(place, listen.endpoint, failure))
        if config.admin is not None:
            self._bind_page(config.admin.http)

    def _bind_page(self, endpoint: str) -> None:
        """For the first worker; what is merely built in, and finds its port taken, is done without."""
        importlib.import_module("relay.operate.web.opening")  # once, and not by every worker that is begun
        for failure in self._sockets.listen(endpoint):
            why = why_not(self.config.place("admin.http"), endpoint, failure)
            if self.config.says("admin"):
                raise Ended(why)
            self._log("trouble", place="admin.http", error=f"{why}; the relay works without its page")

    def startService(self) -> None:
        if not self._sockets.descriptors():
            self.privilegedStartService()
        observe(self.config, self._log)
        try:
            super().startService()
        except CannotBegin as why:
            raise Ended(why) from None
        self._signals.mind_the_end()

    def _hung_up(self) -> None:
        self._log.reopen()
        self.reload()

    def _work(self, number: int, reactor: Any, end: socket.socket) -> int:
        """What a worker does, in its own process."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # its parent tells it when
        if self.config.log.file is not None:
            globalLogPublisher.removeObserver(self._log.observe)
        config, load = self.config, self._load
        service: WorkingRelay

        def load_again() -> Config:
            # What only a restart changes was told by the parent.
            return part_of(load(), number).keeping(service.config)

        service = WorkingRelay(part_of(config, number), reactor, load_again, self._sockets, load)
        return Worker(reactor, service, CannotStart).run(end)

    def stopService(self) -> Deferred[None]:
        return super().stopService().addCallback(self._all_ended)

    def _all_ended(self, _: None) -> None:
        self._sockets.close()
        self._log.close()


class WorkingRelay(RelayService):
    """A relay that is one of several workers."""

    def __init__(self, config: Config, reactor: Any, load_again: Load, sockets: Sockets, look: Load) -> None:
        self._signals = Signals(reactor, None)
        log = StepLog(reactor, LogFile(reactor, config.log.file), config.log.format, config.log.level)
        around = real_surroundings(reactor, config)
        around = replace(around, listen=partial(sockets.serve, reactor, around.switchboard))
        left = orphans(root_of(config.spool), config.workers, number_of(config.spool))
        super().__init__(config, around, log, load_again, left, look)

    def startService(self) -> None:
        observe(self.config, self.tell)
        super().startService()
        self._signals.mind_the_end()
        settle()


class Signals:
    """What the signals of an operator mean."""

    def __init__(self, reactor: Any, reload: Callable[[], object] | None) -> None:
        self._reactor = reactor
        self._reload = reload

    def mind_hangup(self) -> None:
        """From now on SIGHUP means this; what comes before the reactor runs is done when it does."""
        reload = self._reload
        if reload is not None:
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(reload))

    def mind_the_end(self) -> None:
        """The reactor's own answer to SIGTERM ends the process by that signal, as if it had not been minded."""
        self._reactor.callWhenRunning(
            lambda: signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._end))
        )

    def _end(self) -> None:
        with suppress(ReactorNotRunning):  # it is ending already
            self._reactor.stop()


def observe(config: Config, log: StepLog) -> None:
    """Puts Twisted's own log into our file; if we have none, twistd's own, on the same terminal, shows it."""
    if config.log.file is not None:
        globalLogPublisher.addObserver(log.observe)


def settle() -> None:
    """What is there by now stays for good; and a message makes hundreds of objects and no cycles, so that the
    collector's default haste costs one part in fifteen of all work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _open_log(config: Config, reactor: Any) -> LogFile:
    try:
        return LogFile(reactor, config.log.file)
    except OSError as error:
        advice = "it must be a file in a folder that is there, and ours to write"
        raise Ended(f"{config.place('log.file')}: {config.log.file}: {error.strerror}; {advice}") from None
