"""What has arrived and is not yet understood, and what a command line may hold.

Only CRLF ends a line (RFC 5321 §2.3.8).  A line with a CR or LF of its own, and one that does not end, is
answered as soon as that is known and then swallowed up to its CRLF: one line, one reply, and no more
memory than the longest line that is allowed.  The verdict on a line is the same however the stream is cut.
"""

from __future__ import annotations

import re
from typing import Protocol

from relay.message import reply
from relay.message.reply import Reply

COMMAND_LINE_LIMIT_OCTETS = 512  # RFC 5321 §4.5.3.1.4, with the CRLF

SWALLOWED_LIMIT_OCTETS = 64 * 1024
"""A refused line is followed so far for its CRLF."""

# Tab is no control character here: it only separates, and RFC 5321 §4.1.1 wants trailing white space tolerated.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class LineRules(Protocol):
    """What the command at the beginning of a line allows the line to be."""

    def line_limit(self, line: bytes) -> int:
        """Octets with the CRLF."""
        ...

    def line_takes_utf8(self, line: bytes) -> bool: ...


class LineRefused(Exception):
    """This line is no command; answer with ``reply``.  Raised once a line.

    line  as much of it as is known
    """

    def __init__(self, reply: Reply, line: bytes) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.line = line


class LineEndless(Exception):
    """A refused line does not end; close the session."""


class Unread:
    """Octets that arrived and were not read yet."""

    __slots__ = ("_at", "_data", "_swallowed")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._swallowed: int | None = None  # octets of a refused line whose CRLF has not come

    def __len__(self) -> int:
        return len(self._data) - self._at

    def add(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def take(self, most: int | None = None) -> bytes:
        """Up to ``most`` octets, or all there are."""
        end = len(self._data) if most is None else min(self._at + most, len(self._data))
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def give_back(self, data: bytes, at: int) -> None:
        """What was taken last, from ``at`` on, was not ours; nothing else may be unread."""
        self._data, self._at = data, at

    def clear(self) -> None:
        self._data, self._at = b"", 0

    def command_line(self, rules: LineRules) -> str | None:
        """The next line without its CRLF, or None when it has not ended.  Raises LineRefused, LineEndless."""
        if self._at == len(self._data) or (self._swallowed is not None and not self._swallow()):
            return None
        end = self._data.find(b"\r\n", self._at)
        if end < 0:
            self._judge_unfinished(rules)
            return None
        line = self._data[self._at : end]
        self._at = end + 2
        if len(line) <= COMMAND_LINE_LIMIT_OCTETS - 2 and line.isascii():  # the usual case, cheaply
            text = line.decode("ascii")
            if text.isprintable():
                return text
        return _judged(line, rules)

    def _judge_unfinished(self, rules: LineRules) -> None:
        line = self._data[self._at :]
        if line.endswith(b"\r"):  # perhaps half of its CRLF
            line = line[:-1]
        fault = _fault_in_ends(line, rules.line_limit(line)) if line else None
        if fault is not None:
            self._swallowed = 0
            raise LineRefused(fault, line)

    def _swallow(self) -> bool:
        """Throws away the rest of a refused line; False when its CRLF has not come."""
        end = self._data.find(b"\r\n", self._at)
        if end >= 0:
            self._at = end + 2
            self._swallowed = None
            return True
        end = len(self._data) - self._data.endswith(b"\r", self._at)
        self._swallowed = (self._swallowed or 0) + end - self._at
        self._at = end
        if self._swallowed > SWALLOWED_LIMIT_OCTETS:
            raise LineEndless
        return False


def _judged(line: bytes, rules: LineRules) -> str:
    """The text of a whole line, if nothing is wrong with its ends, its length and its octets, in this order."""
    fault = _fault_in_ends(line, rules.line_limit(line))
    try:
        text = line.decode("utf-8" if rules.line_takes_utf8(line) else "ascii")
    except UnicodeDecodeError:
        text = "\0"
    if fault is None and _CONTROL.search(text):
        fault = reply.BAD_OCTET
    if fault is not None:
        raise LineRefused(fault, line)
    return text


def _fault_in_ends(line: bytes, limit: int) -> Reply | None:
    """What is wrong with a line as far as it is known: it holds no CRLF, so that any CR or LF in it is bare."""
    if b"\n" in line[: limit - 2] or b"\r" in line[: limit - 2]:
        return reply.BARE_LINE_END
    return reply.LINE_TOO_LONG if len(line) > limit - 2 else None
