"""What has arrived and is not yet understood, and what a command line may hold.

Only CRLF ends a line (RFC 5321 §2.3.8).  A line with a CR or LF of its own, and one that does not end, is
answered as soon as that is known and then swallowed up to its CRLF: one line, one reply, and no more
memory than the longest line that is allowed.  The verdict on a line is the same however the stream is cut.
"""

from __future__ import annotations

import re

from relay.message import reply
from relay.message.reply import Reply

COMMAND_LINE_LIMIT_OCTETS = 512  # RFC 5321 §4.5.3.1.4, with the CRLF

# Tab is no control character here: it only separates, and RFC 5321 §4.1.1 wants trailing white space tolerated.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


class Unread:
    """Octets that arrived and were not read yet."""

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0

    def __len__(self) -> int:
        return len(self._data) - self._at

    def add(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def line(self) -> bytes | None:
        """The next line without its CRLF, or None when it has not ended."""
        end = self._data.find(b"\r\n", self._at)
        if end < 0:
            return None
        line = self._data[self._at : end]
        self._at = end + 2
        return line

    def unfinished(self) -> bytes:
        """What has come of a line that has not ended.  A final CR may be half of its CRLF and is left out."""
        line = self._data[self._at :]
        return line[:-1] if line.endswith(b"\r") else line

    def take(self, most: int | None = None) -> bytes:
        """Up to ``most`` octets, or all there are."""
        end = len(self._data) if most is None else min(self._at + most, len(self._data))
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def give_back(self, data: bytes, at: int) -> None:
        """What was taken last, from ``at`` on, was not ours; nothing else may be unread."""
        self._data, self._at = data, at

    def swallow_line(self) -> tuple[int, bool]:
        """Throws away the line up to its CRLF: how many octets went, and whether the CRLF was among them."""
        before = len(self)
        if self.line() is not None:
            return before - len(self), True
        self._at = len(self._data) - self._data.endswith(b"\r", self._at)
        return before - len(self), False

    def clear(self) -> None:
        self._data, self._at = b"", 0


def fault_in_unfinished(line: bytes, limit: int) -> Reply | None:
    """What is already known to be wrong with a line whose CRLF has not come.

    limit  octets, with the CRLF
    """
    if b"\n" in line[: limit - 2] or b"\r" in line[: limit - 2]:
        return reply.BARE_LINE_END
    return reply.LINE_TOO_LONG if len(line) > limit - 2 else None


def fault_in(line: bytes, limit: int, utf8: bool) -> Reply | None:
    """What is wrong with a whole line, if anything: its ends, its length, then its octets.

    utf8  this command may carry UTF-8 (RFC 6531 §3.1)
    """
    fault = fault_in_unfinished(line, limit)
    if fault is not None:
        return fault
    try:
        text = line.decode("utf-8" if utf8 else "ascii")
    except UnicodeDecodeError:
        return reply.BAD_OCTET
    return reply.BAD_OCTET if _CONTROL.search(text) else None
