"""``relay run``: the same service as ``twistd -n relay``, for those who have no ``twistd``.

Twisted's own runner does the work.  It is given our service maker directly, so that nothing depends on where
plugins are looked for.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from relay.operate.cli.reach import config_option
from relay.operate.cli.speech import EX_CONFIG, EX_USAGE, Stop


@click.command()
@config_option
@click.option("--listen", metavar="ENDPOINT", multiple=True, help="Where clients come in; may be given several times.")
@click.option("--spool", metavar="FOLDER", help="The folder of the queue.")
@click.option("--smarthost", metavar="HOST:PORT", help="Where everything goes that the file does not route elsewhere.")
@click.option("--admin", metavar="ENDPOINT", help="Where the page for a browser listens; none: nowhere.")
def run(
    config: Path | None, listen: tuple[str, ...], spool: str | None, smarthost: str | None, admin: str | None
) -> None:
    """Start a relay, in the foreground.

    Without --config the file is the one that RELAY_CONFIG names, else there is none. Without options it listens on
    127.0.0.1:2525, keeps its queue in ./spool, relays for this machine only, delivers by MX, and shows a page at
    http://127.0.0.1:8025/. What the options say wins over the file. SIGHUP reloads the file, SIGTERM ends it.

    \b
    relay run
    relay run --config /etc/relay/relay.yaml
    relay run --listen tcp:2525:interface=127.0.0.1 --smarthost smtp.provider.example:587
    """
    from relay.operate.config import ConfigFaults, load
    from relay.operate.footing import stand

    try:
        stand(load(config, listen=listen, spool=spool, smarthost=smarthost, admin=admin))
    except ConfigFaults as faults:  # here, so that they do not drown in Twisted's usage message
        raise Stop(f"the configuration has faults\n{faults}", EX_CONFIG) from None
    arguments = [f"--config={config}"] if config else []
    arguments += [f"--listen={endpoint}" for endpoint in listen]
    arguments += [f"--spool={spool}"] if spool else []
    arguments += [f"--smarthost={smarthost}"] if smarthost else []
    arguments += [f"--admin={admin}"] if admin else []
    _run_by_twisted(arguments)


def _run_by_twisted(arguments: list[str]) -> None:
    """What ``twistd --nodaemon relay …`` does."""
    from twisted.application.service import ServiceMaker
    from twisted.python import usage

    twistd: Any = importlib.import_module("twisted.scripts.twistd")
    options = twistd.ServerOptions()
    maker = ServiceMaker("relay", "relay.operate.maker", "A mail relay.", "relay")
    options._getPlugins = lambda interface: [maker]  # its one seam between the options and the search for plugins
    try:
        options.parseOptions(["--nodaemon", "--pidfile=", "relay", *arguments])
    except usage.UsageError as error:
        raise Stop(str(error), EX_USAGE) from None
    twistd.runApp(options)
