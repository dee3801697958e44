"""What the content itself decides: hops so far, the size of its header section, what a submission lacks.

The content comes in pieces of any cut.  Only the header section is kept while it is not whole, and never
more of it than its limit; a small message, which comes in one piece, costs one search and one count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.message.address import Address

_NAMED_FIELD = re.compile(rb"(?:\A|\r\n)(date|from|message-id|sender)[ \t]*:", re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"(?:\A|\r\n)message-id[ \t]*:[ \t]*(?:\r\n[ \t]+)?([^\r\n]{1,250})", re.IGNORECASE)
_FROM = re.compile(rb"(?:\A|\r\n)from[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)
_FIELDS = re.compile(rb"(?:[!-9;-~]+[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*")
_FIELD_NAME_CUT = re.compile(rb"[!-9;-~]+[ \t]*")
# Some programs leave the separator line of an mbox in front; it is no field, but fields follow.
_BEGINS_LIKE_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:|>?From |\r\n|\Z")


@dataclass(frozen=True, slots=True)
class ContentLimits:
    """hops           how many Received fields there may be (RFC 5321 §6.3)
    header_octets  how large the header section may be
    """

    hops: int = 50
    header_octets: int = 256 * 1024


class HeaderWatch:
    """Watches the header section of one message go by."""

    __slots__ = ("_header", "_is_bare_text", "_limit", "_whole", "too_big")

    def __init__(self, limit_octets: int) -> None:
        self._limit = limit_octets
        self._header: bytes | bytearray = b""
        self._whole = False
        self._is_bare_text = False
        self.too_big = False

    def feed(self, data: bytes) -> None:
        """Takes the next piece of the content."""
        if self._whole:
            return
        header = self._header
        seen = len(header)
        if not seen:
            header = data
        else:
            if type(header) is bytes:
                header = bytearray(header)  # grows in place, however small the pieces are
            header += data[: self._limit + 4 - seen]
        end = 0 if header.startswith(b"\r\n") else header.find(b"\r\n\r\n", max(0, seen - 3), self._limit + 4)
        if end >= 0:
            self._header, self._whole = header[:end], True
        elif len(header) >= self._limit + 4:  # all has come that could hold an end within the limit, however it was cut
            self._end_without_empty_line(bytes(header[: self._limit + 4]))
        else:
            self._header = header

    def _end_without_empty_line(self, start: bytes) -> None:
        # Text without a header section may go on for long without an empty line: that is not a big header.
        fields = _FIELDS.match(start)
        end = fields.end() if fields else 0
        rest = start[end:]
        self._is_bare_text = end == 0 and not _BEGINS_LIKE_HEADER.match(rest)
        is_field = _BEGINS_LIKE_HEADER.match(rest) or _FIELD_NAME_CUT.fullmatch(rest)
        self.too_big = is_field is not None or (end > 0 and rest[:1] in (b" ", b"\t"))
        self._header, self._whole = start[:end], True

    @property
    def header(self) -> bytes:
        """The header section as far as it came, without the empty line that ends it."""
        return bytes(self._header)

    @property
    def separator(self) -> bytes:
        """What must stand between our trace fields and the content: an empty line when that has no header section,
        or its first lines would be taken for one."""
        if self._is_bare_text or not _BEGINS_LIKE_HEADER.match(self._header):
            return b"\r\n"
        return b""

    @property
    def message_id(self) -> str:
        """The value of the Message-ID field, for the logs; empty when there is none."""
        at = self._header.lower().find(b"message-id")  # a tenth of what the pattern costs, tried at every place
        found = _MESSAGE_ID.search(self._header, max(0, at - 2)) if at >= 0 else None
        return found[1].decode("ascii", "replace") if found else ""

    def missing(
        self, message_id: str, hostname: str, date: str, sender: Address | None, submitter: str | None = None
    ) -> bytes:
        """The fields that a submission lacks and we add (RFC 6409 §8), ready to stand in front.

        message_id  the queue's name for the message, unique with hostname
        date        now, in the form of RFC 5322 §3.3
        sender      the reverse-path
        submitter   the mailbox of who logged in, when a Sender field shall tell it where From does not
        """
        present = {name.lower() for name in _NAMED_FIELD.findall(self._header)}
        fields = b""
        if b"date" not in present:
            fields += f"Date: {date}\r\n".encode()
        if b"from" not in present:
            fields += f"From: <{sender or f'MAILER-DAEMON@{hostname}'}>\r\n".encode()
        if submitter is not None and b"sender" not in present and not self._is_from(submitter):
            fields += f"Sender: <{submitter}>\r\n".encode()
        if b"message-id" not in present:
            fields += f"Message-ID: <{message_id}@{hostname}>\r\n".encode()
        return fields

    def _is_from(self, mailbox: str) -> bool:
        """Whether the From field, if there is one, has just this mailbox."""
        found = _FROM.search(self._header)
        if found is None:
            return True
        text = found[1].decode("utf-8", "replace").lower()
        return mailbox.lower() in re.split(r"[<>\s]", text) and "," not in text
