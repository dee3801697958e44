"""relay init by options: what is refused, what is left alone, what is said."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay.operate import cli
from relay.operate.config import load
from relay.operate.init import deciding, lan, setup
from relay.operate.init.plan import Lan

Init = Callable[..., tuple[int, str, str]]

QUIET = ("--yes", "--no-test", "--mx", "--hostname=gate.example.org")


@pytest.fixture
def init(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Init:
    """``relay init …`` in a folder of the test, as a user who is not root unless the test says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(lan, "networks", list)

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        return cli.exit_code(["init", *map(str, arguments)]), *capfd.readouterr()

    return run


def as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(deciding, "SYSTEM_FILE", tmp_path / "etc" / "relay.yaml")
    monkeypatch.setattr(deciding, "SYSTEM_SPOOL", tmp_path / "var" / "relay")
    monkeypatch.setattr(deciding, "SYSTEM_USER", "mail")


def test_a_user_gets_a_relay_in_this_folder(init: Init, tmp_path: Path) -> None:
    code, out, err = init(*QUIET)
    config = load(tmp_path / "relay.yaml")
    assert (code, err) == (0, "")
    assert f"written: {tmp_path / 'relay.yaml'}\n" in out and "run --config" in out and "systemd" not in out
    assert (config.spool, config.user, config.sendmail.maildrop) == (tmp_path / "spool", None, None)
    assert [one.endpoint for one in config.listen] == ["tcp:2525:interface=127.0.0.1"]


def test_root_sets_up_the_machines_relay(init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, tmp_path)
    monkeypatch.setattr(lan, "networks", lambda: [Lan(ip("192.168.1.0/24"), "eth0"), Lan(ip("8.8.8.0/24"), "eth1")])
    code, out, _ = init(*QUIET)
    config = load(tmp_path / "etc" / "relay.yaml")
    assert code == 0 and "The systemd unit, for /etc/systemd/system/relay.service" in out
    assert f"    ExecStartPre=+/usr/bin/install -d -m 3733 -o mail -g mail {tmp_path}/var/relay-maildrop\n" in out
    assert (config.user, config.sendmail.maildrop) == ("mail", tmp_path / "var" / "relay-maildrop")
    assert [one.endpoint for one in config.listen] == ["tcp:25"]
    assert [str(one) for one in config.accept.networks[2:]] == ["192.168.1.0/24"], (
        "neighbours on the internet are not let in"
    )


def ip(text: str) -> Any:
    from ipaddress import ip_network

    return ip_network(text)


def test_a_unit_that_is_there_already_is_no_obstacle(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sets up anew finds the unit of the first time; another one is not written over."""
    as_root(monkeypatch, tmp_path)
    assert init(*QUIET, "--unit", "relay.service")[0] == 0
    (tmp_path / "etc" / "relay.yaml").unlink()
    code, out, _ = init(*QUIET, "--unit", "relay.service")
    assert code == 0 and f"there already: {tmp_path / 'relay.service'}\n" in out
    (tmp_path / "etc" / "relay.yaml").unlink()
    (tmp_path / "relay.service").write_text("[Unit]\n")
    assert init(*QUIET, "--unit", "relay.service")[0] == os.EX_CANTCREAT
    assert (tmp_path / "relay.service").read_text() == "[Unit]\n"


def test_the_unit_is_written_where_it_is_wished(init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, tmp_path)
    code, out, _ = init(*QUIET, "--unit", "relay.service")
    assert code == 0 and "[Unit]" not in out
    assert f"--config {tmp_path}/etc/relay.yaml" in (tmp_path / "relay.service").read_text()


def test_a_user_that_is_missing_is_made(init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, tmp_path)
    made: list[list[str]] = []

    class Done:
        returncode, stderr = 0, ""

    monkeypatch.setattr(setup.subprocess, "run", lambda command, **_: (made.append(command), Done())[1])
    code, out, _ = init(*QUIET, "--json", "--user", "no-such-user")
    assert code == 0 and json.loads(out)["made_user"] == "no-such-user"
    assert made == [
        ["useradd", "--system", "--home-dir", f"{tmp_path}/var/relay", "--shell", "/usr/sbin/nologin", "no-such-user"]
    ]
    Done.returncode, Done.stderr = 1, "cannot lock /etc/passwd"
    code, _, err = init(*QUIET, "--force", "--user", "no-such-user")
    assert code == 73 and "cannot lock /etc/passwd" in err


def test_what_is_there_is_left_alone(init: Init, tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text("mine")
    code, _, err = init(*QUIET)
    assert code == 73 and "--force puts a new one in its place" in err
    assert (tmp_path / "relay.yaml").read_text() == "mine"
    assert init(*QUIET, "--force")[0] == 0 and (tmp_path / "relay.yaml").read_text() != "mine"


def test_a_password_is_left_alone_too(init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smarthost.password").write_text("mine")
    login = [
        "--yes",
        "--no-test",
        "--hostname=gate.example.org",
        "--smarthost=mail.lan",
        "--login=me",
        "--password-stdin",
    ]
    read, written = os.pipe()
    for text in (b"geheim\n", b""):
        read, written = os.pipe()
        os.write(written, text)
        os.close(written)
        with os.fdopen(read) as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            code, _, err = init(*login)
        assert code == (73 if text else 64), err
    assert (tmp_path / "smarthost.password").read_text() == "mine" and not (tmp_path / "relay.yaml").exists()


def test_a_password_from_standard_input_stands_in_a_file_of_its_own(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, written = os.pipe()
    os.write(written, b"geheim: #x\n")
    os.close(written)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        code, out, _ = init(
            "--json",
            "--no-test",
            "--hostname=gate.example.org",
            "--smarthost=mail.lan",
            "--login=me",
            "--password-stdin",
        )
    assert code == 0 and "geheim" not in out
    assert (tmp_path / "smarthost.password").read_text() == "geheim: #x\n"
    assert json.loads(out)["written"] == [str(tmp_path / "smarthost.password"), str(tmp_path / "relay.yaml")]
    assert load(tmp_path / "relay.yaml").routes[0].password_file == tmp_path / "smarthost.password"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--smarthost=a b"], "write it like smtp.provider.example"),
        (["--smarthost=mail.lan", "--mx"], "say two things"),
        (["--login=me"], "a login is for a smart host"),
        (["--smarthost=mail.lan", "--login=me", "--yes"], "a login needs a password"),
        (["--network=192.168.0.0/33", "--yes"], "write networks like"),
        (["--network=0.0.0.0/0", "--yes", "--no-test"], "a relay for everybody"),
        (["--hostname=-x-"], "no name of a host"),
        (["--postmaster=admin"], "is no address"),
        (["--listen=nonsense"], "is not an endpoint"),
        ([], "questions need a terminal"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_written(
    init: Init, tmp_path: Path, arguments: list[str], why: str
) -> None:
    code, _, err = init(*arguments)
    assert code in (2, 64) and why in err and list(tmp_path.iterdir()) == []


def test_what_is_open_or_taken_is_warned_of(init: Init) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, out, _ = init(*QUIET, f"--listen=tcp:{port}:interface=127.0.0.1", "--network=8.8.8.0/24")
    assert code == 0
    assert f"! port {port} is taken" in out and "! 8.8.8.0/24 is a network of the internet" in out
    assert "! nobody reads the mail for postmaster" in out
