"""The message that a report is about, as far as we give it back (RFC 3461 §4.3, §6.2; RFC 6522 §3, §4).

The rule that must not be broken: what is given back is, once decoded, octet for octet what we had.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header

from relay.message.envelope import Message
from relay.message.reply import printable
from relay.message.transfer import is_binary

HEADER_LIMIT_OCTETS = 64 * 1024  # of a longer header section, so much is given back
_FIELD_LIMIT_OCTETS = 2000  # of a field that we look into

_SUBJECT = re.compile(rb"(?:\A|\r\n)subject[ \t]*:((?:[^\r\n]|\r\n[ \t]){0,%d})" % _FIELD_LIMIT_OCTETS, re.IGNORECASE)
# Visible ASCII in angle brackets, and no longer than fits a line: it is repeated in our own header section.
_MESSAGE_ID = re.compile(rb"(?:\A|\r\n)message-id[ \t]*:(?:[ \t]|\r\n[ \t])*(<[!-;=?-~]{1,900}>)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Original:
    """What we have of the message.

    header  its header section with our own trace fields in front, each line with its CRLF, no empty line
    whole   header section and body, or None when it cannot or shall not be given back whole
    """

    header: bytes
    whole: bytes | None

    @property
    def subject(self) -> str:
        """The Subject as a person reads it, one printable line; empty when there is none."""
        found = _SUBJECT.search(self.header)
        return _decoded(found[1]) if found else ""

    @property
    def message_id(self) -> str | None:
        """The Message-ID with its angle brackets, or None when there is none that may be repeated."""
        found = _MESSAGE_ID.search(self.header)
        return found[1].decode("ascii") if found else None


def original_of(message: Message, content: bytes | None, whole_limit_octets: int) -> Original:
    """What there is to give back.

    content             the content or its beginning, None when there is none at hand
    whole_limit_octets  a larger message is not given back whole; 0 for the header section in any case
    """
    content = message.content if content is None else content
    beginning = message.head + (content or b"")[:HEADER_LIMIT_OCTETS]
    whole = None
    if content is not None and len(message.head) + len(content) >= message.size <= whole_limit_octets:
        whole = message.head + content
    # A NUL, a bare LF or an endless line: no message/rfc822 may hold that on the way of a report (RFC 3030 §3).
    return Original(_header_section(beginning), None if whole is None or is_binary(whole) else whole)


def _header_section(beginning: bytes) -> bytes:
    if beginning.startswith(b"\r\n"):
        return b""
    end = beginning.find(b"\r\n\r\n")
    if end < 0:
        end = beginning.rfind(b"\r\n")
    return beginning[: end + 2] if end >= 0 else b""


def _decoded(value: bytes) -> str:
    text = value.replace(b"\r\n", b"").decode("utf-8", "replace").strip()
    with suppress(MessageError, LookupError, ValueError):  # a charset nobody knows, bad base64: as it is written
        text = str(make_header(decode_header(text)))
    return " ".join(printable(text).split())
