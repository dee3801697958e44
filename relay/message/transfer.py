"""Content-Transfer-Encodings (RFC 2045 §6): octets that fit a 7-bit transport, and when they are needed.

The rule that must not be broken: what is decoded is, octet for octet, what was encoded.
"""

from __future__ import annotations

import binascii
from base64 import encodebytes
from io import IncrementalNewlineDecoder

_NOT_ASCII = bytes(range(128, 256))
LINE_LIMIT_OCTETS = 998  # RFC 5322 §2.1.1, without the CRLF


class PlainLines(bytes):
    """A piece, often all, of a content that was looked at when it came: its lines end with CRLF, no CR or LF stands
    alone, and no line begins with a dot.  It goes out as it is, without being looked at again.

    Of what comes in pieces the last one says so for all of them; what is read in pieces is such in each."""

    __slots__ = ()


def is_binary(data: bytes) -> bool:
    """Whether only BINARYMIME may carry this (RFC 2045 §2.9): NUL, a bare CR or LF, or a line too long."""
    return has_stray_octets(data) or max(map(len, data.split(b"\r\n"))) > LINE_LIMIT_OCTETS


def has_stray_octets(data: bytes) -> bool:
    """Whether there is a NUL, or a CR or LF that is not part of a CRLF."""
    return b"\0" in data or has_bare_line_ends(data)


def has_bare_line_ends(data: bytes) -> bool:
    """Whether a CR stands without its LF or an LF without its CR (RFC 5321 §2.3.8)."""
    # What reads text files notes which line ends it has met; nothing else in the library looks at octets as fast.
    reader = IncrementalNewlineDecoder(None, translate=False)
    reader.decode(data.decode("latin-1"), final=True)
    return reader.newlines not in (None, "\r\n")


def quoted_printable(data: bytes) -> bytes:
    """Any octets as quoted-printable (RFC 2045 §6.7): CRLF is a line end, all else stands for itself."""
    if has_stray_octets(data):
        # Line by line, so that a bare CR or LF within a line is encoded as data.
        encoded = (binascii.b2a_qp(line, istext=False).replace(b"\n", b"\r\n") for line in data.split(b"\r\n"))
        return b"\r\n".join(encoded)
    encoded_text = binascii.b2a_qp(data, istext=True)
    # The library takes its soft line ends from the first line end that it sees.
    return encoded_text if b"\n" in data else encoded_text.replace(b"\n", b"\r\n")


def base64(data: bytes) -> bytes:
    """Any octets as base64 in lines of 76, without a CRLF after the last (RFC 2045 §6.8)."""
    return encodebytes(data).rstrip(b"\n").replace(b"\n", b"\r\n")


def encoded(data: bytes) -> tuple[str, bytes]:
    """The name of the encoding that suits these octets, and the octets in it.

    Quoted-printable while a person can still read it, base64 for the rest.
    """
    foreign = len(data) - len(data.translate(None, _NOT_ASCII))
    if foreign * 3 <= len(data) and not has_stray_octets(data):
        return "quoted-printable", quoted_printable(data)
    return "base64", base64(data)
