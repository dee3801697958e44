"""Standard streams that are closed, or take nothing: a sentence and an exit code; no file gets their number."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operate.running import Running, running_relay

pytestmark = pytest.mark.endtoend  # each starts a program

CONFIG = "hostname: gate.example.org\nspool: spool\nsendmail: {maildrop: drop, domain: example.org}\n"


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    (tmp_path / "relay.yaml").write_text(CONFIG)
    (tmp_path / "drop").mkdir(0o700)
    (tmp_path / "spool").mkdir(0o700)
    with running_relay(tmp_path / "spool") as relay:
        relay.put("ann@client.example", "bob@a.example")
        yield relay


def by_a_shell(line: str, folder: Path, text: str = "") -> tuple[int, str, str]:
    """``relay`` in the line is the program.  Gives the exit code and what was said on either stream."""
    env = {**os.environ, "RELAY_CONFIG": str(folder / "relay.yaml")}
    program = f'relay() {{ "{sys.executable}" -m relay "$@"; }}\n'
    done = subprocess.run(
        ["sh", "-c", program + line], input=text, capture_output=True, text=True, timeout=60, check=False, env=env
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("to", [">&-", ">/dev/full"])
@pytest.mark.parametrize(
    "command", ["queue list", "status --json", "check", "--help", "sendmail -bp", "sendmail --help"]
)
def test_output_that_cannot_be_written_is_told_in_a_sentence(
    running: Running, tmp_path: Path, command: str, to: str
) -> None:
    name = command.split()[0] if command.startswith("sendmail") else "relay"
    why = "Bad file descriptor" if to == ">&-" else "No space left on device"
    assert by_a_shell(f"relay {command} {to}", tmp_path) == (74, "", f"{name}: {why}\n")


def test_a_message_that_is_left_is_safe_whether_that_can_be_said_or_not(running: Running, tmp_path: Path) -> None:
    assert by_a_shell("relay sendmail -v bob >/dev/full", tmp_path, "Subject: x\n\nbody\n") == (0, "", "")
    assert len(list((tmp_path / "drop").iterdir())) == 1


def test_what_is_said_to_a_closed_standard_error_disturbs_nothing(running: Running, tmp_path: Path) -> None:
    assert by_a_shell("relay queue show nothing 2>&-", tmp_path)[0] == 65
    code, said, _ = by_a_shell("relay queue list <&- 2>&-", tmp_path)
    assert (code, "bob@a.example" in said) == (0, True)


def test_no_file_gets_the_number_of_a_stream_that_was_closed(tmp_path: Path) -> None:
    """Else what is logged would be written into the queue's database, say."""
    look = (
        "import os, sys; from relay.operate.streams import fill_in; fill_in(); "
        f"fd = os.open({str(tmp_path / 'x')!r}, os.O_CREAT | os.O_WRONLY); "
        "sys.exit(fd if sys.stdin.read() == '' and not sys.stdout.isatty() else 1)"
    )
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, look], timeout=60, check=False)
    assert done.returncode >= 3
