"""Text as a program writes it, made content as SMTP wants it: lines that end with CRLF, and where the end is.

A CR alone is a blank in the header section, where it must begin no new field (whoever fills in a subject may have put
it there), and a line end in the body, as progress bars mean it.
"""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r*\n")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


class Lines:
    """Cuts input of any cut into whole lines with LF, and finds its end.

    is_over  a line of one dot has come; what follows is not looked at
    """

    def __init__(self, dot_ends: bool) -> None:
        self._dot_ends = dot_ends
        self._kept = b""
        self._is_at_start = True
        self.is_over = False

    def feed(self, data: bytes) -> bytes:
        """What is known of the text by now, LF at line ends."""
        if self.is_over:
            return b""
        data = self._kept + data
        held = len(data) - len(data.rstrip(b"\r"))  # they may belong to a line end
        data, self._kept = (data[:-held], data[-held:]) if held else (data, b"")
        return self._until_the_dot(_LINE_END.sub(b"\n", data))

    def end(self) -> bytes:
        """The rest, when there is no more."""
        rest, self._kept = self._kept, b""
        return b"" if self.is_over or (rest == b"." and self._dot_ends and self._is_at_start) else rest

    def _until_the_dot(self, text: bytes) -> bytes:
        if not self._dot_ends or not text:
            return text
        end = 0 if self._is_at_start and text.startswith(b".\n") else text.find(b"\n.\n") + 1 or -1
        if end >= 0:
            self.is_over = True
            return text[:end]
        if text.endswith(b"\n.") or (text == b"." and self._is_at_start):  # perhaps the line ends there
            text, self._kept = text[:-1], b"." + self._kept
        self._is_at_start = text.endswith(b"\n") or (not text and self._is_at_start)
        return text


def header_end(text: bytes, is_all: bool = False) -> tuple[int, int] | None:
    """Where the header section ends, and where the body begins: an empty line between is in neither.

    is_all  there is no more: the last line may lack its end
    None when it is not known yet.  The separator line of an mbox in front counts as a field; ``fields`` passes it over.
    """
    at = 0
    while at < len(text) and ((end := text.find(b"\n", at)) >= 0 or is_all):
        line = text[at:end] if end >= 0 else text[at:]
        if not line:
            return at, at + 1
        is_mbox_line = not at and line.startswith((b"From ", b">From "))
        if not (is_mbox_line or _FIELD.match(line) or (at and line[:1] in (b" ", b"\t"))):
            return at, at
        at += len(line) + 1
    return (len(text), len(text)) if is_all else None


def fields(header: bytes) -> list[bytes]:
    """The fields of a header section, each with its folding, without its last line end."""
    found: list[bytes] = []
    for line in header.replace(b"\r", b" ").split(b"\n"):
        if line[:1] in (b" ", b"\t") and found:
            found[-1] += b"\n" + line
        elif _FIELD.match(line):
            found.append(line)
    return found


def body(text: bytes) -> bytes:
    """A piece of the body with CRLF at line ends."""
    return text.replace(b"\r", b"\n").replace(b"\n", b"\r\n")
