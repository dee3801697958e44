"""The framing of content: what ends it, what is taken away, and what never changes with the cut of the stream."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message.transfer import has_bare_line_ends
from relay.smtp.data import END_OF_DATA, Chunk, DotStuffed, with_whole_line_ends
from relay.smtp.lines import Unread

# Pieces that framing cares about come often, so that short streams hit every corner.
octets = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"\0", b" ", b"\xff"]), max_size=30
).map(b"".join)
cuts = st.lists(st.integers(0, 100), max_size=6)


def pieces_of(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[one:other] for one, other in pairwise(places)]


def by_definition(stream: bytes) -> tuple[bytes, bytes] | None:
    """RFC 5321 §4.5.2 word for word: the content and what follows it; None while there is no end."""
    content = b""
    while b"\r\n" in stream:
        line, _, stream = stream.partition(b"\r\n")
        if line == b".":
            return content, stream
        content += (line[1:] if line.startswith(b".") else line) + b"\r\n"
    return None


def unframed(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    framing, unread, content, rest = DotStuffed(), Unread(), b"", b""
    for piece in pieces:
        if framing.ended:
            rest += piece
            continue
        unread.add(piece)
        taken = framing.take(unread)
        assert not (content.endswith(b"\r") and taken.startswith(b"\n")), "a CRLF was cut in two"
        content += taken
        if framing.ended:
            rest = unread.take()
    return (content, rest) if framing.ended else None


@given(octets, cuts)
def test_framing_is_what_the_law_says_at_every_cut(stream: bytes, at: list[int]) -> None:
    assert unframed(pieces_of(stream, at)) == by_definition(stream)


@given(octets)
def test_framing_cut_by_one(stream: bytes) -> None:
    assert unframed([stream[at : at + 1] for at in range(len(stream))]) == by_definition(stream)


@given(octets, octets, cuts)
def test_what_is_stuffed_comes_out_as_it_was(content: bytes, rest: bytes, at: list[int]) -> None:
    content += b"\r\n"
    stuffed = re.sub(rb"(\A|\r\n)\.", rb"\1..", content)
    assert unframed(pieces_of(stuffed + b".\r\n" + rest, at)) == (content, rest)


ENDS_OF_OTHERS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\r\n.\0\r\n",
    b"\r\n\0.\r\n",
    b"\0\r\n\0.\0\r\n",
    b"\n\n.\r\n\r",
]


@pytest.mark.parametrize("end", ENDS_OF_OTHERS)
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 1000])
def test_no_other_end_of_data_ends_the_data(end: bytes, cut: int) -> None:
    """CVE-2023-51764, -51765, -51766, CVE-2024-27305: what one host takes for the end and another does not
    smuggles a second message."""
    stream = b"before" + end + b"MAIL FROM:<evil@bar.com>\r\n.\r\nNOOP\r\n"
    found = unframed([stream[at : at + cut] for at in range(0, len(stream), cut)])
    assert found is not None
    assert found[0].endswith(b"MAIL FROM:<evil@bar.com>\r\n")
    assert found[1] == b"NOOP\r\n"


def test_a_dot_right_after_data_is_an_empty_message() -> None:
    """RFC 5321 §4.1.1.4: the CRLF of the DATA command is the first half of the end of data."""
    for cut in (1, 2, 3):
        assert unframed([b".\r\nQUIT"[at : at + cut] for at in range(0, 7, cut)]) == (b"", b"QUIT")


def test_a_large_message_in_one_segment_is_one_piece() -> None:
    """No loop over lines: a piece is as large as what came."""
    framing, unread = DotStuffed(), Unread()
    content = (b"x" * 78 + b"\r\n") * 800
    unread.add(content + b".\r\n")
    assert framing.take(unread) == content
    assert framing.ended


@given(octets)
def test_bare_line_ends_are_found_and_mended(content: bytes) -> None:
    """RFC 5321 §2.3.8; mending gives CRLF for each and touches nothing else."""
    assert has_bare_line_ends(content) == bool(re.search(rb"\r(?!\n)|(?<!\r)\n", content))
    mended = with_whole_line_ends(content)
    assert not has_bare_line_ends(mended)
    assert mended.replace(b"\r\n", b"\n") == content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


@given(octets, cuts)
def test_mending_piece_by_piece_is_mending_the_whole(stream: bytes, at: list[int]) -> None:
    """No piece ends between CR and LF, so that no line end is taken for two."""
    framing, unread, mended = DotStuffed(), Unread(), b""
    for piece in pieces_of(stream.replace(END_OF_DATA, b"") + b"\r\n.\r\n", at):
        unread.add(piece)
        mended += with_whole_line_ends(framing.take(unread))
        if framing.ended:
            break
    whole = by_definition(stream.replace(END_OF_DATA, b"") + b"\r\n.\r\n")
    assert whole is not None
    assert mended == with_whole_line_ends(whole[0])


@given(octets, cuts, cuts)
def test_chunks_give_the_octets_as_they_came(content: bytes, chunked_at: list[int], at: list[int]) -> None:
    """RFC 3030 §2: counted, nothing taken away; only a CR waits for what may be its LF."""
    chunks = [*pieces_of(content, chunked_at), b""]
    held, found = b"", b""
    for number, octets_of_chunk in enumerate(chunks):
        chunk, unread = Chunk(len(octets_of_chunk), number == len(chunks) - 1, held), Unread()
        for piece in [*pieces_of(octets_of_chunk, at), b""]:
            unread.add(piece)
            taken = chunk.take(unread)
            assert not (found.endswith(b"\r") and taken.startswith(b"\n")), "a CRLF was cut in two"
            found += taken
        assert chunk.ended and not unread
        held = chunk.held
    assert found == content


def test_a_chunk_takes_no_more_than_its_size() -> None:
    chunk, unread = Chunk(3, False), Unread()
    unread.add(b"abcNOOP\r\n")
    assert chunk.take(unread) == b"abc"
    assert chunk.ended and unread.take() == b"NOOP\r\n"
