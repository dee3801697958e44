"""Reading a server's replies from the stream (RFC 5321 §4.2, RFC 2034 §4).

Strict in what decides, bounded in everything: only CRLF ends a line, one reply has one code, and a peer that
never ends a line or a reply is found out after a fixed number of octets.  What is wrong raises ReplyFault; after
that nobody can say which reply belongs to which command, so the session is over.
"""

from __future__ import annotations

import re
from functools import lru_cache

from relay.message.reply import Reply

LINE_LIMIT_OCTETS = 2048  # the law's 512 (RFC 5321 §4.5.3.1.5) is exceeded by honest servers
LINES_LIMIT = 128
REPLY_LIMIT_OCTETS = 32 * 1024

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\r\n", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?:[ \t]+|\Z)")


class ReplyFault(Exception):
    """This is not a reply; ``str()`` says why.  What follows in the stream means nothing."""


class ReplyReader:
    """Cuts the stream into replies.  ``feed`` octets, then take replies until there is none."""

    __slots__ = ("_buffer", "_code", "_octets", "_start", "_texts")

    def __init__(self) -> None:
        self._buffer = b""
        self._start = 0
        self._code = 0
        self._octets = 0
        self._texts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Takes octets as they came, cut anywhere."""
        self._buffer = self._buffer[self._start :] + data if self._start < len(self._buffer) else data
        self._start = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come behind the last reply."""
        return self._start >= len(self._buffer) and not self._texts

    def next_reply(self) -> Reply | None:
        """The next whole reply, or None when more octets are needed.  Raises ReplyFault."""
        while True:
            end = self._buffer.find(b"\n", self._start)
            if end < 0:
                if len(self._buffer) - self._start > LINE_LIMIT_OCTETS:
                    raise ReplyFault("a reply line without an end")
                return None
            line = self._buffer[self._start : end + 1]
            self._start = end + 1
            if not self._texts and line[3:4] != b"-":
                return reply_of_line(line)
            if self._add(line):
                texts, self._texts = self._texts, []
                return _reply(self._code, texts)

    def _add(self, line: bytes) -> bool:
        """One line of a multi-line reply; True when it was the last."""
        code, goes_on, text = _parts(line)
        if self._texts and code != self._code:
            # RFC 5321 §4.2.1: the same code on each line.  Which of two is meant nobody can know.
            raise ReplyFault(f"a reply that begins with {self._code} and goes on with {code}")
        self._octets = self._octets + len(line) if self._texts else len(line)
        self._code = code
        self._texts.append(text)
        if len(self._texts) > LINES_LIMIT or self._octets > REPLY_LIMIT_OCTETS:
            raise ReplyFault("a reply without an end")
        return not goes_on


@lru_cache(maxsize=512)  # "250 2.1.0 Ok" comes a million times
def reply_of_line(line: bytes) -> Reply:
    """The reply that is this one line, CRLF included.  Raises ReplyFault."""
    code, _, text = _parts(line)
    return _reply(code, [text])


def _parts(line: bytes) -> tuple[int, bool, bytes]:
    if len(line) > LINE_LIMIT_OCTETS:
        raise ReplyFault("a reply line that is too long")
    match = _LINE.fullmatch(line)
    if match is None:
        if not line.endswith(b"\r\n"):
            # RFC 5321 §2.3.8: a lone LF ends no line, else text that a server echoes could pass for its next reply.
            raise ReplyFault("a reply line that ends without CRLF")
        raise ReplyFault(f"not a reply: {line[:60]!r}")
    return int(match[1]), match[2] == b"-", match[3] or b""


def _reply(code: int, texts: list[bytes]) -> Reply:
    lines = [text.decode("utf-8", "replace").rstrip("\r\n\t ") for text in texts]
    said = (*(f"{code}-{line}" for line in lines[:-1]), f"{code} {lines[-1]}")
    enhanced = ""
    if code // 100 != 3:
        enhanced = _enhanced_code(code, lines[0])
        if enhanced:
            lead = enhanced + " "
            lines = [line[len(lead) :] if line.startswith(lead) else "" if line == enhanced else line for line in lines]
    return Reply(code, enhanced, tuple(lines), said)


def _enhanced_code(code: int, line: str) -> str:
    """The enhanced code at the start of a line; empty without one, or when its class is another (RFC 2034 §4)."""
    match = _ENHANCED.match(line)
    if match is None or int(match[1]) != code // 100:
        return ""
    return f"{match[1]}.{int(match[2])}.{int(match[3])}"
