"""8-bit content for a hop that takes 7 bits only: each part that needs it is encoded, nothing else is touched.

Sources: RFC 6152 §3 (the duty: convert or bounce), RFC 2045 §6 (encodings), RFC 2046 §5.1 and §5.2 (what may be
encoded: leaves, never a multipart or a message), RFC 1847 §2 (what must not be touched: signed and encrypted parts).

The rule that must not be broken: whoever decodes the parts gets the octets that were sent; where that cannot be
promised the answer is None, and the sender is told (5.6.3).

Signatures over the body's encoded form, DKIM above all, do not survive (RFC 6376 §5.3): that is the price of a
7-bit hop.  8-bit octets in the message's own header section stay: they were against the law when they came, no encoding
repairs them without guessing their meaning, and a 7-bit hop that minds will say so.  In the header section of a part,
or of a message within, they are octets of a body that we call 7bit (RFC 2045 §2.7, §6.2), and cannot be converted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from relay.message.transfer import base64, encoded, has_stray_octets, is_binary, quoted_printable

DEPTH_LIMIT = 20  # a message nested deeper, and 8-bit down there, is nothing that a person wrote

_FIELD_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_TYPE = re.compile(rb"[ \t\r\n]*([!-.0-:<-~]+)[ \t\r\n]*/[ \t\r\n]*([!-'*-.0-:<-~]+)")
_PARAMETER = re.compile(
    rb';[ \t\r\n]*([^ \t\r\n=;"]+)[ \t\r\n]*=[ \t\r\n]*(?:"((?:[^"\\]|\\.)*)"|([^ \t\r\n;"]*))', re.S
)
_NOT_TEXT = re.compile(rb"[\0\x80-\xff]|\r(?!\n)|(?<!\r)\n")
_IDENTITY = (b"", b"7bit", b"8bit", b"binary")
_HEADER_SECTION = (
    b"Content-Description: The header section of the message\r\n"
    b"Content-Type: text/rfc822-headers\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
)


class _Untouchable(Exception):
    """There is something that cannot be made 7-bit without breaking it; ``str()`` says what."""


def needs_8bit(data: bytes) -> bool:
    """Whether a hop without 8BITMIME must not get this (RFC 6152 §3)."""
    return not data.isascii()


def needs_binary(data: bytes) -> bool:
    """Whether a hop without BINARYMIME must not get this (RFC 3030 §3): NUL, bare CR or LF, line over 998 octets."""
    return is_binary(data)


def downgrade(data: bytes, *, is_report: bool = False) -> bytes | None:
    """The message as 7-bit MIME that decodes to the same, or None when that cannot be had.

    data       header section and body, lines ending with CRLF; in the body of a BINARYMIME message anything
    is_report  its sender is null, so that nobody would hear of its failure: a multipart/report that cannot be had whole
               goes with the header section of the message that it gives back (RFC 6522 §3)

    Takes time linear in the size (times the depth of nesting), and memory of a few times the size.
    """
    try:
        return _converted(data)
    except _Untouchable:
        if not is_report:
            return None
    try:
        return _converted(_shortened(data))
    except _Untouchable:
        return None


def _converted(data: bytes) -> bytes:
    converted = _entity(data, depth=0, is_message=True, returned=False, by_default=b"text/plain")
    # What is left is in header sections.  Over DATA a bare CR or LF there could end the message early for the peer.
    if has_stray_octets(converted) or not (converted.isascii() or _split(converted)[1].isascii()):
        raise _Untouchable("a header section below the first is not 7-bit")
    return converted


def _fits(body: bytes) -> bool:
    return body.isascii() and not is_binary(body)


def _entity(data: bytes, *, depth: int, is_message: bool, returned: bool, by_default: bytes) -> bytes:
    """A message or body part, converted.

    is_message  it has a header section in its own right, where MIME-Version belongs
    returned    it stands in a report, which gives it back as evidence: signatures in it may break (RFC 6522 §3)
    by_default  its type when it says none (RFC 2046 §5.1.5: message/rfc822 within a digest)
    """
    fields, body = _split(data)
    if _fits(body):
        return data
    if depth > DEPTH_LIMIT:
        raise _Untouchable("nested too deep")
    stated_type = _value(fields, b"content-type")
    encoding = (_value(fields, b"content-transfer-encoding") or b"").strip().lower()
    kind = _media_type(stated_type) if stated_type is not None else by_default
    composite = kind.startswith(b"multipart/") or kind in (b"message/rfc822", b"message/external-body")
    if composite and encoding not in _IDENTITY:
        raise _Untouchable("a composite part is said to be encoded")
    if kind.startswith(b"multipart/"):
        label, converted = b"7bit", _multipart(kind, stated_type or b"", body, depth, returned)
    elif composite:
        inner = _entity(body, depth=depth + 1, is_message=True, returned=returned, by_default=b"text/plain")
        label, converted = b"7bit", inner
    else:
        label, converted = _leaf(kind, encoding, body)
    header = b"".join(_labelled(fields, label, is_message=is_message, untyped=stated_type is None and not composite))
    return header + b"\r\n" + converted


def _multipart(kind: bytes, stated_type: bytes, body: bytes, depth: int, returned: bool) -> bytes:
    if kind in (b"multipart/signed", b"multipart/encrypted") and not returned:
        raise _Untouchable("signed or encrypted")
    by_default = b"message/rfc822" if kind == b"multipart/digest" else b"text/plain"
    returned = returned or kind == b"multipart/report"
    pieces: list[bytes] = []
    copied = 0
    for start, end in _parts(body, _boundary(stated_type)):
        part = _entity(body[start:end], depth=depth + 1, is_message=False, returned=returned, by_default=by_default)
        pieces += (_between(body[copied:start]), part)
        copied = end
    if not pieces:
        raise _Untouchable("a multipart without parts")
    pieces.append(_between(body[copied:]))
    return b"".join(pieces)


def _leaf(kind: bytes, encoding: bytes, body: bytes) -> tuple[bytes, bytes]:
    if encoding == b"quoted-printable":
        # It promised 7 bits and lied.  Decoders let such octets pass, so naming them changes nothing.
        escaped = _NOT_TEXT.sub(lambda octet: b"=%02X" % octet[0][0], body)
        if is_binary(escaped):
            raise _Untouchable("quoted-printable with lines too long")
        return encoding, escaped
    if encoding not in _IDENTITY or kind == b"message/partial":  # the latter must be 7-bit, RFC 2046 §5.2.2.1
        raise _Untouchable("encoded already, and yet not 7-bit")
    if kind.startswith((b"text/", b"message/")):
        name, octets = encoded(body)
        return name.encode(), octets
    return b"base64", base64(body)


def _shortened(report: bytes) -> bytes:
    """The report, with no more than the header section of what it gives back, in 7 bits (RFC 6522 §4)."""
    fields, body = _split(report)
    stated_type = _value(fields, b"content-type") or b""
    if _media_type(stated_type) != b"multipart/report":
        raise _Untouchable("no report")
    pieces: list[bytes] = []
    copied = 0
    for start, end in _parts(body, _boundary(stated_type)):
        part_fields, given_back = _split(body[start:end])
        is_message = _media_type(_value(part_fields, b"content-type") or b"") == b"message/rfc822"
        if is_message and not given_back.isascii():
            pieces += (body[copied:start], _HEADER_SECTION, quoted_printable(b"".join(_split(given_back)[0])))
            copied = end
    if not pieces:
        raise _Untouchable("no message in it is the reason")
    header = _labelled(fields, b"7bit", is_message=True, untyped=False)
    return b"".join((*header, b"\r\n", *pieces, body[copied:]))


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """The fields of the header section, each with its CRLF, and the body.

    A line that is no field ends the header section too, as most readers see it; it is the first of the body.
    """
    starts: list[int] = []
    at = 0
    while at < len(data):
        end = data.find(b"\r\n", at)
        if end == at:
            return _slices(data, starts, at), data[at + 2 :]
        end = len(data) if end < 0 else end
        if data[at] not in b" \t" or not starts:
            if _FIELD_NAME.match(data, at, end) is None:
                break
            starts.append(at)
        at = min(end + 2, len(data))
    return _slices(data, starts, at), data[at:]


def _slices(data: bytes, starts: list[int], end: int) -> list[bytes]:
    return [data[start:stop] for start, stop in pairwise((*starts, end))]


def _value(fields: list[bytes], name: bytes) -> bytes | None:
    """A field's value, unfolded or not.  Readers differ on which of two they believe, so two are untouchable."""
    found = [field for field in fields if field[: len(name)].lower() == name and _name(field) == name]
    if len(found) > 1:
        raise _Untouchable("a field stands twice")
    return found[0].partition(b":")[2] if found else None


def _name(field: bytes) -> bytes:
    return field.partition(b":")[0].rstrip(b" \t").lower()


def _media_type(value: bytes) -> bytes:
    found = _TYPE.match(value)
    return b"/".join(found.groups()).lower() if found else b"application/octet-stream"


def _boundary(stated_type: bytes) -> bytes:
    said = [quoted or plain for name, quoted, plain in _PARAMETER.findall(stated_type) if name.lower() == b"boundary"]
    boundary = re.sub(rb"\\(.)", rb"\1", said[0]).rstrip(b" ") if len(said) == 1 else b""
    if not boundary or not boundary.isascii() or b"\n" in boundary:
        raise _Untouchable("a multipart without a boundary")
    return boundary


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[int, int]]:
    """Where each part begins and ends; the line end before a delimiter is the delimiter's (RFC 2046 §5.1.1)."""
    opened = None
    for start, end, closes in _delimiters(body, b"--" + boundary):
        if opened is not None:
            yield opened, max(opened, start - 2)
        if closes:
            return
        opened = end
    if opened is not None:
        yield opened, len(body)  # never closed: the last part goes to the end


def _delimiters(body: bytes, mark: bytes) -> Iterator[tuple[int, int, bool]]:
    at = body.find(mark)
    while at >= 0:
        if at == 0 or body[at - 2 : at] == b"\r\n":
            stop = body.find(b"\r\n", at)
            stop = len(body) if stop < 0 else stop
            rest = body[at + len(mark) : stop]
            closes = rest.startswith(b"--")
            if not rest[2 if closes else 0 :].strip(b" \t"):
                yield at, min(stop + 2, len(body)), closes
        at = body.find(mark, at + 1)


def _between(text: bytes) -> bytes:
    """Delimiters, preamble and epilogue; nobody is shown the latter two (RFC 2046 §5.1), nothing can encode them."""
    return text if text.isascii() and not has_stray_octets(text) else _NOT_TEXT.sub(b"?", text)


def _labelled(fields: list[bytes], label: bytes, *, is_message: bool, untyped: bool) -> Iterator[bytes]:
    """The fields, with the encoding that the body has now; what MIME needs is added (RFC 2045 §4)."""
    names = [_name(field) for field in fields]
    if is_message and b"mime-version" not in names:
        fields, names = [*fields, b"MIME-Version: 1.0\r\n"], [*names, b""]
    if untyped:
        # Octets without a name for their charset.  We do not guess (RFC 1428 §3).
        fields, names = [*fields, b"Content-Type: text/plain; charset=unknown-8bit\r\n"], [*names, b""]
    new_field = b"Content-Transfer-Encoding: %s\r\n" % label
    for name, field in zip(names, fields, strict=True):
        yield new_field if name == b"content-transfer-encoding" else field
    if b"content-transfer-encoding" not in names and label != b"7bit":
        yield new_field
