"""Sending through a provider that is not ours."""

from __future__ import annotations

import json
import re
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.authority import authority_file
from tests.scenarios.peers import Relay, free_port, running_relay, wait_until
from tests.scenarios.provider import ANN, NAME, PASSWORD, Provider, running_provider

pytestmark = pytest.mark.endtoend


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider() as one:
        yield one


@pytest.fixture(autouse=True)
def nothing_arrived(provider: Provider) -> None:
    for file in (provider.folder / "mail").rglob("new/*"):
        file.unlink()


def route(folder: Path, via: str, *lines: str, password: str = PASSWORD, host: str = NAME) -> str:
    """A configuration that sends everything to the provider."""
    secret = folder / "password"
    secret.write_text(password + "\n", encoding="utf-8")
    authorities = authority_file(folder)
    usual = [f"via: {via}", f"user: {ANN}", f"password_file: {secret}", f"authorities: {authorities}"]
    kept = [line for line in usual if line.partition(":")[0] not in [each.partition(":")[0] for each in lines]]
    return "routes:\n  - to: '*'\n" + "".join(f"    {line}\n" for line in (*kept, *lines))


def send(relay: Relay) -> None:
    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        letter = "Subject: a letter\r\n\r\nHello\r\n"
        assert client.sendmail("ann@client.example", ["bob@elsewhere.example"], letter) == {}


@pytest.mark.parametrize("mechanism", ["", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_provider_lets_us_in(provider: Provider, tmp_path: Path, mechanism: str) -> None:
    more = [f"mechanisms: [{mechanism}]"] if mechanism else []
    config = route(tmp_path, f"smtp://{NAME}:{provider.ports['starttls']}", *more)
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(provider.arrived, f"the message at the provider: {relay.said()}")
        (text,) = provider.arrived()
        assert f"(Authenticated sender: {ANN})" in text
        assert re.search(r"\(using TLSv1\.[23] with cipher", text)
        assert "with ESMTPSA id" in text
        used = re.findall(r"sasl_method=([\w-]+)", provider.log())
        assert used[-1] == (mechanism or "SCRAM-SHA-256")
        assert PASSWORD not in relay.said()


def test_tls_from_the_first_octet(provider: Provider, tmp_path: Path) -> None:
    """RFC 8314."""
    config = route(tmp_path, f"smtps://{NAME}:{provider.ports['tls']}")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(provider.arrived, f"the message at the provider: {relay.said()}")


def test_a_wrong_password_keeps_the_mail_and_says_so_loudly(provider: Provider, tmp_path: Path) -> None:
    """OpenSMTPD #64, #65: an expired password must not bounce the queue."""
    config = route(tmp_path, f"smtp://{NAME}:{provider.ports['starttls']}", password="wrong")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(lambda: "the login was refused" in relay.said(), "a loud line")
        wait_until(lambda: "535" in relay.command("status", "--json").stdout, "the destination's last error")
        assert '"messages": 1' in relay.command("status", "--json").stdout
        assert relay.said().count("the login was refused") == 1
        assert not provider.arrived()
        (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
        relay.command("queue", "flush")
        wait_until(provider.arrived, "the message, once the password is right")


def test_a_password_that_is_changed_under_way_and_back_loses_nothing(provider: Provider, tmp_path: Path) -> None:
    """The destination rests, mail stays, one loud line, the status shows it, nothing bounces; then all of it goes."""
    config = "delivery: {idle: 1s}\n" + route(tmp_path, f"smtp://{NAME}:{provider.ports['starttls']}")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(lambda: len(provider.arrived()) == 1, "the first message")
        wait_until(
            lambda: "disconnect from localhost" in provider.log().rpartition("sasl_method")[2], "an idle session"
        )
        before = provider.log().count("authentication failed")
        provider.sets_password("another one")
        try:
            for _ in range(3):
                send(relay)
            wait_until(lambda: "the login was refused" in relay.said(), "a loud line")
            wait_until(lambda: destination(relay).get("resting_until"), "the destination's rest")
            told = destination(relay)
            assert "535" in told["error"] and told["waiting"] == 3
            assert "535" in relay.command("status").stdout, "a person sees it too"
            refused = provider.log().count("authentication failed")
            assert refused == before + 1, "who knows that it is wrong does not try it for each message"
            relay.command("queue", "flush")
            wait_until(lambda: provider.log().count("authentication failed") > refused, "another try")
            assert relay.said().count("the login was refused") == 1
            steps = json.loads(relay.command("status", "--json").stdout)["steps"]
            assert (steps["failed"], steps["reported"], steps["delivered"]) == (0, 0, 1)
            assert len(provider.arrived()) == 1
        finally:
            provider.sets_password(PASSWORD)
        relay.command("queue", "flush")
        wait_until(lambda: len(provider.arrived()) == 4, f"all of it: {relay.said()}")
        assert json.loads(relay.command("status", "--json").stdout)["queue"]["messages"] == 0


def destination(relay: Relay) -> dict[str, Any]:
    """The one destination, as the status shows it."""
    (row,) = json.loads(relay.command("status", "--json").stdout)["destinations"]
    return dict(row)


@pytest.mark.parametrize("level", ["verify", "verify-system"])
def test_no_password_for_who_is_not_the_provider(provider: Provider, tmp_path: Path, level: str) -> None:
    """The certificate is for localhost; we look for another name, or do not know the authority."""
    port = provider.ports["starttls"]
    if level == "verify":
        config = route(tmp_path, f"smtp://other.localhost:{port}")
    else:
        config = route(tmp_path, f"smtp://{NAME}:{port}")
        config = "".join(line + "\n" for line in config.splitlines() if "authorities" not in line)
    before = provider.log().count("sasl_")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(lambda: '"attempts": 1' in relay.command("queue", "list", "--json").stdout, "the first attempt")
        assert not provider.arrived()
        assert provider.log().count("sasl_") == before


def test_fail_over_to_the_second_host(provider: Provider, tmp_path: Path) -> None:
    port = provider.ports["starttls"]
    config = route(tmp_path, f"[smtp://{NAME}:{free_port()}, smtp://{NAME}:{port}]")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(provider.arrived, "the message at the second host")


def test_each_sender_by_his_own_account(provider: Provider, tmp_path: Path) -> None:
    """``from:`` in a route; a connection of one is not used for another."""
    port = provider.ports["starttls"]
    config = route(tmp_path, f"smtp://{NAME}:{port}", "from: client.example")
    config += "  - to: '*'\n    via: reject:550 5.7.1 No account for this sender\n"
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(provider.arrived, "the message of the sender with an account")
