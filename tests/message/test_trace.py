"""Trace fields (RFC 5321 §4.4, RFC 3848): ours to write, whatever the client called itself."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message.address import Address, parse_mailbox
from relay.message.envelope import Origin
from relay.message.trace import count_received, date, received, return_path

AT = 1795453800.7


def test_the_received_field() -> None:
    origin = Origin("192.0.2.9", "pc.example.org", "pc", "ESMTPSA", "ann")
    assert received(origin, "gateway.example.lan", "q1", AT, parse_mailbox("bob@example.net")) == (
        b"Received: from pc (pc.example.org [192.0.2.9])\r\n"
        b"\tby gateway.example.lan with ESMTPSA id q1\r\n"
        b"\tfor <bob@example.net>;\r\n"
        b"\tMon, 23 Nov 2026 17:10:00 +0000\r\n"
    )


def test_tls_is_told() -> None:
    """RFC 8314 §4.3: the last clause, behind ``for``."""
    origin = Origin("192.0.2.9", "pc.example.org", "pc", "ESMTPS", tls="TLS_AES_256_GCM_SHA384 (TLSv1.3)")
    for recipient, told in ((parse_mailbox("bob@example.net"), b"\r\n\tfor <bob@example.net>"), (None, b"")):
        field = received(origin, "gw", "q1", AT, recipient)
        assert b"with ESMTPS id q1" + told + b"\r\n\ttls TLS_AES_256_GCM_SHA384 (TLSv1.3);\r\n" in field


def test_without_a_single_recipient_nobody_is_named() -> None:
    """Blind copies would be told to each other."""
    field = received(Origin("2001:db8::1", helo="pc"), "gw", "q1", AT)
    assert field == (
        b"Received: from pc (unknown [IPv6:2001:db8::1])\r\n"
        b"\tby gw with ESMTP id q1;\r\n"
        b"\tMon, 23 Nov 2026 17:10:00 +0000\r\n"
    )


def test_who_left_a_message_on_this_machine_stands_in_place_of_a_client() -> None:
    origin = Origin(client_name="localhost", helo="ann", protocol="local", login="uid 1000 (ann)")
    assert received(origin, "gw", "q1", AT).startswith(
        b"Received: from localhost (uid 1000 (ann))\r\n\tby gw with local id q1;\r\n"
    )


@pytest.mark.parametrize("login", [None, "", "ann", "uid 0) by evil.example (x", "uid 0 (a b)", "uid 0 (a)\r\nX: y"])
def test_what_is_no_number_and_name_does_not_stand_there(login: str | None) -> None:
    field = received(Origin(client_name="localhost", helo="ann", protocol="local", login=login), "gw", "q1", AT)
    assert field.startswith(b"Received: from ann (localhost [local])\r\n")


@given(st.text(max_size=400), st.text(max_size=400))
def test_no_name_of_a_client_changes_the_field(helo: str, client_name: str) -> None:
    """HELO and reverse DNS are the client's words: no header line, comment or escape code of theirs, and no 8 bits."""
    field = received(Origin("192.0.2.9", client_name, helo), "gw", "q1", AT)
    assert field.isascii() and field.count(b"\r\n") == field.count(b"\n") == field.count(b"\r") == 3
    assert field.count(b"(") == field.count(b")") == 1
    assert not set(field) & (set(range(32)) - set(b"\r\n\t"))
    assert max(map(len, field.split(b"\r\n"))) <= 998
    assert message_from_bytes(field + b"\r\n", policy=default).keys() == ["Received"]


@pytest.mark.parametrize(
    ("header", "count"),
    [
        (b"", 0),
        (b"Received: a\r\nRECEIVED : b\r\nSubject: x\r\nreceived:\r\n\tc\r\n", 3),
        (b"X-Received: a\r\nSubject: x\r\n received: folded\r\nReceived-SPF: pass\r\n", 0),
    ],
)
def test_hops_are_counted(header: bytes, count: int) -> None:
    """RFC 5321 §6.3."""
    assert count_received(header) == count


def test_the_return_path() -> None:
    """RFC 5321 §4.4."""
    assert return_path(None) == b"Return-Path: <>\r\n"
    assert return_path(Address("a b", "x")) == b'Return-Path: <"a b"@x>\r\n'


def test_a_date_is_in_utc() -> None:
    assert date(0) == "Thu, 01 Jan 1970 00:00:00 +0000"
