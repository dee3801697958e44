"""Users whom others know: Dovecot's auth service, and a token endpoint."""

from __future__ import annotations

import base64
import getpass
import http.server
import json
import os
import signal
import smtplib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.scenarios.peers import Destination, destination, program, wait_until
from tests.scenarios.secured import ANN, LETTER, PASSWORD, Papers, Secured, secured_relay

pytestmark = pytest.mark.endtoend

BOB = "bob@elsewhere.example"


@pytest.fixture
def hop() -> Iterator[Destination]:
    with destination() as one:
        yield one


def submission(secured: Secured) -> smtplib.SMTP_SSL:
    return smtplib.SMTP_SSL("localhost", secured.ports["submissions"], context=secured.papers.context(), timeout=40)


# -- Dovecot ---------------------------------------------------------------------------------------------------

DOVECOT = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols =
auth_failure_delay = 0
default_internal_user = {user}
default_internal_group = root
default_login_user = {user}
auth_mechanisms = plain login
auth_failure_delay = 0 secs
ssl = no
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/passwd
}}
service auth {{
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
service stats {{
  chroot =
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


@contextmanager
def dovecot(folder: Path) -> Iterator[Path]:
    """Dovecot's auth service of its own; the socket."""
    folder.mkdir(exist_ok=True)
    secret = subprocess.run(
        [program("doveadm"), "pw", "-s", "SHA512-CRYPT", "-p", PASSWORD], capture_output=True, text=True, check=True
    ).stdout.strip()
    (folder / "passwd").write_text(
        f"{ANN}:{secret}::::::\n"
        f"carl:{secret}::::::senders=carl@ours.example\n"
        f"far:{secret}::::::allow_nets=192.0.2.1/32\n",
        encoding="utf-8",
    )
    config = folder / "dovecot.conf"
    config.write_text(DOVECOT.format(folder=folder, user=getpass.getuser()), encoding="utf-8")
    (folder / "auth").unlink(missing_ok=True)
    process = subprocess.Popen([program("dovecot"), "-F", "-c", config], start_new_session=True)
    try:
        wait_until((folder / "auth").exists, "Dovecot's auth socket")
        yield folder / "auth"
    finally:
        # Its auth process would go on with the connections that it has.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def test_dovecot_knows_the_users(tmp_path: Path, hop: Destination) -> None:
    with (
        dovecot(tmp_path / "dovecot") as socket,
        secured_relay(tmp_path, hop.port, users=f"dovecot:{socket}") as secured,
    ):
        with submission(secured) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                client.login(ANN, "falsch")
            assert refused.value.smtp_code == 535
            assert client.login(ANN, PASSWORD)[0] == 235
            client.sendmail(ANN, [BOB], LETTER)
        with submission(secured) as client:
            client.login("carl", PASSWORD)
            assert client.mail("sales@ours.example")[0] == 553, "senders is passed on"
            assert client.mail("carl@ours.example")[0] == 250
        with submission(secured) as client, pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("far", PASSWORD)
    wait_until(lambda: hop.arrived, "the message")


def test_a_dovecot_that_is_gone_is_our_trouble_until_it_is_back(tmp_path: Path, hop: Destination) -> None:
    """454, and the relay connects anew by itself."""
    path = tmp_path / "dovecot" / "auth"
    with secured_relay(tmp_path, hop.port, users=f"dovecot:{path}") as secured:
        for _ in range(2):
            with submission(secured) as client, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                client.login(ANN, PASSWORD)
            assert refused.value.smtp_code == 454, secured.relay.said()
            with dovecot(path.parent), submission(secured) as client:
                assert client.login(ANN, PASSWORD)[0] == 235


# -- tokens ----------------------------------------------------------------------------------------------------


@dataclass
class Endpoint:
    """A token introspection endpoint (RFC 7662) over HTTPS.

    asked    the forms that came
    answers  token -> (status, answer)
    """

    port: int = 0
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    answers: dict[str, tuple[int, object]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/introspect"


@contextmanager
def endpoint(papers: Papers) -> Iterator[Endpoint]:
    told = Endpoint()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            told.asked.append(form)
            told.credentials.append(self.headers.get("Authorization", ""))
            status, answer = told.answers.get(form["token"][0], (200, {"active": False}))
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Location", told.url)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.relay)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def bearer(client: smtplib.SMTP, mechanism: str, user: str, token: str) -> int:
    """Logs in as a client does that has a token; the code of the last reply."""
    message = (
        f"user={user}\x01auth=Bearer {token}\x01\x01"
        if mechanism == "XOAUTH2"
        else (f"n,a={user},\x01auth=Bearer {token}\x01\x01")
    )
    client.ehlo_or_helo_if_needed()
    assert mechanism in client.esmtp_features["auth"].split()
    code, _ = client.docmd("AUTH", f"{mechanism} {base64.b64encode(message.encode()).decode()}")
    return code if code != 334 else client.docmd("AQ==")[0]


def test_tokens_are_shown_to_who_gave_them(tmp_path: Path, hop: Destination) -> None:
    """RFC 7662, RFC 7628; the endpoint is verified, and asked once for a token that is good."""
    papers = Papers.issued(tmp_path / "papers")
    (tmp_path / "secret").write_text("s&cret\n", encoding="utf-8")
    with endpoint(papers) as told:
        told.answers = {
            "good": (200, {"active": True, "username": ANN, "scope": "mail smtp"}),
            "narrow": (200, {"active": True, "username": ANN, "scope": "calendar"}),
            "over": (200, {"active": True, "username": ANN, "scope": "smtp", "exp": 1000}),
            "broken": (200, b"<html>"),
            "down": (503, {}),
            "elsewhere": (307, {"active": True, "username": ANN, "scope": "smtp"}),
            "text": (200, {"active": "true", "username": ANN, "scope": "smtp"}),
        }
        tokens = {
            "introspection": told.url,
            "client_id": "re:lay",
            "client_secret_file": "secret",
            "scope": "smtp",
            "authorities": str(papers.ca),
        }
        with secured_relay(tmp_path, hop.port, tokens=tokens) as secured:
            for mechanism in ("XOAUTH2", "OAUTHBEARER"):
                with submission(secured) as client:
                    assert bearer(client, mechanism, ANN, "good") == 235
                    client.sendmail(ANN, [BOB], LETTER)
            assert len(told.asked) == 1
            assert told.asked[0] == {"token": ["good"], "token_type_hint": ["access_token"]}
            assert base64.b64decode(told.credentials[0].removeprefix("Basic ")) == b"re%3Alay:s%26cret"
            with submission(secured) as client:
                for token, code in (
                    ("unknown-token", 535),
                    ("narrow", 535),
                    ("over", 535),
                    ("text", 535),
                    ("broken", 454),
                    ("down", 454),
                    ("elsewhere", 454),
                ):
                    assert bearer(client, "XOAUTH2", ANN, token) == code, token
            with submission(secured) as client:
                assert bearer(client, "XOAUTH2", "boss@ours.example", "good") == 535, "the token is not theirs"
            wait_until(lambda: len(hop.arrived) == 2, "both messages")
            assert not any(token in secured.relay.said() for token in ("good", "narrow", "unknown-token"))


def test_an_endpoint_that_nobody_vouches_for_is_not_shown_a_token(tmp_path: Path, hop: Destination) -> None:
    papers = Papers.issued(tmp_path / "papers")
    with endpoint(papers) as told:
        told.answers = {"good": (200, {"active": True, "username": ANN})}
        with secured_relay(tmp_path, hop.port, tokens={"introspection": told.url}) as secured:
            with submission(secured) as client:
                assert bearer(client, "XOAUTH2", ANN, "good") == 454
            assert told.asked == []
