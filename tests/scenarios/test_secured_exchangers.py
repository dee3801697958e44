"""DANE and MTA-STS from the configuration file to the wire.

A DNS that says what is signed, a web server at port 443, mail hosts with TLS at port 25.
"""

from __future__ import annotations

import http.server
import os
import smtplib
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fakes.authority import Issued, authority_file, issue
from tests.fakes.dns_server import DnsServer
from tests.scenarios.peers import Destination, Relay, destination, needs_root, own_address, running_relay, wait_until

pytestmark = pytest.mark.endtoend

HOST, WEB = own_address(21), own_address(22)
RIGHT, WRONG = issue("mx.elsewhere.example"), issue("other.example", by="Unknown")


def context_of(certificate: Issued, folder: Path) -> ssl.SSLContext:
    folder.mkdir(exist_ok=True)
    chain, key = certificate.write(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


@contextmanager
def policy_server(folder: Path, policies: dict[str, str]) -> Iterator[list[str]]:
    """A web server at port 443; gives the list of what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            text = policies["mode"].encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments: object) -> None: ...

    server = http.server.ThreadingHTTPServer((WEB, 443), Handler)
    server.socket = context_of(issue("mta-sts.elsewhere.example"), folder).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class World:
    """elsewhere.example, its mail host and its web server."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.dns = stack.enter_context(DnsServer())
        self.dns.mx("elsewhere.example", (10, "mx.elsewhere.example"))
        self.dns.a("mx.elsewhere.example", HOST)
        self.dns.a("mta-sts.elsewhere.example", WEB)
        self.config = (
            f"dns: {{servers: ['{self.dns.text}'], trusted: [127.0.0.1], unreachable: [], timeout: 2s, ipv6: false}}\n"
        )

    def host(self, certificate: Issued | None) -> Destination:
        """The mail host."""
        tls = {"tls_context": context_of(certificate, self.folder / "host")} if certificate is not None else {}
        return self._stack.enter_context(destination(25, HOST, **tls))

    def publish(self, mode: str) -> list[str]:
        """An MTA-STS policy."""
        self.dns.add("_mta-sts.elsewhere.example", "TXT", '"v=STSv1; id=1;"')
        text = f"version: STSv1\nmode: {mode}\nmx: mx.elsewhere.example\nmax_age: 86400\n"
        return self._stack.enter_context(policy_server(self.folder / "web", {"mode": text}))

    def tlsa(self, certificate: Issued) -> None:
        self.dns.sign("elsewhere.example")
        self.dns.add("_25._tcp.mx.elsewhere.example", "TLSA", str(certificate.tlsa()))

    def relay(self) -> Relay:
        return self._stack.enter_context(running_relay(self.folder / "relay", self.config))

    def sent(self, headers: str = "") -> Relay:
        relay = self.relay()
        with smtplib.SMTP("127.0.0.1", relay.port) as client:
            letter = f"Subject: x\r\n{headers}\r\nHello\r\n"
            assert client.sendmail("ann@client.example", ["bob@elsewhere.example"], letter) == {}
        return relay


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    needs_root()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))
    assert "SSL_CERT_FILE" in os.environ
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def kept(relay: Relay, why: str) -> None:
    """The mail waits, and the queue says why."""
    wait_until(lambda: why in relay.command("queue", "list", "--json").stdout, f"{why!r} as the last error")


def test_dane_takes_the_certificate_that_the_dns_vouches_for(world: World) -> None:
    """Whatever authority issued it, and for whatever name (RFC 7672 §3.1.1)."""
    host = world.host(WRONG)
    world.tlsa(WRONG)
    world.sent()
    wait_until(lambda: host.arrived, "the message")


def test_dane_keeps_the_mail_from_another(world: World) -> None:
    host = world.host(RIGHT)
    world.tlsa(WRONG)
    kept(world.sent(), "no TLSA record means its certificate")
    assert not host.arrived


def test_dane_keeps_the_mail_where_tls_is_stripped(world: World) -> None:
    """Field-notes 4: whoever takes STARTTLS out of the reply gets nothing."""
    host = world.host(None)
    world.tlsa(RIGHT)
    kept(world.sent(), "TLS is required, and the server does not offer STARTTLS")
    assert not host.arrived


def test_a_bogus_answer_about_tlsa_keeps_the_mail(world: World) -> None:
    """RFC 7672 §2.1.2: a validating resolver says SERVFAIL."""
    host = world.host(RIGHT)
    world.tlsa(RIGHT)
    world.dns.servfail("_25._tcp.mx.elsewhere.example")
    kept(world.sent(), "gives no answer for the TLSA records")
    assert not host.arrived


def test_an_enforced_policy_keeps_the_mail_from_who_is_not_known(world: World) -> None:
    """RFC 8461 §5."""
    host = world.host(WRONG)
    asked = world.publish("enforce")
    kept(world.sent(), "is not trusted")
    assert asked and not host.arrived


def test_an_enforced_policy_lets_the_right_host_have_it(world: World) -> None:
    host = world.host(RIGHT)
    world.publish("enforce")
    world.sent()
    wait_until(lambda: host.arrived, "the message")


def test_a_policy_in_testing_keeps_nothing(world: World) -> None:
    host = world.host(WRONG)
    asked = world.publish("testing")
    world.sent()
    wait_until(lambda: host.arrived, "the message")
    assert asked


def test_a_warning_gets_through_though_tls_is_broken(world: World) -> None:
    """RFC 8689 §3."""
    host = world.host(WRONG)
    world.publish("enforce")
    world.sent("TLS-Required: No\r\n")
    wait_until(lambda: host.arrived, "the message")


def test_a_policy_is_known_after_a_restart(world: World) -> None:
    """RFC 8461 §10.2: else a restart would be the moment to strike."""
    host = world.host(WRONG)
    asked = world.publish("enforce")
    relay = world.sent()
    kept(relay, "is not trusted")
    assert relay.end() == 0
    world.dns.remove("_mta-sts.elsewhere.example")
    world.dns.servfail("_mta-sts.elsewhere.example")
    again = world.relay()
    again.command("queue", "retry", "--all", "--yes")
    wait_until(lambda: '"attempts": 2' in again.command("queue", "list", "--json").stdout, "another attempt")
    kept(again, "is not trusted")
    assert len(asked) == 1 and not host.arrived


def test_without_either_whatever_tls_there_is_does(world: World) -> None:
    """RFC 7435."""
    host = world.host(WRONG)
    world.sent()
    wait_until(lambda: host.arrived, "the message")
