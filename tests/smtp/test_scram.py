"""SCRAM-SHA-256 against the RFC's own example, and against an implementation that is not ours."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from scramp import ScramClient

from relay.smtp.scram import ScramFault, ScramSecret, ScramServer, scram_secret

SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
PENCIL = scram_secret(b"pencil", SALT, 4096)
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
EXPORTER = {"tls-exporter": b"\x01" * 32}


def first(text: str, bindings: dict[str, bytes] | None = None, plus: bool = False) -> ScramServer:
    return ScramServer(text.encode(), bindings or {}, plus)


def test_the_example_of_the_rfc() -> None:
    """RFC 7677 §3, octet for octet."""
    server = first("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert server.user == "user"
    expected = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert server.challenge(PENCIL, NONCE) == expected
    assert server.proves(FINAL)
    assert server.verifier() == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("password", ["pencil", "pen\u00e7il", "a" * 200, "=,="])
def test_a_client_that_is_not_ours_logs_in_and_believes_us(password: str) -> None:
    client = ScramClient(["SCRAM-SHA-256"], "ann=x,y@example.org", password)
    server = first(client.get_client_first())
    assert server.user == "ann=x,y@example.org"
    challenge = server.challenge(scram_secret(password.encode(), SALT, 4096), NONCE)
    client.set_server_first(challenge.decode())
    assert server.proves(client.get_client_final().encode())
    client.set_server_final(server.verifier().decode())


def test_a_client_that_is_not_ours_binds_to_the_certificate() -> None:
    """RFC 5929 §4: tls-server-end-point."""
    digest = b"\x07" * 32
    mechanisms = ["SCRAM-SHA-256-PLUS"]
    client = ScramClient(mechanisms, "ann", "pencil", channel_binding=("tls-server-end-point", digest))
    server = first(client.get_client_first(), {"tls-server-end-point": digest, **EXPORTER}, plus=True)
    client.set_server_first(server.challenge(PENCIL, NONCE).decode())
    assert server.proves(client.get_client_final().encode())
    client.set_server_final(server.verifier().decode())


def test_a_wrong_password_proves_nothing() -> None:
    client = ScramClient(["SCRAM-SHA-256"], "ann", "pensil")
    server = first(client.get_client_first())
    client.set_server_first(server.challenge(PENCIL, NONCE).decode())
    assert not server.proves(client.get_client_final().encode())


def bound_final(binding: bytes, header: str = "p=tls-exporter,,") -> tuple[ScramServer, bytes]:
    """A -PLUS exchange in which the client binds to these octets, with a right proof."""
    import hashlib
    import hmac

    server = first(f"{header}n=ann,r=abc", EXPORTER, plus=True)
    challenge = server.challenge(PENCIL, NONCE).decode()
    unproven = f"c={b64encode(header.encode() + binding).decode()},r=abc{NONCE}"
    message = f"n=ann,r=abc,{challenge},{unproven}".encode()
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", SALT, 4096)
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    return server, f"{unproven},p={b64encode(proof).decode()}".encode()


def test_the_proof_counts_only_on_the_channel_it_was_made_for() -> None:
    """RFC 9266: a man in the middle has another channel on each side."""
    server, final = bound_final(EXPORTER["tls-exporter"])
    assert server.proves(final)
    server, final = bound_final(b"\x02" * 32)
    assert not server.proves(final)


@pytest.mark.parametrize(
    ("message", "bindings", "plus"),
    [
        ("y,,n=ann,r=abc", EXPORTER, False),  # our offer of -PLUS was taken out of the list (RFC 5802 §6)
        ("n,,n=ann,r=abc", EXPORTER, True),
        ("p=tls-exporter,,n=ann,r=abc", EXPORTER, False),
        ("p=tls-unique,,n=ann,r=abc", EXPORTER, True),
        ("p=tls-exporter,,n=ann,r=abc", {}, True),
        ("n,,m=ext,n=ann,r=abc", {}, False),  # an extension that must be understood (RFC 5802 §5.1)
        ("n,,n=ann,r=abc,m=ext", {}, False),  # wherever it stands
        ("n,,n=ann", {}, False),
        ("n,,n=,r=abc", {}, False),
        ("n,,n=a=2Db,r=abc", {}, False),
        ("n,,n=ann,r=", {}, False),
        ("n,,n=ann,r=" + "x" * 513, {}, False),
        ("n,,n=a\0b,r=abc", {}, False),
        ("n,n=ann,r=abc", {}, False),
        ("", {}, False),
    ],
)
def test_first_messages_that_are_refused(message: str, bindings: dict[str, bytes], plus: bool) -> None:
    with pytest.raises(ScramFault):
        first(message, bindings, plus)


@pytest.mark.parametrize(
    "final",
    [
        b"",
        b"c=biws",
        b"c=biws,r=abc,p=!",
        b"c=x,r=abc,p=AAAA",
        b"\xff",
        b"c=biws,r=a,b,p=AA==",
        b"c=biws,r=abc,m=ext,p=AAAA",
    ],
)
def test_final_messages_that_are_none(final: bytes) -> None:
    server = first("n,,n=ann,r=abc")
    server.challenge(PENCIL, NONCE)
    with pytest.raises(ScramFault):
        server.proves(final)


def test_a_proof_for_another_nonce_is_none() -> None:
    """A recorded exchange cannot be played again."""
    server = first("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    server.challenge(PENCIL, "another")
    assert not server.proves(FINAL)


def test_what_is_kept_tells_whether_a_password_made_it() -> None:
    assert PENCIL.is_of(b"pencil")
    assert not PENCIL.is_of(b"pencil ")
    assert not ScramSecret(SALT, 4096, b"", b"").is_of(b"pencil")
