"""Programs and servers that are not ours, started for one scenario and ended after it.

All of them listen on loopback only, on ports that were free a moment ago.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

WAIT_LIMIT_S = 20.0


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
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


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


@dataclass
class Relay:
    """A relay started as a user starts it: twistd, with a configuration file."""

    port: int
    spool: Path
    config: Path
    process: subprocess.Popen[bytes]
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
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def end(self, number: int = signal.SIGTERM, limit_s: float = WAIT_LIMIT_S) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(limit_s)


def launch_relay(config: Path) -> subprocess.Popen[bytes]:
    """Starts a relay by a configuration that is there, and does not wait for it; its log is beside it."""
    with (config.parent / "relay.log").open("ab") as stream:
        return subprocess.Popen(
            [Path(sys.executable).parent / "twistd", "-n", "--pidfile=", "relay", "--config", config],
            stdout=stream,
            stderr=stream,
            cwd=config.parent,
        )


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


@contextmanager
def destination(port: int | None = None, host: str = "127.0.0.1", **options: object) -> Iterator[Destination]:
    """A next hop on loopback."""
    hop = Destination(port or free_port(host), host)
    controller = Controller(hop, hostname=host, port=hop.port, **options)
    controller.start()
    try:
        yield hop
    finally:
        controller.stop()
