"""``relay run``: the same service as ``twistd -n relay``, for those who have no ``twistd``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import click

from relay.operate.cli.reach import config_option


@click.command()
@config_option
@click.option("--listen", metavar="ENDPOINT", multiple=True, help="Where clients come in; may be given several times.")
@click.option("--spool", type=click.Path(path_type=Path), help="The folder of the queue.")
@click.option("--smarthost", metavar="HOST:PORT", help="Where everything goes that the file does not route elsewhere.")
def run(config: Path | None, listen: tuple[str, ...], spool: Path | None, smarthost: str | None) -> None:
    """Start a relay, in the foreground.

    Without options it listens on 127.0.0.1:2525, keeps its queue in ./spool, relays for this machine only, and
    delivers by MX. What the options say wins over the file. SIGHUP reloads the file, SIGTERM ends it.

    \b
    relay run
    relay run --config /etc/relay/relay.yaml
    relay run --listen tcp:2525:interface=127.0.0.1 --smarthost smtp.provider.example:587
    """
    arguments = [f"--config={config}"] if config else []
    arguments += [f"--listen={endpoint}" for endpoint in listen]
    arguments += [f"--spool={spool}"] if spool else []
    arguments += [f"--smarthost={smarthost}"] if smarthost else []
    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "relay", *arguments]
    twistd: Callable[[], None] = importlib.import_module("twisted.scripts.twistd").run
    twistd()
