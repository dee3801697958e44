"""The header section of what a program hands over: who gets it, and what it lacked (RFC 6409 §8)."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import default
from typing import Any

import pytest

from relay.message.address import Address
from relay.operate.sendmail.letter import HeaderFault, Writer, finished, from_value, recipients

DOMAIN = "here.example"
ANN = Address("ann", DOMAIN)
WRITER = Writer(ANN, ANN, "Ann Other", DOMAIN, "gate.here.example", "Thu, 26 Nov 2026 10:00:00 +0100", "5f.abc")


def named(*fields: bytes) -> list[str]:
    return [str(one) for one in recipients(fields, DOMAIN)]


def test_recipients_stand_in_to_cc_and_bcc() -> None:
    assert named(
        b"From: eve", b"To: ann, Bob <bob@example.net>", b"cc: carl", b"BCC : dora@example.net", b"X-To: x"
    ) == [
        "ann@here.example",
        "bob@example.net",
        "carl@here.example",
        "dora@example.net",
    ]


def test_of_what_is_sent_on_only_the_uppermost_resent_fields_count() -> None:
    """RFC 5322 §3.6.6: each resending puts its block on top."""
    assert named(
        b"Resent-From: ann",
        b"Resent-To: new@example.net",
        b"Resent-Bcc: hidden@example.net",
        b"Resent-From: bob",
        b"Resent-To: older@example.net",
        b"To: first@example.net",
    ) == ["new@example.net", "hidden@example.net"]


def test_a_field_that_cannot_be_understood_names_itself() -> None:
    with pytest.raises(HeaderFault, match=r"^cc: a quoted string is not closed"):
        named(b"To: ann", b'Cc: "bob')
    with pytest.raises(HeaderFault, match=r"^to: "):
        named(b"To: \xff@example.org")


def made(*fields: bytes, **changes: Any) -> Any:
    octets = finished(fields, replace(WRITER, **changes))
    assert octets.endswith(b"\r\n\r\n") and b"\n" not in octets.replace(b"\r\n", b"")
    return message_from_bytes(octets, policy=default)


def test_what_is_missing_is_added() -> None:
    message = made(b"Subject: x")
    assert message["From"] == "Ann Other <ann@here.example>"
    assert message["Date"] == "Thu, 26 Nov 2026 10:00:00 +0100"
    assert message["Message-ID"] == "<5f.abc@gate.here.example>"
    assert message["Subject"] == "x"


def test_what_is_there_stays_as_it_was() -> None:
    given = (b"Date: yesterday", b"From:  Bob   <bob@example.net>", b"message-id: <1@x>", b"X-Odd:\n\tfolded\xff")
    assert finished(given, WRITER) == b"\r\n".join(given).replace(b"\n\t", b"\r\n\t") + b"\r\n\r\n"


def test_blind_copies_stay_blind() -> None:
    message = made(
        b"To: ann@example.org", b"Bcc: hidden@example.net", b"Resent-Bcc: hidden@example.net", b"Return-Path: <x>"
    )
    assert message.keys() == ["To", "Date", "From", "Message-ID"]


def test_addresses_without_a_domain_get_one_wherever_they_stand() -> None:
    """cron writes ``From: root (Cron Daemon)``, which no provider takes."""
    octets = finished(
        (b"From: root (Cron Daemon)", b"To: root", b"Reply-To: ann, bob@example.net", b"Subject: root"), WRITER
    )
    assert octets.startswith(
        b"From: root@here.example (Cron Daemon)\r\nTo: root@here.example\r\n"
        b"Reply-To: ann@here.example, bob@example.net\r\nSubject: root\r\n"
    )


def test_without_a_sender_the_user_writes() -> None:
    assert made(sender=None)["From"] == "Ann Other <ann@here.example>"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "ann@here.example"),
        ("Ann Other", "Ann Other <ann@here.example>"),
        ("Other, Ann", '"Other, Ann" <ann@here.example>'),
        ('Ann "X" O\\', '"Ann \\"X\\" O\\\\" <ann@here.example>'),
        ("A.\r\nBcc: eve@example.org", '"A. Bcc: eve@example.org" <ann@here.example>'),
        ("Jörg", "=?utf-8?b?SsO2cmc=?= <ann@here.example>"),
        ("a\x1b[31m", "=?utf-8?b?YRtbMzFt?= <ann@here.example>"),
    ],
)
def test_a_name_is_quoted_or_encoded_as_it_must_be(name: str, value: str) -> None:
    assert from_value(ANN, name) == value


def test_a_long_name_is_folded_and_read_back() -> None:
    name = "Ä" * 100
    value = from_value(ANN, name)
    assert max(map(len, value.split("\n"))) < 78
    assert str(make_header(decode_header(value.partition(" <")[0]))) == name
    assert made(full_name=name)["From"].addresses[0].addr_spec == "ann@here.example"
