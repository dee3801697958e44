"""Dots on the way out: exact at every cut, and no line end that some peer could misread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message.transfer import PlainLines
from relay.smtp.stuffing import DotStuffing, StrayLineEnd

CUTS = (0, 1, 5)


def stuffed(content: bytes, cut: int = 0) -> bytes:
    stuffing = DotStuffing()
    step = cut or max(len(content), 1)
    pieces = [stuffing.stuff(content[start : start + step]) for start in range(0, len(content), step)]
    return b"".join(pieces) + stuffing.end()


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"hi\r\n", b"hi\r\n.\r\n"),
        (b"hi", b"hi\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..\r\n", b"...\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r\n.b\r\n..c\r\n.", b"a\r\n..b\r\n...c\r\n..\r\n.\r\n"),
        (b"\r\n\r\n.\r\n.\r\n", b"\r\n\r\n..\r\n..\r\n.\r\n"),
        (b"a.\r\nb.c\r\n", b"a.\r\nb.c\r\n.\r\n"),
        (b"\x00.\xff\r\n", b"\x00.\xff\r\n.\r\n"),
    ],
)
def test_dots_are_doubled_at_the_start_of_lines_only(content: bytes, wire: bytes, cut: int) -> None:
    """RFC 5321 §4.5.2."""
    assert stuffed(content, cut) == wire


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    "stray", [b"a\n.\r\nb", b"a\r.\r\nb", b"a\n.\nb", b"a\r\r\n.b", b"\n", b"\r", b"a\r\n\n.", b"a\r"]
)
def test_a_stray_line_end_never_goes_out(stray: bytes, cut: int) -> None:
    """CVE-2023-51764 and its kin: what is no line end here is one for some peer down the road."""
    with pytest.raises(StrayLineEnd):
        stuffed(stray, cut)


@pytest.mark.parametrize("at", range(12))
def test_plain_lines_go_out_as_they_are_wherever_they_are_cut(at: int) -> None:
    """Between a CR and its LF too, and before a dot that begins no line."""
    content = b"a\r\nb.c\r\n\r\nd"
    stuffing = DotStuffing()
    pieces = [PlainLines(content[:at]), PlainLines(content[at:])]
    assert [stuffing.stuff(b"Received: here\r\n"), *map(stuffing.stuff, pieces)][1:] == pieces
    assert stuffing.end() == b"\r\n.\r\n"


def test_what_is_not_known_to_be_plain_is_looked_at_though_plain_lines_were_before_it() -> None:
    stuffing = DotStuffing()
    stuffing.stuff(PlainLines(b"a\r\n"))
    assert stuffing.stuff(b".b\r\n") == b"..b\r\n"


line = st.text(alphabet=st.sampled_from(". a"), max_size=4).map(str.encode)


@given(st.lists(line, max_size=8), st.booleans(), st.data())
def test_the_receiver_gets_back_what_was_sent(lines: list[bytes], ends: bool, data: st.DataObject) -> None:
    """Whatever the cut: one end of data, at the end, and every line as it was."""
    content = b"\r\n".join(lines) + (b"\r\n" if ends else b"")
    stuffing, wire, rest = DotStuffing(), b"", content
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        wire += stuffing.stuff(rest[:size])
        rest = rest[size:]
    wire += stuffing.end()
    assert (b"\r\n" + wire).find(b"\r\n.\r\n") == len(wire) - 3
    received = [each.removeprefix(b".") for each in wire[:-3].split(b"\r\n")[:-1]]
    whole = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    assert b"".join(each + b"\r\n" for each in received) == whole
