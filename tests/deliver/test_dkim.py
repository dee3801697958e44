"""DKIM signatures of our own mail, as another implementation reads them (RFC 6376, RFC 8463)."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from relay.deliver.dkim import KeyFault, Signer
from relay.deliver.tlsrpt import DAY_S, Tally, mail, report
from relay.message.address import Address
from tests.deliver.test_tlsrpt import CONTACT, DAY, count

RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
PLAIN = b"From: <a@relay.example>\r\nSubject: Two\t words\r\n  and more\r\n\r\nHello  \t you \r\n\r\nx\t\r\n\r\n\r\n"


def a_report() -> bytes:
    tally = Tally()
    count(tally)
    ((day, domain, policies),) = tally.by_domain(DAY + 1)
    made = report(domain, day, policies, "relay.example", "Example", CONTACT)
    return mail(made, Address("tls", "example.org"), CONTACT, "relay.example", DAY * DAY_S)


def signer(folder: Path, key: object) -> Signer:
    path = folder / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # type: ignore[attr-defined]
    return Signer("Relay.Example", "tlsrpt", path)


def published(name: bytes, timeout: int = 5) -> bytes:
    """The DNS: the key by the algorithm that the test asks for."""
    assert name == b"tlsrpt._domainkey.relay.example."
    return RECORD[0]


RECORD: list[bytes] = [b""]


@pytest.fixture(params=["rsa", "ed25519"])
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Signer:
    key = RSA if request.param == "rsa" else ED25519
    spki = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public = spki if request.param == "rsa" else ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    RECORD[0] = f"v=DKIM1; k={request.param}; s=tlsrpt; p={b64encode(public).decode()}".encode()
    return signer(tmp_path, key)


@pytest.mark.parametrize(
    "content", [a_report(), PLAIN, b"From: <a@relay.example>\r\n\r\n"], ids=["report", "spaces", "empty"]
)
def test_a_verifier_that_is_not_ours_believes_it(ours: Signer, content: bytes) -> None:
    signed = ours.signed(content)
    assert signed.endswith(content) and max(map(len, signed.split(b"\r\n"))) < 200
    verifier = dkim.DKIM(signed, tlsrpt=True)
    assert verifier.verify(dnsfunc=published)
    assert verifier.domain == b"relay.example"


def test_it_covers_what_a_receiver_goes_by(ours: Signer) -> None:
    """RFC 8460 §3, §5.3: all of the body (no l=), and the fields that name domain and submitter."""
    signed = ours.signed(a_report())
    signature = signed.partition(b"\r\nDate:")[0]
    assert b" l=" not in signature
    for name in (b"from", b"to", b"subject", b"date", b"tls-report-domain", b"tls-report-submitter", b"content-type"):
        assert name in signature.partition(b"h=")[2]
    for before, after in ((b"Submitter: relay", b"Submitter: other"), (b"H4sI", b"H5sI"), (b"To: <tls@", b"To: <tlt@")):
        assert before in signed
        assert not dkim.verify(signed.replace(before, after, 1), dnsfunc=published, tlsrpt=True)
    relaxed = signed.replace(b"TLS-Required: No", b"tls-required:   No ")
    assert dkim.DKIM(relaxed, tlsrpt=True).verify(dnsfunc=published)


def test_what_is_no_key_signs_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyFault, match="neither RSA"):
        signer(tmp_path, ec.generate_private_key(ec.SECP256R1())).signed(PLAIN)
    (tmp_path / "none.pem").write_text("nothing")
    for name, why in (("none.pem", "no private key"), ("missing.pem", "cannot be read")):
        with pytest.raises(KeyFault, match=why):
            Signer("relay.example", "tlsrpt", tmp_path / name).signed(PLAIN)
