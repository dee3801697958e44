"""AUTH within a session: each mechanism, with the answers of the carrier, and what a client may get wrong."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

import pytest
from scramp import ScramClient

from relay.message import reply
from relay.smtp.events import Event, LoginAttempted, Password, Proof, SecretWanted, TlsRequested, Token
from relay.smtp.extensions import ServerOffer
from relay.smtp.scram import scram_secret
from tests.smtp.talk import TRANSACTION, Talk, codes

ALL = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
OFFER = ServerOffer("foo.com", encrypted=True, mechanisms=ALL)
SECRET = scram_secret(b"pencil", b"saltsaltsaltsalt", 4096)


def b64(data: bytes | str) -> bytes:
    return b64encode(data.encode() if isinstance(data, str) else data)


def challenged(said: bytes) -> bytes:
    assert said.startswith(b"334 ") and said.endswith(b"\r\n"), said
    return b64decode(said[4:-2])


def visit(answer: reply.Reply | None = reply.LOGGED_IN, offer: ServerOffer = OFFER) -> Talk:
    return Talk.greeted(offer, {LoginAttempted: answer, SecretWanted: None, TlsRequested: reply.READY_FOR_TLS})


def attempts(talk: Talk) -> list[Event]:
    return [event for event in talk.events if isinstance(event, LoginAttempted)]


@pytest.mark.parametrize("cut", [None, 1, 5])
@pytest.mark.parametrize("initial", [True, False], ids=["initial-response", "challenge"])
def test_plain(initial: bool, cut: int | None) -> None:
    """RFC 4616, with and without an initial response (RFC 4954 §4)."""
    talk = visit()
    message = b64("\0ann@example.org\0geh\u00e4im")
    if initial:
        said = talk.say(b"AUTH PLAIN " + message + b"\r\n", cut)
    else:
        assert talk.say(b"auth plain\r\n", cut) == b"334 \r\n"
        said = talk.say(message + b"\r\n", cut)
    assert said == b"235 2.7.0 Authentication successful\r\n"
    assert attempts(talk) == [LoginAttempted("PLAIN", "ann@example.org", Password("geh\u00e4im"))]
    assert talk.session.is_logged_in


def test_plain_for_somebody_else_says_so() -> None:
    """RFC 4616 §2: authorization identity first."""
    talk = visit(reply.LOGIN_REFUSED)
    assert codes(talk.say(b"AUTH PLAIN " + b64("boss\0ann\0x") + b"\r\n")) == [535]
    assert attempts(talk) == [LoginAttempted("PLAIN", "ann", Password("x"), "boss")]
    assert not talk.session.is_logged_in


@pytest.mark.parametrize("initial", [True, False])
def test_login(initial: bool) -> None:
    """The words of the questions are the ones that devices look for; the name may come along with AUTH."""
    talk = visit()
    if initial:
        said = talk.say(b"AUTH LOGIN " + b64("ann") + b"\r\n")
    else:
        assert challenged(talk.say(b"AUTH LOGIN\r\n")) == b"Username:"
        said = talk.say(b64("ann") + b"\r\n")
    assert challenged(said) == b"Password:"
    assert codes(talk.say(b64("secret") + b"\r\n")) == [235]
    assert attempts(talk) == [LoginAttempted("LOGIN", "ann", Password("secret"))]


def scram(talk: Talk, password: str) -> bytes:
    client = ScramClient(["SCRAM-SHA-256"], "ann", password)
    assert talk.say(b"AUTH SCRAM-SHA-256 " + b64(client.get_client_first()) + b"\r\n") == b""
    assert talk.events[-1] == SecretWanted("ann")
    talk.session.answer_secret(SECRET, "nonce")
    client.set_server_first(challenged(talk.run()).decode())
    said = talk.say(b64(client.get_client_final()) + b"\r\n")
    if said.startswith(b"334"):
        client.set_server_final(challenged(said).decode())
        said = talk.say(b"\r\n")
    return said


def test_scram_ends_with_a_challenge_more() -> None:
    """RFC 4954 §4: what SCRAM says last has no place in 235, so it is a challenge, answered by an empty line."""
    talk = visit()
    assert codes(scram(talk, "pencil")) == [235]
    assert attempts(talk) == [LoginAttempted("SCRAM-SHA-256", "ann", Proof(True))]


def test_scram_with_a_wrong_password() -> None:
    talk = visit(reply.LOGIN_REFUSED)
    assert codes(scram(talk, "pensil")) == [535]
    assert attempts(talk) == [LoginAttempted("SCRAM-SHA-256", "ann", Proof(False))]


def test_a_secret_that_cannot_be_had_is_our_trouble() -> None:
    talk = visit()
    talk.say(b"AUTH SCRAM-SHA-256 " + b64("n,,n=ann,r=abc") + b"\r\n")
    assert codes(talk.answer(reply.LOGIN_UNAVAILABLE)) == [454]
    assert codes(talk.say(b"NOOP\r\n")) == [250]


XOAUTH2 = b64("user=ann@example.org\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==\x01\x01")
BEARER = b64(
    "n,a=ann@example.org,\x01host=relay.example\x01port=587\x01"
    "auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==\x01\x01"
)


@pytest.mark.parametrize(("mechanism", "message"), [("XOAUTH2", XOAUTH2), ("OAUTHBEARER", BEARER)])
def test_a_bearer_token(mechanism: str, message: bytes) -> None:
    """RFC 7628 §4.1, and the form before it."""
    talk = visit()
    assert codes(talk.say(b"AUTH " + mechanism.encode() + b" " + message + b"\r\n")) == [235]
    token = Token("vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==")
    assert attempts(talk) == [LoginAttempted(mechanism, "ann@example.org", token)]


@pytest.mark.parametrize(("mechanism", "message", "end"), [("XOAUTH2", XOAUTH2, b""), ("OAUTHBEARER", BEARER, b"AQ==")])
def test_a_token_that_is_refused_gets_its_reason_first(mechanism: str, message: bytes, end: bytes) -> None:
    """RFC 7628 §3.2.2, §3.2.3: an error in JSON as a challenge, then the client's control A, then 535."""
    talk = visit(reply.LOGIN_REFUSED)
    said = talk.say(b"AUTH " + mechanism.encode() + b" " + message + b"\r\n")
    assert json.loads(challenged(said))["status"] == "invalid_token"
    assert codes(talk.say(end + b"\r\n")) == [535]


@pytest.mark.parametrize("auth", ["", "Basic YTpi", "Bearer "])
def test_without_a_bearer_token_a_client_learns_what_one_must_be_good_for(auth: str) -> None:
    """RFC 7628 §4.3: an empty ``auth`` asks for it; §3.2.2 has the answer."""
    offer = ServerOffer("foo.com", encrypted=True, mechanisms=ALL, token_scope="smtp")
    talk = visit(offer=offer)
    said = talk.say(b"AUTH OAUTHBEARER " + b64(f"n,a=ann@example.org,\x01port=587\x01auth={auth}\x01\x01") + b"\r\n")
    assert json.loads(challenged(said)) == {"status": "invalid_token", "schemes": "bearer", "scope": "smtp"}
    assert codes(talk.say(b"AQ==\r\n")) == [535]
    assert attempts(talk) == []
    refused = visit(reply.LOGIN_REFUSED, offer)
    assert json.loads(challenged(refused.say(b"AUTH XOAUTH2 " + XOAUTH2 + b"\r\n")))["scope"] == "smtp"


def test_a_token_is_in_no_description_of_an_event() -> None:
    """Logs and tracebacks show events; no password and no token may come along."""
    assert "geheim" not in repr(LoginAttempted("PLAIN", "ann", Password("geheim")))
    assert "geheim" not in repr(LoginAttempted("XOAUTH2", "ann", Token("geheim")))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"AUTH", "501 5.5.4"),
        (b"AUTH CRAM-MD5", "504 5.5.4"),
        (b"AUTH PLAIN !", "501 5.5.2"),
        (b"AUTH PLAIN AGFubgBz ZWNyZXQ=", "501 5.5.2"),
        (b"AUTH PLAIN AGFubgBzZWNyZXQ", "501 5.5.2"),  # without its padding
        (b"AUTH PLAIN =", "501 5.5.2"),  # an empty response, which is no message of PLAIN
        (b"AUTH PLAIN " + b64("ann\0secret"), "501 5.5.2"),
        (b"AUTH PLAIN " + b64(b"\0\xff\0secret"), "501 5.5.2"),
        (b"AUTH PLAIN " + b64("\0ann\0"), "501 5.5.2"),  # a server that binds to LDAP would take an empty one
        (b"AUTH PLAIN " + b64("\0ann\nx\0secret"), "501 5.5.2"),
        (b"AUTH PLAIN " + b64("\0" + "a" * 256 + "\0secret"), "501 5.5.2"),
        (b"AUTH SCRAM-SHA-256 " + b64("y,,n=ann"), "501 5.5.2"),
        (b"AUTH XOAUTH2 " + b64("user=ann\x01auth=Basic YTpi\x01\x01"), "501 5.5.2"),
        (b"AUTH OAUTHBEARER " + b64("\x01"), "501 5.5.2"),
        (b"AUTH LOGIN *", "501 5.7.0"),
    ],
)
def test_what_is_wrong_ends_the_exchange_and_not_the_session(line: bytes, code: str) -> None:
    talk = visit()
    assert talk.say(line + b"\r\n").decode().startswith(code)
    assert attempts(talk) == []
    assert codes(talk.say(b"NOOP\r\n")) == [250]


@pytest.mark.parametrize("line", [b"*", b"!", b"\xe4", b"a\nb"])
def test_an_exchange_ends_with_a_line_that_is_no_response(line: bytes) -> None:
    """RFC 4954 §4: ``*`` cancels."""
    talk = visit()
    talk.say(b"AUTH LOGIN\r\n")
    assert codes(talk.say(line + b"\r\n"))[0] in (500, 501)
    assert codes(talk.say(b"NOOP\r\n")) == [250]


@pytest.mark.parametrize(("octets", "code"), [(12284, 535), (12288, 500)])
def test_a_line_of_12288_octets_is_read_and_a_longer_one_is_not(octets: int, code: int) -> None:
    """RFC 4954 §4; base64 comes in fours, and CRLF counts."""
    talk = visit(reply.LOGIN_REFUSED)
    talk.say(b"AUTH PLAIN\r\n")
    line = b64(("\0ann\0" + "x" * octets)[: octets // 4 * 3])
    assert len(line) == octets
    assert codes(talk.say(line + b"\r\n")) == [code]
    assert codes(talk.say(b"NOOP\r\n")) == [250]


def test_the_initial_response_may_be_as_long_as_the_line_allows() -> None:
    talk = visit(reply.LOGIN_REFUSED)
    line = b"AUTH PLAIN " + b64(("\0ann\0" + "x" * 12300)[:9198])
    assert 12270 < len(line) + 2 <= 12288
    assert codes(talk.say(line + b"\r\n")) == [535]


def test_an_endless_response_is_refused_within_bounded_memory() -> None:
    talk = visit()
    talk.say(b"AUTH PLAIN\r\n")
    assert talk.say(b"A" * 20000).startswith(b"500 5.5.6")
    said = talk.say(b"A" * 100_000)
    assert codes(said) == [421]
    assert talk.session.closing


def test_auth_comes_once() -> None:
    """RFC 4954 §4: after a success every other AUTH is 503."""
    talk = visit()
    line = b"AUTH PLAIN " + b64("\0ann\0x") + b"\r\n"
    assert codes(talk.say(line + line)) == [235, 503]


def test_auth_has_no_place_in_a_transaction() -> None:
    """RFC 4954 §4."""
    talk = visit()
    assert codes(talk.say(TRANSACTION)) == [250, 250]
    assert codes(talk.say(b"AUTH PLAIN\r\n")) == [503]
    assert codes(talk.say(b"DATA\r\n.\r\n")) == [354, 250]


def test_auth_has_no_place_before_ehlo() -> None:
    talk = Talk(OFFER)
    assert codes(talk.say(b"AUTH PLAIN\r\n")) == [220, 503]


def test_a_mechanism_that_is_known_and_not_allowed() -> None:
    """RFC 4954 §4, §6: 534 when it is too weak, 504 when it needs TLS, or is not offered, or there is no such."""
    strict = visit(offer=ServerOffer("foo.com", encrypted=True, mechanisms=("SCRAM-SHA-256",)))
    assert strict.say(b"AUTH PLAIN\r\n").startswith(b"534 5.7.9")
    clear = visit(offer=ServerOffer("foo.com", starttls=True, login_needs_tls=True))
    assert clear.say(b"AUTH PLAIN AGFubgBz\r\n").startswith(b"538 5.7.11")
    plain = visit(offer=ServerOffer("foo.com", encrypted=True, mechanisms=("PLAIN",)))
    assert plain.say(b"AUTH SCRAM-SHA-256\r\n").startswith(b"504 5.5.4")
    assert plain.say(b"AUTH LOGIN\r\n").startswith(b"534 5.7.9")
    assert clear.say(b"AUTH NONSENSE\r\n").startswith(b"504 5.5.4")
    assert "AUTH" not in clear.session.offer.keyword_lines.decode()
    assert codes(visit(offer=ServerOffer("foo.com")).say(b"AUTH PLAIN\r\n")) == [502]


def test_what_must_wait_for_a_login_and_what_not() -> None:
    """RFC 4954 §6: 530 for everything but AUTH, EHLO, HELO, NOOP, RSET and QUIT."""
    talk = visit(offer=ServerOffer("foo.com", mechanisms=("PLAIN",), must_log_in=True))
    for line in (b"MAIL FROM:<a@bar.com>", b"VRFY ann", b"EXPN all", b"ETRN bar.com", b"SEND FROM:<a@bar.com>"):
        assert talk.say(line + b"\r\n").startswith(b"530 5.7.0 Authentication required"), line
    for line in (b"EHLO bar.com", b"HELO bar.com", b"NOOP", b"RSET"):
        assert codes(talk.say(line + b"\r\n")) == [250], line
    assert codes(talk.say(b"BDAT 4 LAST\r\nNOOPNOOP\r\n")) == [530, 250]
    assert codes(talk.say(b"QUIT\r\n")) == [221]


def test_the_parameter_of_mail() -> None:
    """RFC 4954 §5: xtext of a mailbox, or <>."""
    for value, expected in ((b"e+3Dmc2@example.com", "e=mc2@example.com"), (b"<>", "<>")):
        talk = visit()
        assert codes(talk.say(b"MAIL FROM:<a@bar.com> AUTH=" + value + b"\r\n")) == [250]
        assert talk.events[-1].auth == expected
    for value in (b"", b"ann", b"+0D+0A@x", b"a@b AUTH=a@b"):
        assert codes(visit().say(b"MAIL FROM:<a@bar.com> AUTH=" + value + b"\r\n")) == [501], value
    assert codes(visit(offer=ServerOffer("foo.com")).say(b"MAIL FROM:<a@bar.com> AUTH=<>\r\n")) == [555]


# -- STARTTLS --------------------------------------------------------------------------------------------------

CLEAR = ServerOffer("foo.com", starttls=True, login_needs_tls=True)


def test_everything_said_before_tls_is_forgotten() -> None:
    """RFC 3207 §4.2: the name in EHLO too."""
    talk = visit(offer=CLEAR)
    assert b"250-STARTTLS\r\n" in talk.say(b"EHLO bar.com\r\n").replace(b"250 ", b"250-")
    assert talk.say(b"STARTTLS\r\n") == b"220 2.0.0 Ready to start TLS\r\n"
    assert talk.session.switching
    talk.session.tls_started()
    talk.session.offer = OFFER
    assert codes(talk.say(b"MAIL FROM:<a@bar.com>\r\n")) == [503]
    said = talk.say(b"EHLO bar.com\r\n")
    assert b"STARTTLS" not in said
    assert b"AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN\r\n" in said
    assert talk.say(b"STARTTLS\r\n").startswith(b"503 5.5.1 TLS is active")


@pytest.mark.parametrize("cut", [None, 5])
def test_a_command_behind_starttls_in_the_same_segment_ends_the_session(cut: int | None) -> None:
    """CVE-2011-0411: whoever stands between could have put it there, to be done inside TLS."""
    talk = visit(offer=CLEAR)
    said = talk.say(b"STARTTLS\r\nMAIL FROM:<injected@evil.example>\r\n", cut)
    if cut is None:
        assert said == reply.BEHIND_STARTTLS.wire + reply.cannot_go_on("foo.com").wire
        assert talk.session.closing
    else:  # the answer was out before the rest came: those octets go to TLS, which refuses them
        assert talk.session.switching
    assert not any(type(event).__name__ == "MailReceived" for event in talk.events)


def test_a_command_that_comes_while_starttls_is_being_decided_ends_the_session() -> None:
    talk = Talk.greeted(CLEAR, {TlsRequested: None})
    assert talk.say(b"STARTTLS\r\n") == b""
    talk.say(b"RSET\r\n")
    assert talk.answer(reply.READY_FOR_TLS) == reply.BEHIND_STARTTLS.wire + reply.cannot_go_on("foo.com").wire
    assert talk.session.closing and not talk.session.switching


def test_tls_that_cannot_be_had_leaves_the_session_as_it_was() -> None:
    """RFC 3207 §4: 454."""
    talk = Talk.greeted(CLEAR, {TlsRequested: reply.TLS_UNAVAILABLE})
    assert codes(talk.say(b"STARTTLS\r\n")) == [454]
    assert codes(talk.say(TRANSACTION)) == [250, 250]
    assert codes(talk.say(b"STARTTLS\r\n")) == [503]


def test_starttls_takes_no_argument() -> None:
    """RFC 3207 §4: 501."""
    assert codes(visit(offer=CLEAR).say(b"STARTTLS now\r\n")) == [501]


def test_what_must_wait_for_tls_and_what_not() -> None:
    """RFC 3207 §4: 530 for everything but NOOP, EHLO, STARTTLS and QUIT."""
    talk = visit(offer=ServerOffer("foo.com", starttls=True, must_encrypt=True))
    for line in (b"MAIL FROM:<a@bar.com>", b"HELO bar.com", b"RSET", b"VRFY x", b"HELP"):
        assert talk.say(line + b"\r\n").startswith(b"530 5.7.0 Must issue a STARTTLS command first"), line
    assert codes(talk.say(b"EHLO bar.com\r\nNOOP\r\n")) == [250, 250]


def test_a_login_is_forgotten_when_tls_begins() -> None:
    """RFC 3207 §4.2; a session that logged in in the clear logs in again."""
    offer = ServerOffer("foo.com", starttls=True, mechanisms=("PLAIN",))
    talk = visit(offer=offer)
    assert codes(talk.say(b"AUTH PLAIN " + b64("\0ann\0x") + b"\r\n")) == [235]
    talk.say(b"STARTTLS\r\n")
    talk.session.tls_started()
    assert not talk.session.is_logged_in
    assert codes(talk.say(b"EHLO bar.com\r\nAUTH PLAIN " + b64("\0ann\0x") + b"\r\n")) == [250, 235]
