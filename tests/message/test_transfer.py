"""Content-Transfer-Encodings (RFC 2045 §6), held against the standard library's decoders."""

from __future__ import annotations

import binascii
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message.transfer import base64, encoded, has_stray_octets, is_binary, quoted_printable

OCTETS = st.binary(max_size=400) | st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b".", b"=", b"From ", b"\0", b"\xc3\xa4", b"word", b"x" * 80])
).map(b"".join)


def is_sound(octets: bytes) -> bool:
    """RFC 2045 §6.7: ASCII, lines of 76 at most, CRLF only at their ends, no white space before them."""
    lines = octets.split(b"\r\n")
    return (
        octets.isascii()
        and not has_stray_octets(octets)
        and all(len(line) <= 76 and not line.endswith((b" ", b"\t")) for line in lines)
    )


@given(OCTETS)
def test_quoted_printable_gives_back_every_octet(octets: bytes) -> None:
    made = quoted_printable(octets)
    assert binascii.a2b_qp(made) == octets
    assert is_sound(made)


@given(OCTETS)
def test_base64_gives_back_every_octet(octets: bytes) -> None:
    made = base64(octets)
    assert b64decode(made) == octets
    assert is_sound(made)


@given(OCTETS)
def test_what_is_encoded_says_how(octets: bytes) -> None:
    name, made = encoded(octets)
    assert (binascii.a2b_qp(made) if name == "quoted-printable" else b64decode(made)) == octets
    assert is_sound(made)


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        ("Zahlen Sie für Müller.\r\n".encode(), "quoted-printable"),
        ("Съешь же ещё этих мягких булок\r\n".encode(), "base64"),
        (bytes(range(256)), "base64"),
        (b"caf\xe9 \n", "base64"),
        (b"", "quoted-printable"),
    ],
)
def test_text_stays_readable(octets: bytes, name: str) -> None:
    assert encoded(octets)[0] == name


@pytest.mark.parametrize(
    ("octets", "binary"),
    [
        (b"", False),
        (b"a\r\nb", False),
        (b"x" * 998 + b"\r\n" + b"y" * 998, False),
        (b"x" * 999, True),
        (b"\r\n" + b"x" * 999 + b"\r\n", True),
        (b"a\nb", True),
        (b"a\rb", True),
        (b"a\n\r\n", True),
        (b"a\r\r\n", True),
        (b"\r", True),
        (b"\0", True),
        (b"\xff", False),
    ],
)
def test_what_is_binary(octets: bytes, binary: bool) -> None:
    """RFC 2045 §2.9."""
    assert is_binary(octets) is binary
