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
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from bench.roots import Missing, Root
from bench.usage import family

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},  # as if installed
    "PYTHONPATH": str(Path(__file__).parent.parent),
}
SEARCH_PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Peer(Protocol):
    """A relay under test.

    name   as the table shows it
    pids   its top processes, whose families' CPU and memory count
    by_mx  the address of a DNS server, when mail goes by MX and not to the sink's port; set before the start
    part   so much of each work is enough to know its rate
    """

    name: str
    port: int
    by_mx: str
    part: float

    def start(self, folder: Path, sink_port: int) -> None: ...
    def stop(self) -> None: ...
    def pids(self) -> list[int]: ...


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(port: int, limit_s: float = 30.0, address: str = "127.0.0.1") -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection((address, port), timeout=1):
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

    def __init__(self, name: str = "relay", extra: str = "", routes: str = "") -> None:
        """routes  rules that come before the one for everything, as YAML"""
        self.program: Sequence[str] = (str(Path(sys.executable).parent / "twistd"),)
        self.name = name
        self.by_mx = ""
        self.part = 1.0
        self._extra = extra
        self._routes = routes
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path, sink_port: int) -> None:
        self.port = free_port()
        config = folder / "relay.yaml"
        config.write_text(
            f"hostname: relay.bench\nspool: {folder}/spool\nlog: {{file: {folder}/relay.log}}\n"
            f"listen:\n  - endpoint: tcp:{self.port}:interface=127.0.0.1:backlog=1024\n"
            f"limits: {{connections: 12000, connections_per_client: 12000}}\naccept: {{max_recipients: 20000}}\n"
            f"{self._ways(sink_port)}{self._extra}",
            encoding="utf-8",
        )
        self._process = start(folder, [*self.program, "-n", "--pidfile=", "relay", "--config", config])
        wait_for(self.port)

    def _ways(self, sink_port: int) -> str:
        if self.by_mx:
            return f"dns: {{servers: [{self.by_mx}], unreachable: [192.0.2.0/24], ipv6: false}}\n"
        return f'routes:\n{self._routes}  - to: "*"\n    via: smtp://127.0.0.1:{sink_port}\n'

    def stop(self) -> None:
        end(self._process)

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
relayhost = {relayhost}
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
        self.by_mx = ""
        self.part = 0.5
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
            POSTFIX_MAIN.format(
                folder=folder,
                sink_port=sink_port,
                relayhost="" if self.by_mx else f"[127.0.0.1]:{sink_port}",
                extra=self._extra,
            ),
            encoding="ascii",
        )
        services = Path("/etc/postfix/master.cf").read_text(encoding="ascii").splitlines()
        kept = "\n".join(line for line in services if not line.startswith("smtp "))
        (folder / "etc/master.cf").write_text(
            f"127.0.0.1:{self.port} inet n - n - - smtpd\nsmtp unix - - n - - smtp\n{kept}\n", encoding="ascii"
        )
        self._process = start(folder, self._command(postfix, folder))
        wait_for(self.port)

    def stop(self) -> None:
        if self._process is not None:
            subprocess.run([find("postfix"), "-c", self._folder / "etc", "stop"], check=False, capture_output=True)
            end(self._process)

    def _command(self, postfix: str, folder: Path) -> list[str | Path]:
        command: list[str | Path] = [postfix, "-c", folder / "etc", "start-fg"]
        if not self.by_mx:
            return command
        (folder / "resolv.conf").write_text(f"nameserver {self.by_mx}\n", encoding="ascii")
        script = f"mount --bind {folder}/resolv.conf /etc/resolv.conf && exec {' '.join(map(str, command))}"
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process is not None else []


EXIM = """\
exim_path = /usr/sbin/exim4
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
exim_user = Debian-exim
exim_group = Debian-exim
primary_hostname = exim.bench
local_interfaces = <; [127.0.0.1]:{port}
daemon_smtp_ports = {port}
smtp_accept_max = 500
smtp_accept_max_per_connection = 100000
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 1024
queue_run_max = 20
remote_max_parallel = 20
recipients_max = 20000
message_size_limit = 50M
rfc1413_query_timeout = 0s
host_lookup =
split_spool_directory = true
deliver_queue_load_max = 1000
queue_only_load = 1000
acl_smtp_rcpt = accept
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1::{sink_port}
  self = send
  transport = out
begin transports
out:
  driver = smtp
  allow_localhost
  hosts_try_chunking =
  connection_max_messages = 500
begin retry
* * F,1h,1m
"""


class Straight:
    """No relay at all: the source talks to the sink."""

    name = "source straight into sink"

    def __init__(self) -> None:
        self.by_mx = ""
        self.part = 1.0
        self.port = 0

    def start(self, folder: Path, sink_port: int) -> None:
        self.port = sink_port

    def stop(self) -> None: ...

    def pids(self) -> list[int]:
        return []


class Exim:
    """Exim, delivering each message as it comes."""

    name = "Exim"

    def __init__(self) -> None:
        self.by_mx = ""
        self.part = 0.02
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path, sink_port: int) -> None:
        root = Root(["exim4-daemon-light", "exim4-base"], {"Debian-exim": 59_101})
        self.port = free_port()
        for name in ("spool", "log"):
            (folder / name).mkdir()
            os.chown(folder / name, 59_101, 59_101)
        config = folder / "exim.conf"
        config.write_text(EXIM.format(folder=folder, port=self.port, sink_port=sink_port), encoding="ascii")
        # Daemon and deliveries are root's own calls, so that it keeps the rights that -C takes from others.
        command = root.command(folder, "/usr/sbin/exim4", "-C", str(config), "-bdf")
        self._process = start(folder, command)
        wait_for(self.port)

    def stop(self) -> None:
        end(self._process)

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process is not None else []


OPENSMTPD = """\
queue compression no
smtp max-message-size "50M"
listen on 127.0.0.1 port {port} hostname opensmtpd.bench
action "out" relay host smtp://127.0.0.1:{sink_port}
match from any for any action "out"
limit session max-mails 100000
limit session max-rcpt 20000
limit mta max-out-connections 100
limit scheduler max-inflight 20000
limit queue max-envelopes 100000
"""


class OpenSmtpd:
    """OpenSMTPD."""

    name = "OpenSMTPD"

    def __init__(self) -> None:
        self.by_mx = ""
        self.part = 0.02
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path, sink_port: int) -> None:
        root = Root(["opensmtpd"], {"opensmtpd": 59_111, "opensmtpq": 59_112})
        self.port = free_port()
        config = folder / "smtpd.conf"
        config.write_text(_known(OPENSMTPD).format(port=self.port, sink_port=sink_port), encoding="ascii")
        command = root.command(folder, "/usr/sbin/smtpd", "-d", "-f", str(config))
        (folder / "root/lib/opensmtpd/empty").mkdir(parents=True)
        (folder / "root/spool/smtpd").mkdir(mode=0o711)
        (folder / "root/spool/smtpd").chmod(0o711)
        self._process = start(folder, command)
        wait_for(self.port)

    def stop(self) -> None:
        end(self._process)

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process is not None else []


def _known(config: str) -> str:
    """What OpenSMTPD 6.8 understands: its limits cannot all be set."""
    return "".join(line for line in config.splitlines(True) if not line.startswith(("limit", "queue compression")))


under: list[str] = []
"""A program under which every relay is started, with its arguments; none as a rule."""


def start(folder: Path, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
    """Starts a relay so that all its processes are counted."""
    with (folder / "out").open("wb") as out:
        command = [sys.executable, "-m", "bench.reaper", *under, *map(str, command)]
        return subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, env=ENVIRONMENT)


def end(process: subprocess.Popen[bytes] | None) -> None:
    """Ends a process and whatever it has started."""
    if process is None:
        return
    left = family(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


PEERS: dict[str, Callable[[], Peer]] = {
    "straight": Straight,
    "relay": Relay,
    "relay-2": lambda: Relay("relay, 2 workers", "workers: 2\n"),
    "postfix": Postfix,
    "postfix-no-in-flow-delay": lambda: Postfix("Postfix, in_flow_delay=0", "in_flow_delay = 0"),
    "exim": Exim,
    "opensmtpd": OpenSmtpd,
}
