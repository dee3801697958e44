"""TLS as a listener does it: certificates, what is agreed, and that nothing passes it by."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory

from relay.policy.users import User
from relay.receive.tls import (
    Certificates,
    KeyPair,
    ServerTls,
    TlsFault,
    TrustedCertificates,
    fingerprint_of,
    load,
    load_authorities,
    registered_name,
)
from tests.fakes.users import FakeUsers
from tests.receive.visit import OURS, House
from tests.scenarios.secured import Papers


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers.issued(tmp_path_factory.mktemp("papers"))


def pair(path: Path) -> KeyPair:
    return KeyPair(path, path)


class Sealed(StringTransport):
    """A socket that also has the short way; nothing in the clear may ever be on it."""

    connected = True

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.disconnecting = True

    def writeSomeData(self, data: bytes) -> int:
        self.write(data)
        return len(data)

    def setTcpNoDelay(self, enabled: bool) -> None: ...


class Client:
    """A client's end of TLS, in memory, against a listener with TLS from the first octet."""

    def __init__(self, house: House, tls: ServerTls, context: ssl.SSLContext) -> None:
        self.house = house
        self.wire = Sealed()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._in, self._out, server_hostname="relay.test")
        self.server = TLSMemoryBIOFactory(tls, False, house.factory, house.clock).buildProtocol(None)
        self.server.makeConnection(self.wire)
        self.passed = b""

    def turn(self) -> None:
        """What each has to say gets to the other."""
        self.house.clock.advance(0.001)
        self.passed += self.wire.value()
        self._in.write(self.wire.value())
        self.wire.clear()
        if self._out.pending and self.wire.producerState == "producing":
            self.server.dataReceived(self._out.read())

    def shake_hands(self) -> None:
        for _ in range(10):
            try:
                self.ssl.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.turn()
        self.turn()

    def says(self, *lines: str) -> list[str]:
        if lines:
            self.ssl.write("".join(line + "\r\n" for line in lines).encode())
        said = b""
        for _ in range(4):
            self.turn()
            with suppress(ssl.SSLWantReadError):
                said += self.ssl.read(65536)
        return said.decode().split("\r\n")[:-1]


def encrypted(house: House, papers: Papers, client: Path | None = None, **tls: object) -> Client:
    server = ServerTls(Certificates(load([pair(papers.relay)])), **tls)
    house.factory.house.tls = server
    made = Client(house, server, papers.context(client))
    made.shake_hands()
    return made


@pytest.fixture
def house() -> Iterator[House]:
    yield House(OURS, source=FakeUsers(User("ann@ours.example")))


def test_nothing_is_ever_sent_in_the_clear(house: House, papers: Papers) -> None:
    """Not the greeting either, which is written before the handshake is done."""
    client = encrypted(house, papers)
    assert client.says()[0].startswith("220 relay.example")
    said = client.says("EHLO client.example", "NOOP")
    assert "250-AUTH PLAIN LOGIN" in said and not any("STARTTLS" in line for line in said)
    client.says("MAIL FROM:<a@x.example>", "RCPT TO:<joe@ours.example>", "DATA", "Subject: x", "", "x", ".")
    assert b"with ESMTPS id" in house.only.message.head
    for word in (b"220", b"relay.example", b"PIPELINING", b"250 "):
        assert word not in client.passed, word


def test_a_client_that_does_not_begin_tls_is_not_kept(house: House, papers: Papers) -> None:
    """It is heard while it may still begin, hears no greeting, and holds no place for ever."""
    server = ServerTls(Certificates(load([pair(papers.relay)])))
    client = Client(house, server, papers.context())
    house.clock.advance(5)
    assert client.wire.producerState == "producing" and client.wire.value() == b""
    for _ in range(13):
        house.clock.advance(5)
    assert client.wire.disconnecting


def test_a_handshake_is_not_waited_for_at_the_end(house: House, papers: Papers) -> None:
    server = ServerTls(Certificates(load([pair(papers.relay)])))
    client = Client(house, server, papers.context())
    house.factory.shut_down(30)
    assert client.wire.disconnecting


def test_what_was_agreed_is_told(house: House, papers: Papers) -> None:
    encrypted(house, papers)
    (told,) = house.steps("encrypted")
    assert told["tls"] == "TLSv1.3" and str(told["cipher"]).startswith("TLS_")


def test_the_channel_of_tls_1_3_can_be_bound_to(house: House, papers: Papers) -> None:
    """RFC 9266, RFC 5929: one is different for each connection, the other the same for each certificate."""
    first, second = (encrypted(house, papers).server.wrappedProtocol.session._bindings for _ in range(2))
    assert set(first) == {"tls-exporter", "tls-server-end-point"}
    assert first["tls-exporter"] != second["tls-exporter"] and len(first["tls-exporter"]) == 32
    assert first["tls-server-end-point"] == second["tls-server-end-point"]


def test_before_tls_1_3_nothing_is_bound(house: House, papers: Papers) -> None:
    context = papers.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = ServerTls(Certificates(load([pair(papers.relay)])))
    client = Client(house, server, context)
    client.shake_hands()
    assert client.server.wrappedProtocol.session._bindings == {}


@pytest.mark.parametrize(("client", "trusted"), [("client", True), ("stranger", False), (None, False)])
def test_a_certificate_makes_a_client_trusted(house: House, papers: Papers, client: str | None, trusted: bool) -> None:
    house.factory.house.trusted_certificates = TrustedCertificates(authorities=load_authorities(papers.clients_ca))
    path = getattr(papers, client) if client else None
    encrypted(house, papers, path, asks=True)
    (session,) = house.factory._sessions
    # The wire in memory comes from nowhere, which is a unix socket's address; what counts is the certificate.
    assert session.intake.client.certified is trusted


def test_trust_by_fingerprint_and_by_authority(papers: Papers) -> None:
    (client,) = load([pair(papers.client)])
    (stranger,) = load([pair(papers.stranger)])
    by_authority = TrustedCertificates(authorities=load_authorities(papers.clients_ca))
    assert (by_authority.trusts(client.chain) or "").startswith("signed by ")
    assert by_authority.trusts(stranger.chain) is None
    by_fingerprint = TrustedCertificates(frozenset({fingerprint_of(stranger.chain[0])}))
    assert by_fingerprint.trusts(stranger.chain) == f"sha256:{fingerprint_of(stranger.chain[0])}"
    assert by_fingerprint.trusts(client.chain) is None
    assert TrustedCertificates().trusts(client.chain) is None
    assert by_authority.trusts(()) is None


def test_a_certificate_that_is_for_servers_only_makes_no_client() -> None:
    """RFC 5280 §4.2.1.12: the authority for our web servers shall not make relays of them."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)

    def issued(name: str, issuer: str, use: x509.ObjectIdentifier | None, ca: bool) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        made = x509.CertificateBuilder(named(issuer), named(name), key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
        made = made.add_extension(x509.BasicConstraints(ca, None), True)
        if use is not None:
            made = made.add_extension(x509.ExtendedKeyUsage([use]), False)
        return made.sign(key, hashes.SHA256())

    trusted = TrustedCertificates(authorities=(issued("ca", "ca", None, True),))
    assert trusted.trusts((issued("a", "ca", ExtendedKeyUsageOID.CLIENT_AUTH, False),)) == "signed by CN=ca"
    assert trusted.trusts((issued("b", "ca", None, False),)) == "signed by CN=ca"
    assert trusted.trusts((issued("c", "ca", ExtendedKeyUsageOID.SERVER_AUTH, False),)) is None


def test_what_cannot_be_used_is_told_with_its_file(tmp_path: Path, papers: Papers) -> None:
    empty, certificate, key = tmp_path / "empty", tmp_path / "crt", tmp_path / "key"
    empty.write_text("")
    text = papers.relay.read_text()
    end = text.index("-----BEGIN CERTIFICATE")
    key.write_text(text[:end])
    certificate.write_text(text[end:])
    assert load([KeyPair(certificate, key)])[0].names == ("relay.test", "localhost")
    for wrong, said in (
        (KeyPair(empty, key), "empty: there is no certificate in it"),
        (KeyPair(certificate, empty), "empty: there is no private key in it"),
        (KeyPair(certificate, papers.other), "other.pem: this is not the key of the certificate in"),
        (KeyPair(tmp_path / "nowhere", key), "nowhere: cannot be read: No such file"),
    ):
        with pytest.raises(TlsFault, match=said):
            load([wrong])


def test_a_connection_keeps_the_context_it_began_with(house: House, papers: Papers) -> None:
    certificates = Certificates(load([pair(papers.relay)]))
    server = ServerTls(certificates)
    client = Client(house, server, papers.context())
    client.shake_hands()
    certificates.replace(load([pair(papers.renewed)]))
    assert client.says("NOOP")[-1] == "250 2.0.0 OK"
    other = Client(house, server, papers.context())
    other.shake_hands()
    shown = [one.ssl.getpeercert(binary_form=True) for one in (client, other)]
    assert shown[0] != shown[1]


def test_a_trusted_certificate_is_a_login_too(house: House, papers: Papers) -> None:
    """RFC 8314 §4.2: SASL EXTERNAL is offered to who has shown one; RFC 4422 Appendix A, RFC 4954 §7 (ESMTPSA)."""
    house.factory.house.trusted_certificates = TrustedCertificates(authorities=load_authorities(papers.clients_ca))
    client = encrypted(house, papers, papers.client, asks=True)
    assert "250-AUTH EXTERNAL PLAIN LOGIN" in client.says("EHLO x")
    assert client.says("AUTH EXTERNAL " + b64encode(b"boss").decode())[-1].startswith("535")
    assert client.says("AUTH EXTERNAL =")[-1].startswith("235")
    assert client.says("AUTH EXTERNAL =")[-1].startswith("503")
    client.says("MAIL FROM:<a@x.example>", "RCPT TO:<joe@else.example>", "DATA", "Subject: x", "", "x", ".")
    assert b"with ESMTPSA id" in house.only.message.head
    (told,) = house.steps("logged_in")
    assert told["mechanism"] == "EXTERNAL" and str(told["login"]).startswith("accept.certificates: ")
    stranger = encrypted(house, papers, asks=True)
    assert "250-AUTH PLAIN LOGIN" in stranger.says("EHLO x")
    assert stranger.says("AUTH EXTERNAL =")[-1].startswith("504")


def test_a_login_binds_to_tls_and_needs_it(house: House, papers: Papers) -> None:
    visit = house.visit()
    assert visit.says("AUTH PLAIN AGFubkBvdXJzLmV4YW1wbGUAZ2VoZWlt")[0].startswith("538 5.7.11")
    client = encrypted(house, papers)
    client.says("EHLO x")
    assert client.says("AUTH PLAIN AGFubkBvdXJzLmV4YW1wbGUAZ2VoZWlt")[0].startswith("235")


@pytest.mark.parametrize(
    ("cipher", "name"),
    [
        ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
        ("ECDHE-ECDSA-AES256-CCM8", "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8"),
        ("ECDHE-RSA-AES256-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
        ("ECDHE-RSA-AES128-SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
        ("AES256-GCM-SHA384", "TLS_RSA_WITH_AES_256_GCM_SHA384"),
        ("AES128-CCM", "TLS_RSA_WITH_AES_128_CCM"),
        ("AES128-SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA256"),
        ("AES128-SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"),
    ],
)
def test_the_registered_name_of_a_cipher(cipher: str, name: str) -> None:
    """RFC 8314 §4.3: as ``openssl ciphers -stdname`` has it, of each kind that a listener may agree on."""
    assert registered_name(cipher) == name
