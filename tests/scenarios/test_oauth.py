"""A provider that takes tokens only: ``relay oauth login`` at a terminal, and mail that goes by what it has fetched.

The provider's answers are those of Microsoft's and Google's documents: pending until the person has entered the code,
a new refresh token with each access token, 535 for an access token that is none any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import smtplib
import ssl
import subprocess
import sys
import threading
import tty
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from tests.fakes.authority import authority_file, issue
from tests.scenarios.peers import Destination, Relay, destination, running_relay, wait_until

pytestmark = pytest.mark.endtoend

ANN = "ann@contoso.example"


class Provider:
    """Token endpoint, device endpoint, and who is let in.

    pending  how often the person is still to be waited for
    asked    the forms that came, in order
    valid    the access token that is good now
    """

    def __init__(self) -> None:
        self.pending = 1
        self.asked: list[dict[str, str]] = []
        self.valid = ""
        self._refresh = ""
        self._given = 0

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        self.asked.append(form)
        if path == "/devicecode":
            code = {
                "device_code": "dev-1",
                "user_code": "A1B2C3D4E",
                "verification_uri": "https://login.example/device",
            }
            return 200, {**code, "expires_in": 900, "interval": 1, "message": "To sign in, ..."}
        if form["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code":
            self.pending -= 1
            if self.pending >= 0:
                return 400, {"error": "authorization_pending", "error_codes": [70016]}
        elif form.get("refresh_token") != self._refresh:
            return 400, {"error": "invalid_grant", "error_description": "AADSTS700082: The refresh token has expired"}
        self._given += 1
        self.valid, self._refresh = f"access-{self._given}", f"refresh-{self._given}"
        granted = {"token_type": "Bearer", "access_token": self.valid, "refresh_token": self._refresh}
        return 200, {**granted, "expires_in": 3599, "scope": form.get("scope", "")}


@contextlib.contextmanager
def served(provider: Provider, folder: Path) -> Iterator[int]:
    """The provider's web server; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, said = provider.answer(self.path, {key: values[0] for key, values in parse_qs(form).items()})
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issue("localhost").write(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class TokensOnly(Destination):
    """A submission server that knows XOAUTH2 alone.

    left  sessions that have taken their leave
    """

    provider: Provider
    left = 0

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.left += 1
        return "221 2.0.0 Bye"

    async def auth_XOAUTH2(self, server: SMTP, arguments: list[str]) -> AuthResult:
        said: Any = await server.challenge_auth("") if len(arguments) == 1 else arguments[1]
        parts = (said if isinstance(said, bytes) else b64decode(said)).decode().split("\1")
        is_right = parts == [f"user={ANN}", f"auth=Bearer {self.provider.valid}", "", ""]
        return AuthResult(success=is_right, handled=False, auth_data=ANN)


def at_a_terminal(config: Path) -> tuple[int, str]:
    """``relay oauth login`` at a terminal: its exit code, and what a person sees."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    command = [Path(sys.executable).parent / "relay", "oauth", "login", "--config", config]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    with os.fdopen(master, "rb", buffering=0) as screen, contextlib.suppress(OSError):  # EIO: the terminal is gone
        while piece := screen.read(65536):
            shown += piece
    return process.wait(60), shown.decode()


def send(relay: Relay) -> None:
    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        client.sendmail(ANN, ["bob@elsewhere.example"], "Subject: x\r\n\r\nHello\r\n")


def test_from_the_code_on_the_screen_to_mail_that_is_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authorities = authority_file(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))  # for the provider's web server: what the system trusts
    provider = Provider()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*issue("localhost").write(tmp_path))
    token = tmp_path / "token"
    with (
        served(provider, tmp_path) as port,
        destination(kind=TokensOnly, tls_context=tls, auth_required=True) as hop,
    ):
        hop.provider = provider
        oauth = {
            "token_endpoint": f"https://localhost:{port}/token",
            "device_endpoint": f"https://localhost:{port}/devicecode",
            "client_id": "11111111-2222-3333-4444-555555555555",
            "refresh_token_file": str(token),
            "scope": "https://outlook.office.com/SMTP.Send offline_access",
        }
        route = {
            "to": "*",
            "via": f"smtp://localhost:{hop.port}",
            "user": ANN,
            "authorities": str(authorities),
            "oauth": oauth,
        }
        config = f"delivery: {{idle: 1s}}\nroutes: {json.dumps([route])}\n"
        (tmp_path / "login.yaml").write_text(config)

        code, shown = at_a_terminal(tmp_path / "login.yaml")
        assert code == 0, shown
        assert "https://login.example/device" in shown and "A1B2C3D4E" in shown and ANN in shown
        assert "refresh-1" not in shown and "access-1" not in shown
        assert token.read_text() == "refresh-1\n" and token.stat().st_mode & 0o777 == 0o600
        device, pending, granted = provider.asked
        assert device == {"client_id": oauth["client_id"], "scope": oauth["scope"]}
        assert (
            pending
            == granted
            == {
                "client_id": oauth["client_id"],
                "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                "device_code": "dev-1",
            }
        )

        with running_relay(tmp_path / "r", config) as relay:
            send(relay)
            wait_until(lambda: len(hop.arrived) == 1, f"the message: {relay.said()}")
            assert token.read_text() == "refresh-2\n", "the provider gave a new one, and the old is of no use any more"
            provider.valid = "revoked"
            wait_until(lambda: hop.left == 1, "the connection that was let in to be given up")
            send(relay)
            wait_until(lambda: "the login was refused" in relay.said(), "a loud line")
            relay.command("queue", "flush")
            wait_until(lambda: len(hop.arrived) == 2, f"the message, by a new token: {relay.said()}")
            assert token.read_text() == "refresh-3\n"
            for secret in ("access-", "refresh-"):
                assert secret not in relay.said()


def test_what_the_person_declines_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))
    provider = Provider()
    usual = provider.answer

    def declined(path: str, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        return usual(path, form) if path == "/devicecode" else (400, {"error": "authorization_declined"})

    provider.answer = declined  # type: ignore[method-assign]
    with served(provider, tmp_path) as port:
        where = f"token_endpoint: https://localhost:{port}/token, device_endpoint: https://localhost:{port}/devicecode"
        (tmp_path / "login.yaml").write_text(
            f"routes: [{{to: '*', via: smtp://localhost:25, user: {ANN}, oauth: {{{where}, "
            f"client_id: us, refresh_token_file: {tmp_path}/token, scope: x}}}}]"
        )
        code, shown = at_a_terminal(tmp_path / "login.yaml")
    assert code != 0 and "authorization_declined" in shown and "Traceback" not in shown
    assert not (tmp_path / "token").exists()
