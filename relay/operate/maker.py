"""``twistd relay``: its options, and the service made of them.

What is wrong is said before the daemon begins: all faults of the configuration at once, and no traceback.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from relay.operate.config import Config, ConfigFaults, load
from relay.operate.footing import stand
from relay.operate.running import RunningParent, RunningRelay


class Options(usage.Options):
    """The options of ``twistd relay``; they win over the file."""

    synopsis = "[options]"
    longdesc = (
        "A store-and-forward mail relay. Without options it listens on 127.0.0.1:2525, keeps its queue in ./spool, "
        "relays for this machine only, and delivers by MX. SIGHUP reloads the configuration, SIGTERM ends it."
    )
    optParameters = [  # noqa: RUF012 - usage.Options wants a plain list
        ["config", "c", None, "The configuration file; default: RELAY_CONFIG. 'relay check FILE' tests it."],
        ["spool", None, None, "The folder of the queue."],
        ["smarthost", None, None, "HOST:PORT where everything goes that the file does not route elsewhere."],
        ["admin", None, None, "Where the page listens: tcp:8025:interface=127.0.0.1; none: nowhere."],
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """Where clients come in, as a Twisted endpoint: tcp:25, tcp:2525:interface=127.0.0.1. May be repeated."""
        self["listen"].append(endpoint)

    def postOptions(self) -> None:
        """Loads the configuration; every fault in it ends the process, with what relay run would say."""
        config = self["config"] if self["config"] is not None else os.environ.get("RELAY_CONFIG") or None
        self["load"] = partial(
            load,
            Path(config).absolute() if config is not None else None,
            listen=tuple(self["listen"]),
            spool=Path(self["spool"]).absolute() if self["spool"] else self["spool"],
            smarthost=self["smarthost"],
            admin=self["admin"],
        )
        try:
            self["loaded"] = self["load"]()
            stand(self["loaded"])
        except ConfigFaults as faults:
            print(f"relay: the configuration has faults\n{faults}", file=sys.stderr)  # a UsageError would drown it
            raise SystemExit(os.EX_CONFIG) from None


def make_service(options: Options) -> IService:
    """The relay that these options describe."""
    from twisted.internet import reactor

    config: Config = options["loaded"]
    running = RunningRelay if config.workers == 1 else RunningParent
    return running(config, reactor, options["load"])


makeService = make_service  # the name that twisted.application.service.ServiceMaker looks for
