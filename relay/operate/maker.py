"""``twistd relay``: its options, and the service made of them.

What is wrong is said before the daemon begins: all faults of the configuration at once, and no traceback.
"""

from __future__ import annotations

import gc
import signal
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import globalLogPublisher
from twisted.python import usage

from relay.operate.config import Config, ConfigFaults, load
from relay.operate.logfile import LogFile
from relay.operate.service import CannotStart, RelayService
from relay.operate.steps import StepLog
from relay.operate.surroundings import real_surroundings


class Options(usage.Options):
    """The options of ``twistd relay``; they win over the file."""

    synopsis = "[options]"
    longdesc = (
        "A store-and-forward mail relay. Without options it listens on 127.0.0.1:2525, keeps its queue in ./spool, "
        "relays for this machine only, and delivers by MX. SIGHUP reloads the configuration, SIGTERM ends it."
    )
    optParameters = [  # noqa: RUF012 - usage.Options wants a plain list
        ["config", "c", None, "The configuration file; etc/relay.yaml is an example. 'relay check FILE' tests it."],
        ["spool", None, None, "The folder of the queue."],
        ["smarthost", None, None, "HOST:PORT where everything goes that the file does not route elsewhere."],
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """Where clients come in, as a Twisted endpoint: tcp:25, tcp:2525:interface=127.0.0.1. May be repeated."""
        self["listen"].append(endpoint)

    def postOptions(self) -> None:
        """Loads the configuration; raises UsageError with every fault in it."""
        config = self["config"]
        self["load"] = partial(
            load,
            Path(config).absolute() if config else None,
            listen=tuple(self["listen"]),
            spool=Path(self["spool"]).absolute() if self["spool"] else None,
            smarthost=self["smarthost"],
        )
        try:
            self["loaded"] = self["load"]()
        except ConfigFaults as faults:
            raise usage.UsageError(f"the configuration has faults:\n{faults}") from None


class RunningRelay(RelayService):
    """The service with real sockets, files and signals.  Whatever stops it from starting ends the process with a
    sentence."""

    def __init__(self, config: Config, reactor: IReactorTime, load_again: partial[Config]) -> None:
        try:
            file = LogFile(reactor, config.log.file)
        except OSError as error:
            raise SystemExit(f"relay: {config.place('log.file')}: {config.log.file}: {error.strerror}") from None
        log = StepLog(reactor, file, config.log.format, config.log.level)
        super().__init__(config, real_surroundings(reactor, config), log, load_again)
        self._reactor: Any = reactor
        self._file = file

    def privilegedStartService(self) -> None:
        # From now on it means this; what comes before the reactor runs is done when it does.
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        try:
            super().privilegedStartService()
        except CannotStart as why:
            raise SystemExit(f"relay: {why}") from None
        if self.identity is not None:
            self._file.give_to(self.identity.uid, self.identity.gid)

    def startService(self) -> None:
        if self.config.log.file is not None:  # else twistd's own log, on the same terminal, shows them
            globalLogPublisher.addObserver(self.tell.observe)
        try:
            super().startService()
        except CannotStart as why:
            raise SystemExit(f"relay: {why}") from None
        self._reactor.callWhenRunning(self._mind_sigterm)
        # What is there by now stays for good; and a message makes hundreds of objects and no cycles, so that the
        # collector's default haste costs one part in fifteen of all work.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)

    def _mind_sigterm(self) -> None:
        # The reactor's own answer to SIGTERM ends the process by that signal, as if it had not been minded.
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._end))

    def _end(self) -> None:
        if self._reactor.running:
            self._reactor.stop()


def make_service(options: Options) -> IService:
    """The relay that these options describe."""
    from twisted.internet import reactor

    return RunningRelay(options["loaded"], cast(IReactorTime, reactor), options["load"])


makeService = make_service  # the name that twisted.application.service.ServiceMaker looks for
