"""TLS and logins with clients that are not ours, over real sockets."""

from __future__ import annotations

import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from relay.operate.users.passwords import kept_of
from tests.scenarios.peers import Destination, destination, program, wait_until
from tests.scenarios.secured import ANN, LETTER, PASSWORD, Papers, Secured, secured_relay

pytestmark = pytest.mark.endtoend

BOB = "bob@elsewhere.example"


@pytest.fixture(scope="module")
def hop() -> Iterator[Destination]:
    with destination() as one:
        yield one


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, hop: Destination) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    trusted = Papers.issued(folder / "papers")
    with secured_relay(folder, hop.port, certificates=[str(trusted.clients_ca)]) as one:
        yield one


@pytest.fixture(autouse=True)
def nothing_arrived(hop: Destination) -> None:
    hop.arrived.clear()


def received(hop: Destination) -> str:
    """The first Received field of what has arrived."""
    wait_until(lambda: hop.arrived, "the message at the next hop")
    return hop.arrived[0].content.split(b"\r\nFrom:")[0].decode()


def run(*arguments: str | Path, text: bytes = b"", check: bool = True) -> str:
    done = subprocess.run(arguments, input=text, capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert not check or done.returncode == 0, said
    return said


# -- sending ---------------------------------------------------------------------------------------------------


def test_smtplib_by_starttls(secured: Secured, hop: Destination) -> None:
    with smtplib.SMTP("localhost", secured.ports["submission"]) as client:
        client.ehlo()
        assert not client.has_extn("auth"), "not in the clear (RFC 4954 §4)"
        client.starttls(context=secured.papers.context())
        client.ehlo()
        assert not client.has_extn("starttls"), "not within TLS (RFC 3207 §4.2)"
        client.login(ANN, PASSWORD)
        client.sendmail(ANN, [BOB], LETTER)
    assert "with ESMTPSA id" in received(hop)
    assert re.search(r"\r?\n\ttls TLS_[A-Z0-9_]+ \(TLSv1\.[23]\);", received(hop)), "RFC 8314 §4.3"


def test_smtplib_within_tls_from_the_first_octet(secured: Secured, hop: Destination) -> None:
    """RFC 8314 §3.3."""
    context = secured.papers.context()
    with smtplib.SMTP_SSL("localhost", secured.ports["submissions"], context=context) as client:
        client.login(ANN, PASSWORD)
        client.sendmail(ANN, [BOB], LETTER)
    assert "with ESMTPSA id" in received(hop)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("how", ["--tls", "--tls-on-connect"])
def test_swaks(secured: Secured, hop: Destination, mechanism: str, how: str) -> None:
    port = secured.ports["submission" if how == "--tls" else "submissions"]
    sender = ("--from", ANN, "--to", BOB, "--auth", mechanism, "--auth-user", ANN, "--auth-password", PASSWORD)
    run(program("swaks"), "--server", f"127.0.0.1:{port}", how, *sender)
    assert "with ESMTPSA id" in received(hop)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_curl(secured: Secured, hop: Destination, scheme: str, tmp_path: Path) -> None:
    (tmp_path / "letter").write_bytes(LETTER)
    port = secured.ports["submission" if scheme == "smtp" else "submissions"]
    who = ("--user", f"{ANN}:{PASSWORD}", "--mail-from", ANN, "--mail-rcpt", BOB)
    url = f"{scheme}://localhost:{port}/client.example"
    run(program("curl"), "-sS", "--ssl-reqd", "--cacert", secured.papers.ca, *who, "-T", tmp_path / "letter", url)
    assert "with ESMTPSA id" in received(hop)


@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_msmtp(secured: Secured, hop: Destination, mechanism: str) -> None:
    at = ("--host=localhost", f"--port={secured.ports['submission']}", "--tls=on", f"--from={ANN}")
    trust = f"--tls-trust-file={secured.papers.ca}"
    who = (f"--auth={mechanism}", f"--user={ANN}", f"--passwordeval=echo {PASSWORD}")
    run(program("msmtp"), "--file=/dev/null", *at, trust, *who, BOB, text=LETTER.replace(b"\r\n", b"\n"))
    assert "with ESMTPSA id" in received(hop)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN"])
def test_gsasl_binds_its_login_to_the_channel(secured: Secured, mechanism: str) -> None:
    """RFC 9266: GNU SASL knows tls-exporter, and believes nobody who cannot prove to know the password."""
    at = (f"--x509-ca-file={secured.papers.ca}", "--connect", f"localhost:{secured.ports['relay']}")
    bind = () if mechanism.endswith("-PLUS") else ("--no-cb",)
    who = (*bind, "--mechanism", mechanism, "--authentication-id", ANN, "--password", PASSWORD)
    said = run(program("gsasl"), "--client", "--smtp", *at, *who, "--no-client-first")
    assert "235 2.7.0" in said
    wrong = (*who[:-1], "falsch")
    said = run(program("gsasl"), "--client", "--smtp", *at, *wrong, check=False)
    assert "535 5.7.8" in said


# -- what is not let in ----------------------------------------------------------------------------------------


def test_submission_wants_tls_and_then_a_login(secured: Secured) -> None:
    with smtplib.SMTP("localhost", secured.ports["submission"]) as client:
        client.ehlo()
        assert client.docmd("MAIL", f"FROM:<{ANN}>") == (530, b"5.7.0 Must issue a STARTTLS command first")
        client.starttls(context=secured.papers.context())
        client.ehlo()
        assert client.docmd("MAIL", f"FROM:<{ANN}>") == (530, b"5.7.0 Authentication required")
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login(ANN, "falsch")
        assert refused.value.smtp_code == 535


def test_a_user_sends_only_as_who_they_are(secured: Secured) -> None:
    with smtplib.SMTP_SSL("localhost", secured.ports["submissions"], context=secured.papers.context()) as client:
        client.login(ANN, PASSWORD)
        assert client.mail(BOB) == (553, b"5.7.1 You may not send as this sender")


def test_a_command_put_behind_starttls_is_not_done(secured: Secured) -> None:
    """CVE-2011-0411: in the same segment, and in one of its own."""
    for pieces in (
        [b"STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n"],
        [b"STARTTLS\r\n", b"MAIL FROM:<evil@x.example>\r\n"],
    ):
        with socket.create_connection(("127.0.0.1", secured.ports["relay"]), timeout=10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            said = connection.recv(4096)
            connection.sendall(b"EHLO x\r\n")
            while not said.endswith(b"250 HELP\r\n"):
                said += connection.recv(4096)
            for piece in pieces:
                connection.sendall(piece)
            said = b""
            try:
                while data := connection.recv(4096):
                    said += data
            except ConnectionResetError:
                pass
        assert b"250" not in said
        assert said.startswith((b"503 5.5.1 Nothing may follow STARTTLS", b"220 2.0.0"))
        assert said.startswith(b"220") or said.split(b"\r\n")[-2].startswith(b"421 4.7.0")


def test_what_was_said_before_tls_is_forgotten(secured: Secured) -> None:
    """RFC 3207 §4.2."""
    with smtplib.SMTP("localhost", secured.ports["relay"]) as client:
        client.ehlo("one")
        client.starttls(context=secured.papers.context())
        assert client.docmd("MAIL", "FROM:<a@x.example>")[0] == 503


# -- certificates ----------------------------------------------------------------------------------------------


def presented(port: int, papers: Papers, name: str | None = None) -> x509.Certificate:
    context = ssl.create_default_context(cafile=str(papers.ca))
    context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=name) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
        assert secure.recv(100).startswith(b"220 ")
    assert der is not None
    return x509.load_der_x509_certificate(der)


def names(certificate: x509.Certificate) -> Sequence[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, "relay.test"),
        ("other.test", "other.test"),
        ("A.Other.test", "other.test"),
        ("unknown.test", "relay.test"),
    ],
)
def test_the_certificate_is_the_one_for_the_name_that_is_asked_for(
    secured: Secured, asked: str | None, given: str
) -> None:
    """SNI (RFC 6066 §3); who asks for nothing we have gets the first."""
    assert given in names(presented(secured.ports["submissions"], secured.papers, asked))


def s_client(secured: Secured, listener: str, *arguments: str) -> str:
    at = ("-connect", f"127.0.0.1:{secured.ports[listener]}", "-CAfile", str(secured.papers.ca))
    return run(program("openssl"), "s_client", *at, *arguments, text=b"QUIT\r\n", check=False)


@pytest.mark.parametrize(
    ("listener", "version", "spoken"),
    [
        ("submission", "-tls1_3", True),
        ("submission", "-tls1_2", True),
        ("submission", "-tls1_1", False),
        ("submission", "-tls1", False),
        ("old", "-tls1", True),
        ("old", "-tls1_1", True),
    ],
)
def test_versions_of_tls(secured: Secured, listener: str, version: str, spoken: bool) -> None:
    """RFC 8996, and a listener of its own for devices that know nothing newer."""
    said = s_client(secured, listener, "-starttls", "smtp", version, "-cipher", "ALL:@SECLEVEL=0")
    assert ("Verify return code: 0 (ok)" in said and "Cipher is (NONE)" not in said) is spoken, said


def test_no_session_is_resumed(secured: Secured, tmp_path: Path) -> None:
    """What was agreed with one listener counts at no other."""
    for version in ("-tls1_2", "-tls1_3"):
        session = str(tmp_path / version)
        s_client(secured, "submissions", version, "-sess_out", session)
        if Path(session).exists():
            assert "Reused, " not in s_client(secured, "submissions", version, "-sess_in", session)


def test_an_old_device_logs_in_in_the_clear_where_that_is_allowed(secured: Secured, hop: Destination) -> None:
    with smtplib.SMTP("localhost", secured.ports["old"]) as client:
        client.login(ANN, PASSWORD)
        client.sendmail(ANN, [BOB], LETTER)
    assert "with ESMTPA id" in received(hop)


def test_a_new_certificate_is_taken_while_sessions_go_on(secured: Secured) -> None:
    port, papers = secured.ports["submissions"], secured.papers
    before = presented(port, papers)
    with smtplib.SMTP_SSL("localhost", port, context=papers.context()) as client:
        target = secured.relay.config.parent / "tls.pem"
        fresh = target.with_suffix(".new")
        shutil.copy(papers.renewed, fresh)
        fresh.replace(target)
        wait_until(lambda: presented(port, papers).serial_number != before.serial_number, "the new certificate")
        assert client.noop()[0] == 250
        target.write_text("-----BEGIN nothing\n", encoding="ascii")
        wait_until(lambda: "as last read stays in force" in secured.relay.said(), "a word about the broken file")
        assert presented(port, papers).serial_number != before.serial_number
        assert client.noop()[0] == 250
        shutil.copy(papers.relay, target)
        wait_until(lambda: presented(port, papers).serial_number == before.serial_number, "the old certificate again")


def test_a_session_outlives_a_reload(secured: Secured) -> None:
    context = secured.papers.context()
    with smtplib.SMTP_SSL("localhost", secured.ports["submissions"], context=context) as client:
        client.login(ANN, PASSWORD)
        reloads = secured.relay.said().count("relay.yaml")
        os.kill(secured.relay.pid, signal.SIGHUP)
        wait_until(lambda: secured.relay.said().count("relay.yaml") > reloads, "the reload")
        client.sendmail(ANN, [BOB], LETTER)
    assert presented(secured.ports["submissions"], secured.papers, "other.test")


# -- clients by certificate ------------------------------------------------------------------------------------


def relays_for(secured: Secured, client: Path | None) -> int:
    with smtplib.SMTP("localhost", secured.ports["relay"]) as visit:
        visit.starttls(context=secured.papers.context(client))
        visit.ehlo()
        visit.mail("a@x.example")
        return visit.rcpt(BOB)[0]


def test_a_client_with_a_certificate_of_a_trusted_authority_may_relay(secured: Secured) -> None:
    assert relays_for(secured, secured.papers.client) == 250
    assert relays_for(secured, secured.papers.stranger) == 550
    assert relays_for(secured, None) == 550


def test_a_client_with_a_certificate_needs_no_login(secured: Secured, hop: Destination) -> None:
    context = secured.papers.context(secured.papers.client)
    with smtplib.SMTP_SSL("localhost", secured.ports["submissions"], context=context) as client:
        client.sendmail("device@x.example", [BOB], LETTER)
    assert "with ESMTPS id" in received(hop)


def test_a_client_is_known_by_the_fingerprint_of_its_certificate(tmp_path: Path, hop: Destination) -> None:
    """It may be signed by anybody, then; and a listener asks for it only where there is one to be trusted."""
    papers = Papers.issued(tmp_path / "own")
    known = x509.load_pem_x509_certificates(papers.stranger.read_bytes())[0]
    fingerprint = known.fingerprint(hashes.SHA256()).hex(":").upper()
    with secured_relay(tmp_path, hop.port, certificates=[f"sha256:{fingerprint}"]) as secured:
        assert relays_for(secured, papers.stranger) == 250
        assert relays_for(secured, papers.client) == 550


# -- users -----------------------------------------------------------------------------------------------------


def mechanisms(secured: Secured) -> set[str]:
    with smtplib.SMTP_SSL("localhost", secured.ports["submissions"], context=secured.papers.context()) as client:
        client.ehlo()
        return set(client.esmtp_features["auth"].split())


def test_a_user_who_is_added_can_log_in_at_once(secured: Secured) -> None:
    """And SCRAM is offered only as long as it works for everybody."""
    before = secured.users.read_text(encoding="utf-8")
    assert {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN", "LOGIN"} == mechanisms(secured)
    secured.users.write_text(f"{before}carl:{kept_of('x')}\n", encoding="utf-8")
    wait_until(lambda: mechanisms(secured) == {"PLAIN", "LOGIN"}, "the list with carl")
    with smtplib.SMTP_SSL("localhost", secured.ports["submissions"], context=secured.papers.context()) as client:
        assert client.login("carl", "x")[0] == 235
    secured.users.write_text(before, encoding="utf-8")
    wait_until(lambda: len(mechanisms(secured)) == 4, "the list without carl")


def test_no_password_stands_in_the_log(secured: Secured) -> None:
    for password in ("falsch", PASSWORD):
        client = smtplib.SMTP_SSL("localhost", secured.ports["submissions"], context=secured.papers.context())
        with client, suppress(smtplib.SMTPAuthenticationError):
            client.login(ANN, password)
    logged_in = re.compile(rf"logged_in .*login={re.escape(ANN)}")
    wait_until(lambda: logged_in.search(secured.relay.said()) is not None, "the line of the log")
    said = secured.relay.said()
    assert PASSWORD not in said and "falsch" not in said
    assert "Traceback" not in said
