"""Trying a configuration out: the way out is asked in truth, and a test message is sent on it.

Both are done by processes of the relay itself (relay explain, relay run), as an operator would do them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay.operate.asking import CannotAsk, Control, NotRunning

Row = Mapping[str, Any]

PROGRAM = (sys.executable, "-m", "relay")
START_LIMIT_S = 30.0
STOP_LIMIT_S = 60.0
LOOK_S = 0.1


class CannotTry(Exception):
    """It could not be tried; ``str()`` says why."""


def probe(config: Path, sender: str, recipient: str, found: Callable[[Row], object]) -> str:
    """Asks the way out as far as RCPT; gives the verdict: ``accepted``, ``temporary`` or ``refused``.

    found  is given each finding, as relay explain has it, that is of the hosts or stands in the way

    Raises CannotTry.
    """
    asked = [*PROGRAM, "explain", "--dry", "--probe", "--json"]
    command = [*asked, "--config", str(config), "--from", sender, "--to", recipient]
    verdict = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            row = json.loads(line)
            if row["what"] == "verdict":
                verdict = row["decision"]
            elif row["part"] == "probe" or row["decision"] in ("refused", "temporary"):
                found(row)
                verdict = row["decision"] if row["part"] == "probe" else verdict
        complaint = process.stderr.read().strip()
    if not verdict:
        raise CannotTry(complaint or f"relay explain ended with {process.returncode}")
    return verdict


@contextmanager
def at_work(config: Path, spool: Path) -> Iterator[Control]:
    """A conversation with the relay of this spool: the one that runs, or one that runs for as long as this lasts.

    The latter listens on a port of this machine alone, whatever the file says.  Raises CannotTry, CannotAsk.
    """
    try:
        control = Control(spool)
    except NotRunning:
        with _temporary(config, spool) as control:
            yield control
        return
    with control:
        yield control


@contextmanager
def _temporary(config: Path, spool: Path) -> Iterator[Control]:
    endpoint = f"tcp:{_free_port()}:interface=127.0.0.1"
    with tempfile.TemporaryFile("w+") as log:
        command = [*PROGRAM, "run", "--config", str(config), "--listen", endpoint]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            control = _answering(process, spool)
            if control is None:
                log.seek(0)
                raise CannotTry(_last_words(log.read()))
            with control:
                yield control
        finally:
            _end(process)


def _answering(process: subprocess.Popen[bytes], spool: Path) -> Control | None:
    """The relay's answering socket; None when it has ended."""
    end = time.monotonic() + START_LIMIT_S
    while process.poll() is None:
        try:
            return Control(spool)
        except (NotRunning, CannotAsk):
            if time.monotonic() > end:
                raise CannotTry("the relay does not answer; relay run in another terminal shows why") from None
            time.sleep(LOOK_S)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _last_words(log: str) -> str:
    """What a relay that could not start said last."""
    told = [line for line in log.splitlines() if line.startswith("relay: ")]
    return "\n".join(told or log.splitlines()[-5:]).removeprefix("relay: ") or "the relay ended without a word"


def busy_port(endpoint: str) -> int | None:
    """The TCP port of an endpoint when somebody has it already."""
    kind, _, rest = endpoint.partition(":")
    words = rest.split(":")
    if kind not in ("tcp", "tcp6") or not words[0].isdigit():
        return None
    interface = next((word.removeprefix("interface=") for word in words if word.startswith("interface=")), "")
    family = socket.AF_INET6 if kind == "tcp6" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probing:
        probing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probing.bind((interface, int(words[0])))
        except PermissionError:
            return None  # only root may; so it is not for us to say
        except OSError:
            return int(words[0])
    return None


def own_command() -> str:
    """How this program is to be started by others."""
    script = Path(sys.argv[0])
    if script.name == "relay" and os.access(script, os.X_OK):
        return str(script.absolute())
    return f"{sys.executable} -m relay"
