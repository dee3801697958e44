"""The two framings of a message's content, and what its line ends may be.

DATA  the content ends with CRLF.CRLF and nothing else; a dot that begins a line is taken away
      (RFC 5321 §4.5.2).  The CRLF of the DATA command counts as the first of these, so that ``.CRLF``
      alone is an empty message (§4.1.1.4).
BDAT  the content is counted (RFC 3030 §2).

Both give the content in pieces as large as it came, and a piece never ends between a CR and its LF.  The
rule that must not be broken: what ends the content is decided on the octets as they came, before anything
is taken away or mended, so that no setting can make an end of data where the client sent none
(CVE-2023-51764 and its kin).

NUL and lines longer than 1000 octets are content like any other: passed on as they came.
"""

from __future__ import annotations

import enum
import re

from relay.message.reply import Reply
from relay.smtp.lines import Unread

END_OF_DATA = b"\r\n.\r\n"
_BEGINNINGS = tuple((END_OF_DATA[:length], length) for length in (4, 3, 2, 1))
_DOT = ord(".")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class BareLineEnds(enum.Enum):
    """What becomes of content with a CR or LF that is not part of a CRLF."""

    REFUSE = "refuse"
    NORMALISE = "normalise"


class DotStuffed:
    """The content after DATA, up to CRLF.CRLF.

    ended       the end of data was read; what follows is left unread
    refusal     what will be said at the end instead of keeping the content, or None
    is_dotless  no line so far began with a dot
    """

    __slots__ = ("_held", "_started", "ended", "is_dotless", "refusal")

    last = True

    def __init__(self) -> None:
        self.ended = False
        self.is_dotless = True
        self.refusal: Reply | None = None
        self._held = END_OF_DATA[:2]  # stands for the CRLF of the DATA command
        self._started = False

    def take(self, unread: Unread) -> bytes:
        """The next piece of the content, dots unstuffed; empty when it is not known yet what it is."""
        data = unread.take()
        if not data:
            return data
        if not self._started and len(self._held) == 2 and data[0] != _DOT:
            self._started, self._held = True, b""  # that CRLF means something to a dot only
        if self._held:
            data = self._held + data
        first = data.find(b".")  # an attachment has none, and this search is by far the fastest
        dot = data.find(b"\r\n.", max(0, first - 2)) if first >= 0 else -1  # for most content this is the end
        end = data.find(END_OF_DATA, dot) if dot >= 0 else -1
        if end >= 0:
            self.ended = True
            unread.give_back(data, end + len(END_OF_DATA))
            piece = data[: end + 2]
        else:
            held = _could_begin_the_end(data)
            self._held = data[len(data) - held :]
            piece = data[: len(data) - held]
        if dot != end and dot < len(piece):
            # END_OF_DATA itself is not in it, so each CRLF. here begins a line that has more than the dot.
            self.is_dotless = False
            piece = piece.replace(b"\r\n.", b"\r\n")
        if piece and not self._started:
            self._started = True
            return piece[2:]
        return piece


class Chunk:
    """The content of one BDAT command.

    last     LAST was said
    size     octets by the command
    held     a CR at the end of a chunk, whose LF may come with the next one
    ended    all octets were read
    refusal  as in DotStuffed
    """

    __slots__ = ("_remaining", "ended", "held", "last", "refusal", "size")

    is_dotless = False  # nobody looks

    def __init__(self, size: int, last: bool, held: bytes = b"") -> None:
        self.size = size
        self.last = last
        self.held = held
        self.ended = False
        self.refusal: Reply | None = None
        self._remaining = size

    def take(self, unread: Unread) -> bytes:
        """The next piece of the content."""
        data = unread.take(self._remaining)
        self._remaining -= len(data)
        self.ended = self._remaining == 0
        if self.held:
            data, self.held = self.held + data, b""
        if data.endswith(b"\r") and not (self.ended and self.last):
            data, self.held = data[:-1], b"\r"
        return data


def _could_begin_the_end(data: bytes) -> int:
    """How many octets at the end of ``data`` may be the beginning of END_OF_DATA."""
    for beginning, length in _BEGINNINGS:
        if data.endswith(beginning):
            return length
    return 0


def with_whole_line_ends(piece: bytes) -> bytes:
    """The same with CRLF for each bare CR or LF."""
    return _BARE.sub(b"\r\n", piece)
