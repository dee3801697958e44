"""relay init: on a terminal and by options, with a provider that is not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.operate.config import load
from tests.fakes.authority import authority_file
from tests.scenarios.peers import destination, free_port, running_relay, wait_until
from tests.scenarios.provider import ANN, NAME, PASSWORD, Provider, running_provider
from tests.scenarios.terminal import terminal

pytestmark = pytest.mark.endtoend

RELAY = Path(sys.executable).parent / "relay"
BOB = "bob@elsewhere.example"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as one:
        yield one


@pytest.fixture(autouse=True)
def nothing_arrived(request: pytest.FixtureRequest) -> None:
    if "provider" in request.fixturenames:
        for file in (request.getfixturevalue("provider").folder / "mail").rglob("new/*"):
            file.unlink()


def options(folder: Path) -> list[str | Path]:
    """So that it harms nobody on this machine."""
    ours: list[str | Path] = [f"--spool={folder}/spool", f"--listen=tcp:{free_port()}:interface=127.0.0.1"]
    return [*ours, "--user=mail"] if os.geteuid() == 0 else ours


def test_four_questions_set_up_a_relay_that_works(provider: Provider, public_path: Path) -> None:
    """With a password that is wrong at first."""
    file, port = public_path / "relay.yaml", provider.ports["starttls"]
    command = [RELAY, "init", file, *options(public_path), "--authorities", authority_file(public_path)]
    with terminal(command, public_path) as screen:
        screen.expects("1. How does mail leave here?")
        screen.answers("Smart host", "me@provider")
        screen.expects('"me@provider" is no host; write it like smtp.provider.example')
        screen.answers("Smart host", f"{NAME}:{port}")
        screen.answers(f"2. Does {NAME} want a login?", ANN)
        screen.answers(f"Password of {ANN}", "not geheim at all")
        screen.expects("3. Who may send to anywhere")
        screen.answers("Networks", "192.168.7.0/33")
        screen.expects("write networks like 192.168.1.0/24")
        screen.answers("Networks", "192.168.7.0/24")
        screen.expects("4. What is this relay called")
        screen.answers("Its name", "gate.client.example")
        screen.answers("Who reads the mail for postmaster", BOB)
        screen.expects(f"Trying the way to {NAME}")
        screen.expects("535")
        screen.expects("It does not work yet.")
        assert not file.exists(), "nothing is written before it is decided"
        screen.answers("Keep these answers all the same?", "n")
        screen.answers("Smart host", f"{NAME}:{port}")
        screen.answers("Log in as", ANN)
        screen.answers(f"Password of {ANN}", PASSWORD)
        screen.expects("It works.")
        screen.expects("! the LAN may send, but this relay listens on this machine only")
        screen.answers(f"Send a test message to {BOB}?", "y")
        screen.expects("Start it:")
        assert screen.ends() == 0
        assert PASSWORD not in screen.seen and "not geheim" not in screen.seen
    wait_until(provider.arrived, "the test message at the provider")
    (text,) = provider.arrived()
    assert "A test of the relay on gate.client.example" in text and f"(Authenticated sender: {ANN})" in text
    secret = public_path / "smarthost.password"
    assert secret.read_text() == PASSWORD + "\n" and secret.stat().st_mode & 0o777 == 0o600
    config = load(file)
    assert config.warnings == () and config.hostname == "gate.client.example"
    assert [str(one) for one in config.accept.networks] == ["127.0.0.0/8", "::1/128", "192.168.7.0/24"]
    assert file.stat().st_mode & 0o777 == 0o644 and PASSWORD not in file.read_text()


def by_options(folder: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    command = [RELAY, "init", folder / "relay.yaml", "--yes", *options(folder), "--hostname=gate.client.example", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_program_sets_up_a_relay_and_reads_what_was_done(provider: Provider, public_path: Path) -> None:
    (public_path / "secret").write_text(PASSWORD + "\n")
    (public_path / "secret").chmod(0o644)
    done = by_options(
        public_path,
        "--json",
        f"--smarthost=smtps://{NAME}:{provider.ports['tls']}",
        f"--login={ANN}",
        f"--password-file={public_path / 'secret'}",
        f"--authorities={authority_file(public_path)}",
        f"--postmaster={BOB}",
        "--network=none",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["way_out"]["verdict"] == "accepted" and told["message"]["state"] == "delivered"
    assert told["message"]["to"] == BOB and told["written"] == [str(public_path / "relay.yaml")]
    assert told["start"] == f"{RELAY} run --config {public_path / 'relay.yaml'}"
    assert PASSWORD not in done.stdout
    wait_until(provider.arrived, "the test message at the provider")


def test_a_smart_host_that_is_down_is_told_and_the_files_are_there(public_path: Path) -> None:
    done = by_options(public_path, "--json", f"--smarthost=127.0.0.1:{free_port()}", f"--postmaster={BOB}")
    assert done.returncode == os.EX_TEMPFAIL, done.stderr
    told = json.loads(done.stdout)
    assert told["way_out"]["verdict"] == "temporary" and "refused" in told["way_out"]["reply"]
    assert told["message"]["state"] == "queued" and told["message"]["journey"][-1]["step"] == "deferred"
    assert load(public_path / "relay.yaml").routes


def test_a_relay_that_runs_already_takes_the_test_message(public_path: Path) -> None:
    user = "user: mail\n" if os.geteuid() == 0 else ""
    with destination() as hop:
        keys = f'sendmail: {{maildrop: {public_path}/spool-maildrop}}\nroutes:\n  - to: "*"\n    via: smtp://127.0.0.1:{hop.port}\n'
        with running_relay(public_path / "r", user + keys, spool=public_path / "spool") as relay:
            done = by_options(public_path, f"--smarthost=127.0.0.1:{hop.port}", f"--postmaster={BOB}")
            assert done.returncode == 0, done.stdout + done.stderr
            assert "A relay runs on this spool already" in done.stdout
            wait_until(lambda: hop.arrived, "the test message")
            assert relay.process.poll() is None, "it goes on"


def test_a_configuration_that_cannot_work_is_told_with_the_relays_own_words(public_path: Path) -> None:
    """Its spool belongs to somebody else."""
    (public_path / "spool").mkdir()
    (public_path / "spool" / "file").touch()
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    os.chown(public_path / "spool", 12345, 12345)
    with destination() as hop:
        done = by_options(public_path, f"--smarthost=127.0.0.1:{hop.port}", f"--postmaster={BOB}")
    assert done.returncode == os.EX_SOFTWARE
    assert (
        "the relay does not start with this configuration: " in done.stderr and "belongs to user number" in done.stderr
    )
