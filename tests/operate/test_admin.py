"""Where the page is opened, and for whom: the section ``admin`` of the configuration, and its token."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.operate.config import Config, ConfigFaults, load
from relay.operate.settings.operating import is_loopback
from relay.operate.shares import part_of
from relay.operate.web.opening import TokenFault, read_token

CLOSED = "http: tcp:8025, token_file: token"


def loaded(folder: Path, text: str, **options: str) -> Config:
    (folder / "token").write_text("0123456789abcdef\nand a remark\n", encoding="ascii")
    path = folder / "relay.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, **options)  # type: ignore[arg-type]


def faults_of(folder: Path, text: str, **options: str) -> str:
    with pytest.raises(ConfigFaults) as caught:
        loaded(folder, text, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp:8025:interface=127.0.0.1",
        "tcp:port=8025:interface=127.8.0.1",
        "tcp:8025:backlog=5:interface=localhost",
        "ssl:8025:privateKey=key.pem:interface=127.0.0.1",
        r"tcp:8025:interface=\:\:1",
        r"tcp6:8025:interface=\:\:1",
        r"tcp6:8025:interface=\:\:1:backlog=5",
        "unix:/run/relay/page",
    ],
)
def test_on_this_machine_nobody_needs_a_token(endpoint: str, tmp_path: Path) -> None:
    assert is_loopback(endpoint)
    if not endpoint.startswith("ssl"):
        config = loaded(tmp_path, f"admin: {{http: '{endpoint}'}}")
        assert config.admin is not None and config.admin.http == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp:8025",
        "tcp6:8025",
        "tcp:8025:interface=0.0.0.0",
        "tcp:8025:interface=192.168.1.7",
        "tcp:8025:interface=127.0.0.1.evil.example",
        "tcp:8025:interface=localhost.evil.example",
        "tcp:8025:backlog=127:interface=10.0.0.1",
        r"tcp6:8025:interface=\:\:",
        r"tcp6:8025:interface=\:\:1\:2",
        r"tcp6:8025:interface=2001\:db8\:\:1",
        "systemd:domain=INET:index=0",
        "haproxy:tcp:8025:interface=127.0.0.1",
    ],
)
def test_anywhere_else_a_token_is_wanted_and_the_fault_says_how(endpoint: str, tmp_path: Path) -> None:
    assert not is_loopback(endpoint)
    told = faults_of(tmp_path, f"hostname: a.example\nadmin: {{http: '{endpoint}'}}")
    if "is not an endpoint" not in told:  # Twisted without its proxy plugin
        assert "relay.yaml:2:15: admin.http: whoever reaches this port could read and remove mail" in told
        assert "token_file: /etc/relay/admin.token" in told and "openssl rand -hex 24" in told
        assert "tcp:8025:interface=127.0.0.1" in told
        assert loaded(tmp_path, f"admin: {{http: '{endpoint}', token_file: token}}").admin


def test_other_faults_of_the_section(tmp_path: Path) -> None:
    assert "there is no file" in faults_of(tmp_path, "admin: {token_file: nowhere}")
    assert "TLS needs a certificate" in faults_of(tmp_path, "admin: {tls: true}")
    assert 'did you mean "token_file"?' in faults_of(tmp_path, "admin: {tokenfile: token}")
    assert "is not a mapping" in faults_of(tmp_path, "admin: nine")
    assert "is not a mapping" in faults_of(tmp_path, "admin: [tcp:8025]")


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    assert loaded(tmp_path, "admin: none").admin is None
    assert loaded(tmp_path, "hostname: a.example").admin is not None
    assert loaded(tmp_path, "hostname: a.example", admin="none").admin is None
    assert loaded(tmp_path, f"admin: {{{CLOSED}}}", admin="none").admin is None


def test_the_command_line_changes_the_place_and_not_the_token(tmp_path: Path) -> None:
    config = loaded(tmp_path, f"admin: {{{CLOSED}, http: 'tcp:1'}}".replace("http: tcp:8025, ", ""), admin="tcp:9025")
    assert config.admin is not None
    assert (config.admin.http, config.admin.token_file) == ("tcp:9025", tmp_path / "token")
    assert config.place("admin.http") == "--admin" and "relay.yaml" in config.place("admin.token_file")
    config = loaded(tmp_path, "admin: none", admin="tcp:9025:interface=127.0.0.1")
    assert config.admin is not None and config.says("admin")
    told = faults_of(tmp_path, "hostname: a.example", admin="tcp:9025")
    assert told.startswith("--admin: admin.http: whoever reaches this port")
    assert faults_of(tmp_path, "hostname: a.example", admin="tcp:x").startswith("--admin: admin.http: ")


def test_what_is_built_in_is_known_from_what_was_wanted(tmp_path: Path) -> None:
    """A port that is taken stops a relay whose page was asked for, and no other."""
    assert not loaded(tmp_path, "hostname: a.example").says("admin")
    assert loaded(tmp_path, "admin: {token_file: token}").says("admin")
    assert loaded(tmp_path, "hostname: a.example", admin="tcp:8025:interface=127.0.0.1").says("admin")
    assert not load(None).says("admin")


def test_the_first_worker_has_the_page_and_a_reload_does_not_give_it_to_another(tmp_path: Path) -> None:
    config = loaded(tmp_path, f"workers: 2\nadmin: {{{CLOSED}}}")
    first, second = part_of(config, 0), part_of(config, 1)
    assert first.admin == config.admin and second.admin is None
    newer = loaded(tmp_path, "workers: 2\nadmin: none")
    assert config.needs_restart(newer) == ("admin",)
    assert part_of(newer, 0).keeping(first).admin == config.admin
    assert part_of(config, 1).keeping(second).admin is None


@pytest.mark.parametrize("token", ["", "short", "fifteen-letters", "é" * 20, "with\x00nul-and-more-of-it", "\ufeff"])
def test_what_is_no_token_is_said_with_how_to_make_one(token: str, tmp_path: Path) -> None:
    config = loaded(tmp_path, f"admin: {{{CLOSED}}}")
    (tmp_path / "token").write_text(token + "\n" + "x" * 40, encoding="utf-8")
    with pytest.raises(TokenFault, match="openssl rand -hex 24") as caught:
        read_token(config)
    assert f"{tmp_path}/relay.yaml:1: " in str(caught.value)
    assert not token or token not in str(caught.value)


def test_a_token_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, f"admin: {{{CLOSED}}}")
    assert read_token(config) == "0123456789abcdef"
    (tmp_path / "token").write_bytes(b"  fedcba9876543210\r\n")
    assert read_token(config) == "fedcba9876543210"
    for broken in (b"\xff" * 30, b"\xff\xfe0123456789abcdef"):
        (tmp_path / "token").write_bytes(broken)
        with pytest.raises(TokenFault):
            read_token(config)
    (tmp_path / "token").unlink()
    with pytest.raises(TokenFault, match="No such file"):
        read_token(config)
    assert read_token(loaded(tmp_path, "hostname: a.example")) is None
