"""Programs and servers that are not ours, started for one scenario and ended after it.

All of them listen on loopback only, on ports that were free a moment ago.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from relay.queue.ids import shard_of
from tests.scenarios import nursery
from tests.scenarios.nursery import Child

WAIT_LIMIT_S = 60.0
"""For a condition, on a machine where much else goes on; what comes about costs no more than it takes."""


def program(name: str) -> str:
    """The path of a program; without it the test is skipped, or fails where CI promised to have it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        complaint = f"{name} is not installed (Debian package of that name, or postfix)"
        if os.environ.get("CI") == "true":
            pytest.fail(complaint)
        pytest.skip(complaint)
    return found


def needs_root() -> None:
    """Ports below 1024 and mounts; CI runs as root."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must run as root")
        pytest.skip("needs root")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody has now, and that nobody is given by chance: it is below those of outgoing connections."""
    while True:
        port = _ports.randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server((host, port)):
            return port


@contextmanager
def dead_port() -> Iterator[int]:
    """A port at which nobody listens, and nobody will while it is needed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def raise_descriptors(needed: int) -> None:
    """For many connections of our own; where that is not allowed the test is skipped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            pytest.skip(f"only {hard} descriptors are allowed here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def own_address(number: int) -> str:
    """An address on loopback that no other test process has, for hosts that must be at port 25."""
    pid = os.getpid()
    return f"127.{100 + (pid >> 8) % 100}.{pid % 256}.{number}"


def wait_until(condition: Callable[[], object], what: str, limit_s: float = WAIT_LIMIT_S) -> None:
    """Looks again and again, at short intervals, until it is so."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(0.02)


def greets(port: int, host: str = "127.0.0.1") -> bool:
    """Whether an SMTP server is at work there; a port may be open before anybody serves it."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1) as connection:
        return connection.recv(3) == b"220"
    return False


_ports = random.SystemRandom()


@dataclass
class Relay:
    """A relay started as a user starts it: twistd, with a configuration file."""

    port: int
    spool: Path
    config: Path
    process: Child | subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``relay …`` against this relay."""
        script = Path(sys.executable).parent / "relay"
        done = subprocess.run(
            [script, *arguments, "--config", self.config], capture_output=True, text=True, timeout=60, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"relay {' '.join(arguments)} gave {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def memory_octets(self) -> int:
        """What it has in memory now."""
        return self._octets("VmRSS")

    def peak_octets(self) -> int:
        """The most that it ever had in memory."""
        return self._octets("VmHWM")

    def _octets(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def end(self, number: int = signal.SIGTERM, limit_s: float = WAIT_LIMIT_S) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(limit_s)


def launch_relay(config: Path) -> Child | subprocess.Popen[bytes]:
    """Starts a relay by a configuration that is there, and does not wait for it; its log is beside it."""
    arguments = ["-n", "--pidfile=", "relay", "--config", str(config)]
    return nursery.begin(arguments, config.parent / "relay.log", config.parent)


def start_relay(folder: Path, config: str, port: int, spool: Path | None = None) -> Relay:
    """Starts a relay on 127.0.0.1:port and waits until it answers.

    config  the configuration file's text but for spool, hostname (relay.test if it has none) and listen (likewise)
    """
    folder.mkdir(parents=True, exist_ok=True)
    spool = spool or folder / "spool"
    path = folder / "relay.yaml"
    listen = f"listen:\n  - endpoint: tcp:{port}:interface=127.0.0.1\n" if "listen:\n" not in config else ""
    ours = ("" if "hostname:" in config else "hostname: relay.test\n") + ("" if "admin:" in config else "admin: none\n")
    path.write_text(f"{ours}spool: {spool}\n{listen}{config}", encoding="utf-8")
    log = folder / "relay.log"
    process = launch_relay(path)
    relay = Relay(port, spool, path, process, log)
    try:
        wait_until(lambda: greets(port) or process.poll() is not None, "the relay answers")
        assert process.poll() is None, f"the relay ended with {process.returncode}:\n{relay.said()}"
    except BaseException:
        process.kill()
        process.wait()
        raise
    return relay


@contextmanager
def running_relay(folder: Path, config: str, port: int | None = None, spool: Path | None = None) -> Iterator[Relay]:
    relay = start_relay(folder, config, port or free_port(), spool)
    try:
        yield relay
    finally:
        try:
            relay.end()
        except subprocess.TimeoutExpired:
            relay.process.kill()
            relay.process.wait()
            raise


def send_until_every_shard_has_mail(relay: Relay, shards: int, domain: str = "elsewhere.example") -> set[str]:
    """Gives the recipients' names."""
    names: set[str] = set()
    filled: set[int] = set()
    held: list[smtplib.SMTP] = []

    def look() -> bool:
        # Connections that stay open occupy the worker that answers first.
        client = smtplib.SMTP("127.0.0.1", relay.port)
        held.append(client)
        names.add(f"n{len(names)}")
        client.ehlo()
        client.mail("ann@client.example")
        client.rcpt(f"n{len(names) - 1}@{domain}")
        code, said = client.data(b"Subject: a letter\r\n\r\nHello\r\n")
        assert code == 250, said
        filled.add(shard_of(said.decode().split()[-1]))  # 2.0.0 OK ID; to ask the queue would take seconds
        return len(filled) == shards

    try:
        wait_until(look, "mail in every shard")
    finally:
        for client in held:
            client.close()
    return names


@dataclass
class Arrived:
    """A message as the next hop got it."""

    sender: str
    recipients: list[str]
    content: bytes
    mail_options: list[str]
    rcpt_options: list[str]


@dataclass
class Destination:
    """A next hop by aiosmtpd, that does as it is told.

    refuse  recipient -> reply to RCPT
    """

    port: int
    host: str = "127.0.0.1"
    arrived: list[Arrived] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    at_data: str = ""

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.at_data:
            return self.at_data
        content = envelope.original_content or b""
        self.arrived.append(
            Arrived(
                envelope.mail_from or "",
                list(envelope.rcpt_tos),
                content,
                list(envelope.mail_options),
                list(envelope.rcpt_options),
            )
        )
        return "250 2.0.0 OK"


D = TypeVar("D", bound=Destination)


@contextmanager
def destination(
    port: int | None = None,
    host: str = "127.0.0.1",
    kind: type[D] = Destination,
    **options: object,  # type: ignore[assignment]
) -> Iterator[D]:
    """A next hop on loopback."""
    hop = kind(port or free_port(host), host)
    controller = Controller(hop, hostname=host, port=hop.port, **options)
    controller.start()
    try:
        yield hop
    finally:
        controller.stop()
