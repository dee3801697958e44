"""What stands in a file of the maildrop: read back as it was written, and refused when it is anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message.address import Address
from relay.message.envelope import Body, Envelope, Notify, Recipient, Ret
from relay.receive.maildrop.drop import (
    ENVELOPE_LIMIT_OCTETS,
    TAIL_OCTETS,
    Drop,
    EnvelopeTooLarge,
    NotADrop,
    envelope_octets,
    parse,
    written,
)

ANN = Address("ann", "example.org")
BOB = Recipient(Address("bob", "example.net"))
PLAIN = Drop(Envelope(ANN), (BOB,))
FULL = Drop(
    Envelope(None, Body.EIGHTBIT, True, Ret.HDRS, "QQ 314+159", require_tls=True),
    (
        Recipient(Address('o"dd one', "example.net"), Notify.SUCCESS | Notify.DELAY, "rfc822;first@example.org"),
        Recipient(Address("müller", "bücher.example"), Notify.NEVER),
        Recipient(Address("Postmaster", "")),
    ),
)


def read_back(octets: bytes) -> Drop:
    """As the relay does it."""
    tail = octets[-TAIL_OCTETS:]
    length = envelope_octets(tail, len(octets))
    return parse(octets[-TAIL_OCTETS - length : -TAIL_OCTETS])


@pytest.mark.parametrize("drop", [PLAIN, FULL])
def test_an_envelope_is_read_back_as_it_was_written(drop: Drop) -> None:
    assert read_back(b"Subject: x\r\n\r\nbody\r\n" + written(drop)) == drop
    assert read_back(written(drop)) == drop


def test_an_envelope_is_ascii_in_one_line() -> None:
    octets = written(FULL)
    assert octets.isascii() and octets.count(b"\n") == 2


def test_more_recipients_than_a_file_may_name_are_refused_by_its_writer() -> None:
    many = Drop(Envelope(ANN), tuple(Recipient(Address(f"user{n}", "example.org")) for n in range(40_000)))
    with pytest.raises(EnvelopeTooLarge, match="40000 recipients"):
        written(many)


def test_a_file_cut_short_anywhere_is_no_drop() -> None:
    octets = b"Subject: x\r\n\r\nbody\r\n" + written(FULL)
    for end in range(len(octets)):
        with pytest.raises(NotADrop):
            read_back(octets[:end])


@pytest.mark.parametrize("length", [0, ENVELOPE_LIMIT_OCTETS + 1, 0xFFFFFFFF, 1000])
def test_a_length_that_cannot_be_is_no_drop(length: int) -> None:
    with pytest.raises(NotADrop, match="does not end as a message"):
        envelope_octets(b"%08x relay-drop-1\n" % length, 500)


GOOD = {"sender": "ann@example.org", "recipients": [{"address": "bob@example.net"}], "body": "7BIT"}


@pytest.mark.parametrize(
    "change",
    [
        {"sender": "ann"},
        {"sender": "ann@example.org\r\nRCPT TO:<eve@example.org>"},
        {"sender": 7},
        {"sender": ["ann@example.org"]},
        {"recipients": []},
        {"recipients": None},
        {"recipients": ["bob@example.net"]},
        {"recipients": [{"address": "bob@example.net\n"}]},
        {"recipients": [{"address": ""}]},
        {"recipients": [{"address": "bob@example.net", "notify": []}]},
        {"recipients": [{"address": "bob@example.net", "notify": ["NEVER", "DELAY"]}]},
        {"recipients": [{"address": "bob@example.net", "notify": ["SOMETIMES"]}]},
        {"recipients": [{"address": "bob@example.net", "notify": [1]}]},
        {"recipients": [{"address": "bob@example.net", "orcpt": "rfc822;a\r\nb"}]},
        {"recipients": [{"address": "bob@example.net", "orcpt": "nothing"}]},
        {"recipients": [{"address": "bob@example.net", "orcpt": "rfc822;\u2028"}]},
        {"recipients": [{"address": "bob@example.net", "more": 1}]},
        {"body": "9BIT"},
        {"smtputf8": 1},
        {"smtputf8": "yes"},
        {"require_tls": 0},
        {"ret": "ALL"},
        {"envid": ""},
        {"envid": "x" * 101},
        {"envid": "a\nb"},
        {"envid": "ä"},
        {"auth": "root@example.org"},
        {"uid": 0},
    ],
    ids=str,
)
def test_an_envelope_of_another_kind_is_no_drop(change: dict[str, object]) -> None:
    """Postfix's postdrop had line ends in its records; Exim's spool, parameters that were not looked at (21Nails)."""
    parse(json.dumps(GOOD).encode() + b"\n")
    with pytest.raises(NotADrop) as fault:
        parse(json.dumps(GOOD | change).encode() + b"\n")
    assert str(fault.value).isprintable()


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"[]\n", b"null\n", b"{}\n", b"{}", b"[" * 100_000, b'{"sender": 1' + b"0" * 9000 + b"}\n", b"\xff\n"],
)
def test_what_is_no_object_in_a_line_is_no_drop(line: bytes) -> None:
    with pytest.raises(NotADrop):
        parse(line)


def test_a_fault_tells_nothing_of_what_a_file_holds() -> None:
    """OpenSMTPD told the first line of any file that somebody linked into its offline queue (Qualys, 2015)."""
    secret = b"root:$6$geheim"
    for octets in (secret, secret + b"\n" + b"%08x relay-drop-1\n" % (len(secret) + 1), secret * 100):
        with pytest.raises(NotADrop) as fault:
            read_back(octets)
        assert "geheim" not in str(fault.value)


@given(st.binary(max_size=200))
def test_nothing_else_can_come_of_any_octets(octets: bytes) -> None:
    for line in (octets, octets + b"\n"):
        try:
            drop = parse(line)
        except NotADrop:
            continue
        assert read_back(written(drop)) == drop
