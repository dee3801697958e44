"""The relays that are compared, each in a folder of its own, delivering everything to one sink.

A peer is configured as its own documents recommend for a relay that must not be throttled.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

SEARCH_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Missing(Exception):
    """A peer that cannot be run here; ``str()`` says why."""


class Peer(Protocol):
    """A relay under test.

    name  as the table shows it
    pids  its top processes, whose families' CPU and memory count
    """

    name: str
    port: int

    def start(self, folder: Path, sink_port: int) -> None: ...
    def stop(self) -> None: ...
    def pids(self) -> list[int]: ...


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(port: int, limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise Missing(f"nothing answers on port {port}")


def find(program: str) -> str:
    found = shutil.which(program, path=SEARCH_PATH)
    if found is None:
        raise Missing(f"{program} is not installed")
    return found


class Relay:
    """This relay, as a user starts it, with every default on and its log going to a file."""

    name = "relay"

    def __init__(self, name: str = "relay", extra: str = "") -> None:
        self.name = name
        self._extra = extra
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path, sink_port: int) -> None:
        self.port = free_port()
        config = folder / "relay.yaml"
        config.write_text(
            f"hostname: relay.bench\nspool: {folder}/spool\nlog: {{file: {folder}/relay.log}}\n"
            f"listen:\n  - endpoint: tcp:{self.port}:interface=127.0.0.1:backlog=1024\n"
            f"limits: {{connections: 6000, connections_per_client: 6000}}\naccept: {{max_recipients: 20000}}\n"
            f'routes:\n  - to: "*"\n    via: smtp://127.0.0.1:{sink_port}\n{self._extra}',
            encoding="utf-8",
        )
        with (folder / "out").open("wb") as out:
            self._process = subprocess.Popen(
                [Path(sys.executable).parent / "twistd", "-n", "--pidfile=", "relay", "--config", config],
                stdout=out,
                stderr=out,
                cwd=folder,
            )
        wait_for(self.port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process is not None else []


POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = /
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.bench
mydestination =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink_port}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
default_process_limit = 200
smtp_destination_concurrency_limit = 100
default_destination_concurrency_limit = 100
initial_destination_concurrency = 20
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = [127.0.0.1]:{sink_port}
smtpd_recipient_limit = 20000
message_size_limit = 52428800
qmgr_message_active_limit = 20000
{extra}
"""


class Postfix:
    """Postfix with its own folders, process limit and concurrency raised, connections to the sink kept."""

    def __init__(self, name: str = "Postfix", extra: str = "") -> None:
        self.name = name
        self._extra = extra
        self.port = 0
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path, sink_port: int) -> None:
        if os.geteuid() != 0:
            raise Missing("Postfix must be started by root")
        postfix = find("postfix")
        self.port, self._folder = free_port(), folder
        for name in ("etc", "queue", "data"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        (folder / "etc/main.cf").write_text(
            POSTFIX_MAIN.format(folder=folder, sink_port=sink_port, extra=self._extra), encoding="ascii"
        )
        services = Path("/etc/postfix/master.cf").read_text(encoding="ascii").splitlines()
        kept = "\n".join(line for line in services if not line.startswith("smtp "))
        (folder / "etc/master.cf").write_text(
            f"127.0.0.1:{self.port} inet n - n - - smtpd\nsmtp unix - - n - - smtp\n{kept}\n", encoding="ascii"
        )
        with (folder / "out").open("wb") as out:
            self._process = subprocess.Popen([postfix, "-c", folder / "etc", "start-fg"], stdout=out, stderr=out)
        wait_for(self.port)

    def stop(self) -> None:
        if self._process is not None:
            subprocess.run([find("postfix"), "-c", self._folder / "etc", "stop"], check=False, capture_output=True)
            self._process.wait(60)

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process is not None else []


PEERS: dict[str, Callable[[], Peer]] = {
    "relay": Relay,
    "postfix": Postfix,
    "postfix-no-in-flow-delay": lambda: Postfix("Postfix, in_flow_delay=0", "in_flow_delay = 0"),
}
