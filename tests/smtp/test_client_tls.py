"""STARTTLS and AUTH, the client's half: against hops that behave, strip, inject and refuse.

TLS itself is not here: what the carrier does is played by ``secured``.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest

from relay.message.reply import Reply
from relay.smtp.client import ClientSession
from relay.smtp.client_events import CredentialsWanted, Encryption, Event, Opened, SessionEnded, TlsWanted
from relay.smtp.login import Credentials, LoginFault, exchange
from relay.smtp.transaction import Step

IF_OFFERED, MUST = Encryption.IF_OFFERED, Encryption.MUST
ANN = Credentials("ann", "secret")


class Talk:
    """A session with a server that says what the test says.

    cut  octets come in pieces of this size; 0: as they are
    """

    def __init__(self, encryption: Encryption, *, login: bool = False, cut: int = 0, greeting: str = "220 hi") -> None:
        self.session = ClientSession("relay.example", encryption=encryption, login=login)
        self.events: list[Event] = []
        self.said = ""
        self._cut = cut
        self.hears(greeting)

    def hears(self, *lines: str) -> Talk:
        data = "".join(line + "\r\n" for line in lines).encode()
        step = self._cut or len(data)
        for start in range(0, len(data), step):
            self.session.receive_data(data[start : start + step])
            while (event := self.session.next_event()) is not None:
                self.events.append(event)
        return self.settled()

    def settled(self) -> Talk:
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
        self.said = b"".join(self.session.data_to_send()).decode()
        return self

    def secured(self) -> Talk:
        self.session.secured()
        return self.settled()

    def log_in(self, mechanism: str, credentials: Credentials = ANN) -> Talk:
        self.session.log_in(exchange(mechanism, credentials, "hop.example", 587, "nonce"))
        return self.settled()

    @property
    def last(self) -> Event:
        return self.events[-1]

    @property
    def record(self) -> str:
        return repr(self.session.record)


cuts = pytest.mark.parametrize("cut", [0, 1, 5])
both = pytest.mark.parametrize("encryption", [IF_OFFERED, MUST])


@cuts
@both
def test_tls_begins_and_all_is_said_anew(encryption: Encryption, cut: int) -> None:
    """RFC 3207 §4.2: EHLO again; what was offered before counts no more."""
    talk = Talk(encryption, cut=cut)
    assert talk.hears("250-hop", "250-SIZE 1", "250-DSN", "250 STARTTLS").said == "STARTTLS\r\n"
    assert talk.hears("220 go").events == [TlsWanted()]
    assert talk.session.step is Step.HANDSHAKE
    assert talk.session.offer is None and not talk.session.may_begin
    assert talk.secured().said == "EHLO relay.example\r\n"
    talk.hears("250-hop", "250 PIPELINING")
    assert isinstance(talk.last, Opened)
    assert talk.last.offer.pipelining and talk.last.offer.size is None and not talk.last.offer.dsn
    assert talk.session.is_idle


@cuts
def test_starttls_is_said_once(cut: int) -> None:
    """A server that offers it within TLS, against RFC 3207 §4.2, does not make us go round."""
    talk = Talk(MUST, cut=cut).hears("250-hop", "250 STARTTLS").hears("220 go").secured()
    assert isinstance(talk.hears("250-hop", "250 STARTTLS").last, Opened)


@both
@pytest.mark.parametrize(
    "behind", ["250-hop", "250 hop", "250-hop\r\n250 AUTH PLAIN", "x", "554 go away"], ids=lambda text: text[:7]
)
def test_octets_behind_the_220_are_an_attack(encryption: Encryption, behind: str) -> None:
    """CVE-2011-0411 turned round: read as said within TLS, they would be a forged EHLO reply, and get our password."""
    talk = Talk(encryption, login=True).hears("250-hop", "250 STARTTLS")
    talk.hears("220 go", behind)
    assert isinstance(talk.last, SessionEnded)
    assert not any(isinstance(event, (TlsWanted, CredentialsWanted, Opened)) for event in talk.events)
    assert "behind its reply to STARTTLS" in talk.last.why
    assert talk.said == ""


@both
def test_octets_during_the_handshake_are_an_attack(encryption: Encryption) -> None:
    talk = Talk(encryption).hears("250-hop", "250 STARTTLS").hears("220 go").hears("250 hop")
    assert isinstance(talk.last, SessionEnded)


@both
def test_half_a_line_behind_the_220_is_an_attack_too(encryption: Encryption) -> None:
    talk = Talk(encryption).hears("250-hop", "250 STARTTLS")
    talk.session.receive_data(b"220 go\r\n250-h")
    assert isinstance(talk.settled().last, SessionEnded)


@pytest.mark.parametrize("reply", [("250 hop",), ("250-hop", "250 STARTTLSX"), ("250-hop", "250 XSTARTTLS")])
def test_where_tls_is_stripped_and_required_nothing_is_said(reply: tuple[str, ...]) -> None:
    """NO STARTTLS: who takes the keyword out must get nothing."""
    talk = Talk(MUST, login=True).hears(*reply)
    assert talk.last == SessionEnded(Step.STARTTLS, None, "TLS is required, and the server does not offer STARTTLS")
    assert talk.said == ""


def test_a_server_that_knows_only_helo_has_no_tls() -> None:
    talk = Talk(MUST).hears("502 what?").hears("250 hop")
    assert isinstance(talk.last, SessionEnded) and talk.last.step is Step.STARTTLS


@pytest.mark.parametrize("keyword", ["STARTTLS", "starttls", "StartTLS"])
def test_the_keyword_has_no_case(keyword: str) -> None:
    """A client that looked for capitals sent everything in plain, and silently."""
    assert Talk(IF_OFFERED).hears("250-hop", f"250 {keyword}").said == "STARTTLS\r\n"


@pytest.mark.parametrize("refusal", ["454 4.7.0 not now", "501 5.5.4 no", "502 5.5.1 what?"])
def test_a_refused_starttls_leaves_plain_or_nothing(refusal: str) -> None:
    """RFC 3207 §4.1 lets the client decide."""
    assert isinstance(Talk(IF_OFFERED).hears("250-hop", "250 STARTTLS").hears(refusal).last, Opened)
    ending = Talk(MUST).hears("250-hop", "250 STARTTLS").hears(refusal).last
    assert isinstance(ending, SessionEnded) and ending.step is Step.STARTTLS and ending.reply is not None


@both
@pytest.mark.parametrize("reply", ["354 go", "334 go"])
def test_an_answer_to_starttls_that_makes_no_sense(encryption: Encryption, reply: str) -> None:
    assert isinstance(Talk(encryption).hears("250-hop", "250 STARTTLS").hears(reply).last, SessionEnded)


@both
def test_a_421_instead_of_tls_ends_the_session(encryption: Encryption) -> None:
    ending = Talk(encryption).hears("250-hop", "250 STARTTLS").hears("421 4.3.2 closing").last
    assert isinstance(ending, SessionEnded) and ending.reply == Reply(421, "4.3.2", ("closing",))


def test_whom_we_distrust_hears_nothing_more() -> None:
    talk = Talk(MUST).hears("250-hop", "250 STARTTLS").hears("220 go")
    talk.session.distrust("the certificate is for mx.other.example")
    assert talk.settled().last == SessionEnded(Step.HANDSHAKE, None, "the certificate is for mx.other.example")
    assert talk.said == ""


def test_what_was_offered_before_tls_does_not_choose_the_mechanism() -> None:
    """Field-notes 4: a stripped list of mechanisms would make us send the password itself."""
    talk = Talk(MUST, login=True).hears("250-hop", "250-AUTH PLAIN", "250 STARTTLS").hears("220 go").secured()
    talk.hears("250-hop", "250 AUTH SCRAM-SHA-256 PLAIN")
    assert talk.last == CredentialsWanted(frozenset({"SCRAM-SHA-256", "PLAIN"}))


# -- AUTH ----------------------------------------------------------------------------------------


def login_talk(mechanisms: str = "PLAIN LOGIN", cut: int = 0) -> Talk:
    return Talk(Encryption.NEVER, login=True, cut=cut).hears("250-hop", f"250 AUTH {mechanisms}")


@cuts
def test_plain_in_one_line(cut: int) -> None:
    talk = login_talk(cut=cut).log_in("PLAIN")
    assert talk.said == f"AUTH PLAIN {b64encode(b'%cann%csecret' % (0, 0)).decode()}\r\n"
    assert isinstance(talk.hears("235 2.7.0 welcome").last, Opened)


@cuts
def test_login_step_by_step(cut: int) -> None:
    talk = login_talk(cut=cut).log_in("LOGIN")
    assert talk.said == "AUTH LOGIN\r\n"
    assert b64decode(talk.hears("334 VXNlcm5hbWU6").said) == b"ann"
    assert b64decode(talk.hears("334 UGFzc3dvcmQ6").said) == b"secret"
    assert isinstance(talk.hears("235 2.7.0 welcome").last, Opened)


def test_a_long_response_waits_until_it_is_asked_for() -> None:
    """RFC 4954 §4: AUTH keeps within the length of a command; access tokens are longer."""
    token = Credentials("ann@example.com", "t" * 2000, is_token=True)
    talk = login_talk("XOAUTH2").log_in("XOAUTH2", token)
    assert talk.said == "AUTH XOAUTH2\r\n"
    assert b64decode(talk.hears("334 ").said).endswith(b"t\1\1")
    assert isinstance(talk.hears("235 2.7.0 welcome").last, Opened)


def test_an_empty_initial_response_is_an_equals_sign() -> None:
    class Empty:
        mechanism = "EMPTY"

        def initial(self) -> bytes:
            return b""

        def answer(self, challenge: bytes) -> bytes:
            raise LoginFault("no")

        def accepted(self) -> None: ...

    talk = login_talk("EMPTY")
    talk.session.log_in(Empty())
    assert talk.settled().said == "AUTH EMPTY =\r\n"


def test_the_reason_of_a_refused_token_is_acknowledged() -> None:
    """RFC 7628 §3.2.3: it comes as a challenge, and the refusal only behind our answer."""
    talk = login_talk("OAUTHBEARER").log_in("OAUTHBEARER", Credentials("ann", "t", is_token=True))
    assert b64decode(talk.hears("334 eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=").said) == b"\1"
    ending = talk.hears("535 5.7.8 expired").last
    assert isinstance(ending, SessionEnded) and ending.step is Step.AUTH
    assert ending.reply == Reply(535, "5.7.8", ("expired",))


@pytest.mark.parametrize("challenge", ["334 !!!", "334 YQ", "334 cj14LHM9YyxpPTE="])
def test_a_challenge_that_makes_no_sense_is_cancelled(challenge: str) -> None:
    """RFC 4954 §4: with ``*``."""
    talk = login_talk("SCRAM-SHA-256").log_in("SCRAM-SHA-256")
    assert talk.hears(challenge).said == "*\r\n"
    ending = talk.hears("501 5.7.0 cancelled").last
    assert isinstance(ending, SessionEnded) and ending.step is Step.AUTH and ending.why


def test_a_server_without_end_of_challenges_is_left() -> None:
    talk = login_talk().log_in("PLAIN").hears("334 ")
    assert talk.said == "*\r\n"
    assert talk.hears("334 ").said == "*\r\n"
    ending = talk.hears("235 2.7.0 fine").last
    assert isinstance(ending, SessionEnded) and ending.reply is None


def test_a_yes_without_proof_is_no_login() -> None:
    """A server in between that does not know the password can say 235 as well."""
    ending = login_talk("SCRAM-SHA-256").log_in("SCRAM-SHA-256").hears("235 2.7.0 welcome").last
    assert isinstance(ending, SessionEnded) and "proved" in ending.why


def test_without_credentials_there_is_no_session() -> None:
    talk = login_talk()
    talk.session.cannot_log_in("no mechanism fits")
    assert talk.settled().last == SessionEnded(Step.AUTH, None, "no mechanism fits")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2"])
def test_credentials_are_in_no_record(mechanism: str) -> None:
    """The record is what ``relay trace`` shows."""
    credentials = Credentials("ann", "secret", is_token=mechanism == "XOAUTH2")
    talk = login_talk(mechanism).log_in(mechanism, credentials)
    sent = [talk.said.split()[-1]]
    while "234" not in talk.said and len(sent) < 3:
        sent.append(talk.hears("334 eA==").said.strip())
    assert not any(each in talk.record for each in sent if len(each) > 2 and each not in ("LOGIN", "..."))
    assert "secret" not in talk.record and b64encode(b"secret").decode() not in talk.record


def test_each_wait_has_an_end() -> None:
    """A server that keeps silent in the handshake or in AUTH holds nobody for ever."""
    talk = Talk(MUST, login=True).hears("250-hop", "250 STARTTLS").hears("220 go")
    assert talk.session.timeout_s == 60
    talk.secured().hears("250 AUTH PLAIN")
    assert talk.session.step is Step.HELLO or talk.session.timeout_s
    talk.session.timed_out()
    assert isinstance(talk.settled().last, SessionEnded)
