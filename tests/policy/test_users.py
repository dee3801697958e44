"""The file of users, and which senders each may use."""

from __future__ import annotations

import pytest

from relay.message.address import parse_mailbox
from relay.policy.access import Domains
from relay.policy.policy import Policy, PolicySettings, Service
from relay.policy.users import User, UserList, UsersFault, parse_users
from relay.policy.verdict import Accepted, Refused

OWN = Domains(["ours.example", ".lan.example"])

BOB = "senders=bob@ours.example,.lan.example allow_nets=192.0.2.0/24,2001:db8::/32"
DOVECOT = f"""\
# ann and bob
ann@ours.example:{{ARGON2ID}}$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaA
bob:{{SHA512-CRYPT}}$6$salt$hash:1000:1000:Bob:/home/bob:/bin/sh:{BOB}

carl:{{PLAIN}}x::::::nologin userdb_mail=maildir:~/Maildir
"""
HTPASSWD = "printer:$2y$10$abcdefghijklmnopqrstuv\r\nscanner:$apr1$salt$hash\r\n"


def only(line: str) -> User:
    (user,) = parse_users(line, "users").users.values()
    return user


def test_a_passwd_file_of_dovecot() -> None:
    users = parse_users(DOVECOT, "users")
    assert len(users) == 3
    ann, bob, carl = users.users.values()
    assert ann.secret.startswith("{ARGON2ID}$argon2id$") and ann.senders is None and ann.may_log_in
    assert bob.senders == ("bob@ours.example", ".lan.example")
    assert bob.may_come_from("192.0.2.9") and bob.may_come_from("2001:db8::1") and not bob.may_come_from("203.0.113.1")
    assert not carl.may_log_in
    assert bob.place == "users:3"


def test_an_htpasswd_file() -> None:
    assert set(parse_users(HTPASSWD).users) == {"printer", "scanner"}


def test_the_case_of_a_name_does_not_matter() -> None:
    users = parse_users(DOVECOT)
    assert users.find("ANN@Ours.Example") is users.find("ann@ours.example") is not None
    assert users.find("ann") is None


def test_two_ways_to_write_a_letter_are_one() -> None:
    """RFC 4954 §4: names are compared as SASLprep has them; keyboards differ in how they compose an umlaut."""
    assert parse_users("j\u00f6rg:{PLAIN}x").find("jo\u0308rg") is not None


@pytest.mark.parametrize(
    "text",
    [
        "ann",
        "ann:",
        ":{PLAIN}x",
        " ann:{PLAIN}x",
        "ann:{PLAIN}x\nANN:{PLAIN}y",
        "ann:x::::::senders=address@",
        "ann:x::::::senders=a@b@c",
        "ann:x::::::allow_nets=192.0.2.0/33",
        "ann:{PLAIN}::::::nopassword",  # Dovecot lets everybody in with it
        "a\x07nn:{PLAIN}x",
        "a" * 256 + ":{PLAIN}x",
    ],
)
def test_one_bad_line_makes_the_file_bad_and_shows_no_secret(text: str) -> None:
    with pytest.raises(UsersFault) as caught:
        parse_users("good:{PLAIN}geheim\n" + text)
    assert "geheim" not in str(caught.value)
    assert "{PLAIN}" not in str(caught.value)
    assert caught.value.faults[0].line >= 2


def test_every_bad_line_is_told() -> None:
    with pytest.raises(UsersFault) as caught:
        parse_users("ann\nbob:x\ncarl")
    assert [fault.line for fault in caught.value.faults] == [1, 3]


@pytest.mark.parametrize(
    ("user", "sender", "may"),
    [
        (User("ann@ours.example"), "ann@ours.example", True),
        (User("ann@ours.example"), "sales@OURS.example", True),  # any in the user's own domain
        (User("ann@ours.example"), "ann@else.example", False),
        (User("ann@ours.example"), "ann@sub.ours.example", False),
        (User("printer"), "printer@ours.example", True),  # a name without domain: any domain of ours
        (User("printer"), "x@deep.lan.example", True),
        (User("printer"), "printer@else.example", False),
        (User("bob", senders=("bob@else.example",)), "BOB@Else.example", True),
        (User("bob", senders=("bob@else.example",)), "ann@else.example", False),
        (User("bob@ours.example", senders=("bob@else.example",)), "bob@ours.example", False),
        (User("bob", senders=("else.example",)), "any@else.example", True),
        (User("bob", senders=("else.example",)), "any@sub.else.example", False),
        (User("bob", senders=(".else.example",)), "any@sub.else.example", True),
        (User("bob", senders=("*",)), "any@where.example", True),
        (User("bob", senders=()), "bob@ours.example", False),
    ],
)
def test_which_senders_a_user_may_use(user: User, sender: str, may: bool) -> None:
    assert user.may_send_as(parse_mailbox(sender), OWN) is may


def test_senders_in_the_file_are_as_they_are_written() -> None:
    assert only("bob:x::::::senders=@else.example,*").senders == ("else.example", "*")
    assert only("bob:x::::::senders=").senders == ()


def test_policy_holds_a_login_to_its_senders() -> None:
    """553 5.7.1; the null sender is nobody's, and anybody's: reports and receipts have it (RFC 5321
    §4.5.5)."""
    policy = Policy(PolicySettings(domains=("ours.example",)))
    stranger = policy.client("203.0.113.9")
    ann = policy.logged_in(stranger, User("ann@ours.example", place="users:1"))
    assert ann.trusted and ann.is_known_by_name
    for service in (Service.RELAY, Service.SUBMISSION):
        assert isinstance(policy.sender(ann, service, parse_mailbox("bob@ours.example")), Accepted)
        assert isinstance(policy.sender(ann, service, None), Accepted)
        refused = policy.sender(ann, service, parse_mailbox("bob@else.example"))
        assert isinstance(refused, Refused)
        assert (refused.reply.code, refused.reply.enhanced) == (553, "5.7.1")
        assert (refused.rule, refused.place) == ("senders of ann@ours.example: own domains", "users:1")
    assert isinstance(policy.recipient(ann, Service.RELAY, parse_mailbox("x@else.example")), Accepted)
    assert isinstance(policy.recipient(stranger, Service.RELAY, parse_mailbox("x@else.example")), Refused)


def test_a_login_binds_even_a_client_that_may_relay_anyhow() -> None:
    policy = Policy(PolicySettings(domains=("ours.example",)))
    here = policy.client("127.0.0.1")
    assert isinstance(policy.sender(here, Service.RELAY, parse_mailbox("x@else.example")), Accepted)
    ann = policy.logged_in(here, User("ann@ours.example"))
    assert isinstance(policy.sender(ann, Service.RELAY, parse_mailbox("x@else.example")), Refused)


def test_a_certificate_is_trusted() -> None:
    policy = Policy(PolicySettings())
    client = policy.certified(policy.client("203.0.113.9"), "sha256:abc")
    assert client.trusted and client.is_known_by_name and client.user is None
    assert client.rule == "accept.certificates: sha256:abc"


def test_an_empty_list_knows_nobody() -> None:
    assert UserList({}).find("") is None
    assert len(parse_users("# nobody\n\n")) == 0
