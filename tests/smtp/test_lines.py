"""Command lines: only CRLF ends one, its length is bounded, and the cut of the stream does not matter."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message import reply
from relay.message.reply import Reply
from relay.smtp.lines import LineEndless, LineRefused, Unread


class Rules:
    """MAIL may have 600 octets and UTF-8, any other line 512 octets."""

    def line_limit(self, line: bytes) -> int:
        return 600 if line[:4] == b"MAIL" else 512

    def line_takes_utf8(self, line: bytes) -> bool:
        return line[:4] == b"MAIL"


def read(pieces: list[bytes]) -> list[str | Reply]:
    """The lines and faults in these pieces."""
    unread, found = Unread(), list[str | Reply]()
    for piece in pieces:
        unread.add(piece)
        while True:
            try:
                line = unread.command_line(Rules())
            except LineRefused as refused:
                found.append(refused.reply)
                continue
            if line is None:
                break
            found.append(line)
        assert len(unread) <= 601, "no more is kept than the longest line"
    return found


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[one:other] for one, other in pairwise(places)]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"NOOP\r\n", ["NOOP"]),
        (b"\r\n", [""]),
        (b"NOOP\r\nQUIT\r\n", ["NOOP", "QUIT"]),
        (b"NOOP\r", []),
        (b"NOOP\n", [reply.BARE_LINE_END]),
        (b"NOOP\nQUIT\r\nNOOP\r\n", [reply.BARE_LINE_END, "NOOP"]),
        (b"NOOP\rQUIT\r\nNOOP\r\n", [reply.BARE_LINE_END, "NOOP"]),
        (b"NOOP\r\r\n", [reply.BARE_LINE_END]),
        (b"\n\r\n", [reply.BARE_LINE_END]),
        (b"x" * 510 + b"\r\n", ["x" * 510]),
        (b"x" * 511 + b"\r\n", [reply.LINE_TOO_LONG]),
        (b"x" * 511, [reply.LINE_TOO_LONG]),
        (b"x" * 510 + b"\r", []),
        (b"x" * 1000 + b"\n" + b"y" * 1000 + b"\r\nNOOP\r\n", [reply.LINE_TOO_LONG, "NOOP"]),
        (b"MAIL" + b"x" * 594 + b"\r\n", ["MAIL" + "x" * 594]),
        (b"NO\0OP\r\n", [reply.BAD_OCTET]),
        (b"NO\x1bOP\r\n", [reply.BAD_OCTET]),
        (b"NOOP \xe4\r\n", [reply.BAD_OCTET]),
        (b"NOOP \xc3\xa4\r\n", [reply.BAD_OCTET]),
        (b"MAIL \xc3\xa4\r\n", ["MAIL ä"]),
        (b"MAIL \xc3\r\n", [reply.BAD_OCTET]),
        (b"MAIL \xc2\x85\r\n", [reply.BAD_OCTET]),
        (b"NOOP\t\r\n", ["NOOP\t"]),
    ],
)
def test_what_a_line_is(data: bytes, found: list[str | Reply]) -> None:
    """RFC 5321 §2.3.8, §4.5.3.1.4; RFC 6531 §3.1 for UTF-8."""
    assert read([data]) == found
    assert read([data[at : at + 1] for at in range(len(data))]) == found
    assert read([data[at : at + 5] for at in range(0, len(data), 5)]) == found


octets = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"MAIL", b"x", b"\0", b"\xc3\xa4", b"\xff", b" ", b"x" * 200]), max_size=40
).map(b"".join)


@given(octets, st.lists(st.integers(0, 4000), max_size=8))
def test_the_cut_does_not_matter(data: bytes, at: list[int]) -> None:
    assert read(cut(data, at)) == read([data])


def test_a_line_that_never_ends_is_not_followed_for_ever() -> None:
    """Scar: discarding without bound (Postfix 20260529) keeps a session and a core busy."""
    unread = Unread()
    unread.add(b"x" * 1000)
    with pytest.raises(LineRefused):
        unread.command_line(Rules())
    with pytest.raises(LineEndless):
        for _ in range(1000):
            unread.add(b"x" * 1000)
            assert unread.command_line(Rules()) is None
            assert len(unread) == 0
