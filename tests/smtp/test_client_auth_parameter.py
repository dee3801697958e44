"""AUTH= on the way out: who submitted a message is passed on to a host that knows of logins (RFC 4954 §5)."""

from __future__ import annotations

import pytest

from relay.message.address import parse_mailbox
from relay.message.envelope import Envelope, Recipient
from relay.smtp.offer import Offer
from relay.smtp.transaction import Transaction

BOB = Recipient(parse_mailbox("bob@elsewhere.example"))


@pytest.mark.parametrize(
    ("auth", "offered", "wanted"),
    [
        ("ann@client.example", {"PLAIN"}, b" AUTH=ann@client.example"),
        ("a+b@client.example", {"PLAIN"}, b" AUTH=a+2Bb@client.example"),
        ("<>", {"PLAIN"}, b" AUTH=<>"),
        (None, {"PLAIN"}, b""),
        ("ann@client.example", set(), b""),
    ],
)
def test_who_submitted_it_is_passed_on(auth: str | None, offered: set[str], wanted: bytes) -> None:
    envelope = Envelope(parse_mailbox("ann@client.example"), auth=auth)
    mail = Transaction(envelope, [BOB], 10).commands(Offer(auth=frozenset(offered)))[0]
    assert mail == b"MAIL FROM:<ann@client.example>" + wanted + b"\r\n"


@pytest.mark.parametrize(
    ("auth", "wanted"), [(None, b"<>"), ("<>", b"<>"), ("ann@client.example", b"ann@client.example")]
)
def test_our_own_login_is_not_taken_for_the_submitters(auth: str | None, wanted: bytes) -> None:
    """RFC 4954 §5: AUTH=<> to any server that we have authenticated to, unless somebody whom we trust said more."""
    offer = Offer(auth=frozenset({"PLAIN"}), logged_in=True)
    for sender in (parse_mailbox("ann@client.example"), None):
        mail = Transaction(Envelope(sender, auth=auth), [BOB], 10).commands(offer)[0]
        assert mail.endswith(b" AUTH=" + wanted + b"\r\n")
