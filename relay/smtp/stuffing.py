"""Dots on the way out (RFC 5321 §4.5.2): exact wherever the content is cut into pieces.

Only CRLF begins a line.  A CR or LF that stands alone is refused: some peer down the road would take
it for a line end, and a dot behind it for the end of the message (what is known as SMTP smuggling).
Such content is binary (RFC 3030), and goes out by BDAT or after conversion.
"""

from __future__ import annotations

from relay.message.transfer import PlainLines, has_bare_line_ends


class StrayLineEnd(ValueError):
    """The content holds a CR or LF that is not part of a CRLF.  Never send the final dot; close the connection."""


class DotStuffing:
    """Doubles the dot at the start of each line, across the borders of pieces too."""

    __slots__ = ("_after_cr", "_at_line_start")

    def __init__(self) -> None:
        self._at_line_start = True
        self._after_cr = False

    def stuff(self, piece: bytes) -> bytes:
        """The piece as it goes out.  Raises StrayLineEnd."""
        if not piece:
            return piece
        if type(piece) is PlainLines and not self._after_cr:
            self._at_line_start = piece.endswith(b"\n")
            return piece
        if self._after_cr:  # the CR went out with the piece before; this must be its LF
            if piece[0] != 10:
                raise StrayLineEnd
            self._after_cr, self._at_line_start = False, True
            return b"\n" + self.stuff(piece[1:])
        self._after_cr = piece.endswith(b"\r")
        if has_bare_line_ends(piece[:-1] if self._after_cr else piece):
            raise StrayLineEnd
        stuffed = piece.replace(b"\r\n.", b"\r\n..")  # the piece itself when there is none
        if self._at_line_start and piece[0] == 46:
            stuffed = b"." + stuffed
        self._at_line_start = piece.endswith(b"\n")
        return stuffed

    def end(self) -> bytes:
        """The end of data, with a CRLF before it when the content has none.  Raises StrayLineEnd."""
        if self._after_cr:
            raise StrayLineEnd
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"
