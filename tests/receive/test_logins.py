"""Logging in, as a listener does it: what it opens, what it binds to, and what failing costs."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from scramp import ScramClient

from relay.message import reply
from relay.policy.policy import PolicySettings, Service
from relay.policy.users import User
from relay.receive.logins import REHEARSED_PASSWORD
from relay.receive.settings import Entrance, Login
from relay.receive.tls import Encryption
from tests.fakes.users import FakeUsers
from tests.receive.visit import HOSTNAME, LIMITS, OURS, STRANGER, House, Visit

CLEAR = Entrance(login_in_clear=True)
ANN = User("ann@ours.example")
ELSEWHERE = "bob@else.example"


def plain(user: str = "ann@ours.example", password: str = "geheim", act_as: str = "") -> str:
    return "AUTH PLAIN " + b64encode(f"{act_as}\0{user}\0{password}".encode()).decode()


def house(*users: User, entrance: Entrance = CLEAR, **more: object) -> House:
    return House(OURS, entrance=entrance, source=FakeUsers(*(users or (ANN,))), **more)


def source(house: House) -> FakeUsers:
    logins = house.factory.house.logins
    assert logins is not None
    (only,) = logins._sources
    assert isinstance(only, FakeUsers)
    return only


def fails(house: House, visit: Visit, line: str, after_s: float = 20) -> list[str]:
    """What is answered, once the answer is no longer held back."""
    said = visit.says(line)
    house.clock.advance(after_s)
    return said + visit.heard()


def test_who_logs_in_may_relay_anywhere() -> None:
    at = house()
    visit = at.visit(STRANGER)
    assert visit.says("MAIL FROM:<ann@ours.example>", f"RCPT TO:<{ELSEWHERE}>", "RSET")[1].startswith("550 5.7.1")
    assert visit.says(plain()) == ["235 2.7.0 Authentication successful"]
    assert visit.mails("Subject: x\r\n\r\nx\r\n", ELSEWHERE, sender="ann@ours.example").startswith("250 2.0.0")
    assert at.only.message.origin.login == "ann@ours.example"
    assert at.only.message.origin.protocol == "ESMTPA"  # RFC 3848
    assert b"with ESMTPA id" in at.only.message.head
    assert at.steps("logged_in") == [{"client": STRANGER, "login": "ann@ours.example", "mechanism": "PLAIN"}]


def test_a_command_in_the_same_batch_as_the_login_is_judged_after_it() -> None:
    visit = house().visit(STRANGER)
    said = visit.says(plain(), "MAIL FROM:<ann@ours.example>", f"RCPT TO:<{ELSEWHERE}>")
    assert [line[:3] for line in said] == ["235", "250", "250"]


def test_who_logs_in_is_held_to_their_senders() -> None:
    visit = house().visit(STRANGER)
    visit.says(plain())
    assert visit.says(f"MAIL FROM:<{ELSEWHERE}>")[0].startswith("553 5.7.1")
    assert visit.says("MAIL FROM:<sales@ours.example>")[0].startswith("250")


def test_the_login_outlives_a_reload() -> None:
    at = house()
    visit = at.visit(STRANGER)
    visit.says(plain())
    at.factory.reconfigure(at.factory.house.settings, at.policy)
    assert visit.mails("x\r\n", ELSEWHERE, sender="ann@ours.example").startswith("250")


def test_a_login_in_the_clear_is_forgotten_when_tls_begins() -> None:
    """RFC 3207 §4.2: who listened to it, or made it up, gains nothing within."""
    at = house()
    visit = at.visit(STRANGER)
    visit.says(plain())
    intake = visit.protocol.intake
    assert intake.client.trusted
    intake.encrypted(Encryption("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
    assert not intake.client.trusted and intake.client.user is None


def test_auth_is_announced_only_where_it_can_be_used() -> None:
    """RFC 4954 §4; and 504 tells why it cannot."""
    assert "250-AUTH PLAIN LOGIN" in house().visit(hello=None).says("EHLO x")
    secret = house(entrance=Entrance()).visit()
    assert not any("AUTH" in line for line in secret.says("EHLO x"))
    assert secret.says(plain())[0].startswith("538 5.7.11")
    off = house(entrance=Entrance(login=Login.NONE, login_in_clear=True)).visit()
    assert off.says(plain())[0].startswith("502")
    assert House(OURS).visit().says(plain())[0].startswith("502")


def test_no_token_in_the_clear() -> None:
    """RFC 7628 §3: a bearer token goes within TLS, whatever the listener allows to passwords."""
    at = house()
    source(at).mechanisms = frozenset({"PLAIN", "OAUTHBEARER", "XOAUTH2"})
    assert "250-AUTH PLAIN" in at.visit(hello=None).says("EHLO x")
    source(at).mechanisms = frozenset({"OAUTHBEARER", "XOAUTH2"})
    visit = at.visit()
    assert not any("AUTH" in line for line in visit.says("EHLO x"))
    assert visit.says("AUTH XOAUTH2")[0].startswith("538 5.7.11")
    offer = at.factory.house.offer(at.policy.client(STRANGER), Encryption("TLSv1.2", ""))
    assert offer.mechanisms == ("OAUTHBEARER", "XOAUTH2")


@pytest.mark.parametrize("user", ["ann@ours.example", "nobody@ours.example"])
def test_a_wrong_password_and_an_unknown_user_are_answered_alike(user: str) -> None:
    """The same words, after the same time; and the answer is held back."""
    at = house()
    visit = at.visit(STRANGER)
    assert visit.says(plain(user, "falsch")) == []
    at.clock.advance(0.9)
    assert visit.heard() == []
    at.clock.advance(0.2)
    assert visit.heard() == ["535 5.7.8 Authentication credentials invalid"]
    (told,) = at.steps("refused")
    assert told["login"] == user and "falsch" not in str(told)


def test_after_too_many_failures_nothing_is_looked_at() -> None:
    at = house()
    visit = at.visit(STRANGER)
    for _ in range(4):
        assert fails(at, visit, plain(password="falsch"), 8)[-1].startswith("535")
    before = len(source(at).asked)
    assert visit.says(plain())[0].startswith("454 4.7.0")
    assert len(source(at).asked) == before
    at.clock.advance(600)
    again = at.visit(STRANGER)
    assert again.says(plain())[0].startswith("235")


def test_a_lock_out_is_for_the_client_and_for_the_name() -> None:
    at = house(ANN, User("bob@ours.example"))
    visit = at.visit(STRANGER)
    for _ in range(4):
        fails(at, visit, plain(password="falsch"), 8)
    assert at.visit(STRANGER).says(plain("bob@ours.example"))[0].startswith("454")
    assert at.visit("198.51.100.1").says(plain("bob@ours.example"))[0].startswith("235")
    assert at.visit("198.51.100.1").says(plain())[0].startswith("454")


def test_a_client_that_leaves_while_its_answer_is_held_back_is_nobodys_trouble() -> None:
    at = house()
    visit = at.visit(STRANGER)
    visit.says(plain(password="falsch"))
    visit.leaves()
    at.clock.advance(20)
    assert at.steps("trouble") == []


def test_our_own_trouble_is_454_and_counts_against_nobody() -> None:
    at = house()
    visit = at.visit(STRANGER)
    source(at).trouble = RuntimeError("the disk is on fire")
    for _ in range(5):
        assert visit.says(plain()) == ["454 4.7.0 Temporary authentication failure"]
    assert "geheim" not in str(at.told)
    source(at).trouble = reply.LOGIN_UNAVAILABLE
    assert visit.says(plain())[0].startswith("454")
    source(at).trouble = None
    assert visit.says(plain())[0].startswith("235")


def test_nobody_else_waits_for_a_slow_answer() -> None:
    at = house()
    source(at).waiting = []
    slow, other = at.visit(STRANGER), at.visit()
    assert slow.says(plain(), "NOOP") == []
    assert other.says("NOOP") == ["250 2.0.0 OK"]
    source(at).waiting[0].callback(ANN)
    assert [line[:3] for line in slow.heard()] == ["235", "250"]


@pytest.mark.parametrize("user", [User("ann@ours.example", may_log_in=False), User("ann@ours.example", networks=())])
def test_a_right_password_of_who_may_not_log_in_here_is_as_wrong_as_any(user: User) -> None:
    at = house(user)
    assert fails(at, at.visit(STRANGER), plain())[-1].startswith("535")


def test_a_session_that_only_fails_to_log_in_is_ended() -> None:
    at = house()
    visit = at.visit(STRANGER)
    for _ in range(200):
        if visit.is_closed:
            break
        fails(at, visit, plain(password="falsch"))
    assert visit.is_closed


# -- SCRAM -----------------------------------------------------------------------------------------------------


def scram(visit: Visit, user: str, password: str) -> list[str]:
    client = ScramClient(["SCRAM-SHA-256"], user, password)
    said = visit.says("AUTH SCRAM-SHA-256 " + b64encode(client.get_client_first().encode()).decode())
    if not said[0].startswith("334"):
        return said
    client.set_server_first(b64decode(said[0][4:]).decode())
    said = visit.says(b64encode(client.get_client_final().encode()).decode())
    if said and said[0].startswith("334"):
        client.set_server_final(b64decode(said[0][4:]).decode())
        said = visit.says("")
    return said


def scrammed() -> House:
    users = FakeUsers(ANN, mechanisms=frozenset({"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN"}))
    return House(OURS, entrance=CLEAR, source=users)


def test_scram_over_the_wire() -> None:
    at = scrammed()
    visit = at.visit(STRANGER, hello=None)
    assert "250-AUTH SCRAM-SHA-256 PLAIN" in visit.says("EHLO x"), "-PLUS needs a channel to bind to"
    assert scram(visit, "ann@ours.example", "geheim") == ["235 2.7.0 Authentication successful"]
    assert visit.mails("x\r\n", ELSEWHERE, sender="ann@ours.example").startswith("250")


def test_scram_with_an_unknown_user_goes_the_whole_way() -> None:
    at = scrammed()
    visit = at.visit(STRANGER)
    for user in ("ann@ours.example", "nobody"):
        assert scram(visit, user, "falsch") == []
        at.clock.advance(20)
        assert visit.heard() == ["535 5.7.8 Authentication credentials invalid"]
        at.clock.advance(1000)


def test_scram_is_locked_out_before_anything_is_told() -> None:
    at = scrammed()
    visit = at.visit(STRANGER)
    for _ in range(4):
        scram(visit, "ann@ours.example", "falsch")
        at.clock.advance(8)
        visit.heard()
    assert scram(visit, "ann@ours.example", "geheim")[0].startswith("454")


# -- submission ------------------------------------------------------------------------------------------------


def test_submission_is_for_who_is_known() -> None:
    """RFC 6409 §4.3: 530; and the network is enough where a login is only offered."""
    required = Entrance(login=Login.REQUIRED, login_in_clear=True)
    for entrance, ip, code in (
        (required, STRANGER, "530"),
        (required, "127.0.0.1", "530"),
        (CLEAR, STRANGER, "530"),
        (CLEAR, "127.0.0.1", "250"),
    ):
        visit = house(entrance=entrance, service=Service.SUBMISSION).visit(ip)
        assert visit.says("MAIL FROM:<ann@ours.example>")[0].startswith(code)
        if code == "530":
            assert visit.says(plain())[0].startswith("235")
            assert visit.says("MAIL FROM:<ann@ours.example>")[0].startswith("250")


def submitted(header: str, add_sender: bool = True, login: str = "ann@ours.example") -> str:
    policy = PolicySettings(HOSTNAME, domains=("ours.example",), add_sender=add_sender)
    at = House(policy, Service.SUBMISSION, entrance=CLEAR, source=FakeUsers(User(login)))
    visit = at.visit(STRANGER)
    visit.says(plain(login))
    visit.mails(f"{header}\r\nSubject: x\r\n\r\nx\r\n", ELSEWHERE, sender="sales@ours.example")
    return at.only.message.head.decode()


def test_a_sender_field_tells_who_it_was() -> None:
    """RFC 6409 §8.1, when the operator wants it."""
    assert "\r\nSender: <ann@ours.example>\r\n" in submitted("From: Boss <boss@ours.example>")
    assert "\r\nSender: <sales@ours.example>\r\n" in submitted("From: boss@ours.example", login="printer")
    for header in (
        "From: Ann <Ann@ours.example>",
        "From: ann@ours.example",
        "Sender: x@y.example\r\nFrom: b@c.example",
    ):
        assert "Sender:" not in submitted(header)
    assert "Sender:" not in submitted("From: boss@ours.example", add_sender=False)


def test_the_auth_parameter_counts_from_those_whom_we_trust() -> None:
    """RFC 4954 §5."""
    at = house()
    stranger, ann = at.visit(STRANGER), at.visit(STRANGER)
    ann.says(plain())
    for visit in (stranger, ann):
        visit.says("MAIL FROM:<ann@ours.example> AUTH=e+3Dmc2@ours.example", "RCPT TO:<joe@ours.example>", "DATA")
        visit.sends(b"x\r\n.\r\n")
    for other in ("boss@else.example", "<>"):  # whom ann may not send as, she does not vouch for either
        ann.says(f"MAIL FROM:<ann@ours.example> AUTH={other}", "RCPT TO:<joe@ours.example>", "DATA")
        ann.sends(b"x\r\n.\r\n")
    assert [stored.message.envelope.auth for stored in at.stored] == [None, "e=mc2@ours.example", None, "<>"]


def test_a_rehearsal_believes_whoever_is_there_and_counts_for_itself() -> None:
    at = house(ANN, User("off@ours.example", may_log_in=False))
    logins = at.factory.house.logins
    assert logins is not None
    for _ in range(LIMITS.failures - 1):
        at.visit(STRANGER).says(plain(password="wrong"))
    rehearsed = logins.rehearsed(at.clock, at.tell)
    assert rehearsed.mechanisms == logins.mechanisms
    at.factory.admit_by(None, rehearsed, at.factory.house.trusted_certificates)
    assert at.visit(STRANGER).says(plain(password=REHEARSED_PASSWORD)) == ["235 2.7.0 Authentication successful"]
    at.visit(STRANGER).says(plain("off@ours.example"))
    assert at.visit(STRANGER).says(plain("nobody@ours.example"))[-1].startswith("454 4.7.0"), "with those from before"
    at.factory.admit_by(None, logins, at.factory.house.trusted_certificates)
    assert at.visit(STRANGER).says(plain()) == ["235 2.7.0 Authentication successful"], "its failure is not counted"


def test_the_auth_parameter_counts_for_nothing_from_who_has_not_logged_in() -> None:
    """RFC 4954 §5: an address is no authenticated identity, though it may relay."""
    at = house()
    neighbour = at.visit("127.0.0.1")
    neighbour.says("MAIL FROM:<ann@ours.example> AUTH=boss@ours.example", f"RCPT TO:<{ELSEWHERE}>", "DATA")
    neighbour.sends(b"x\r\n.\r\n")
    assert at.only.message.envelope.auth is None


def test_submission_has_no_etrn() -> None:
    """RFC 6409 §7."""
    for service, offered in ((Service.SUBMISSION, False), (Service.RELAY, True)):
        visit = house(service=service).visit("127.0.0.1")
        assert any(line.endswith("ETRN") for line in visit.says("EHLO client.example")) is offered
