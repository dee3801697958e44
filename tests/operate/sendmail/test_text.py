"""Text as programs write it becomes content as SMTP wants it, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.operate.sendmail.text import Lines, body, fields, header_end


def read(data: bytes, cut: int, dot_ends: bool = True) -> bytes:
    lines = Lines(dot_ends)
    pieces = [lines.feed(data[at : at + cut]) for at in range(0, len(data), cut)]
    return b"".join([*pieces, lines.end()])


@pytest.mark.parametrize("cut", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\nb\n", b"a\nb\n"),
        (b"a\r\nb\r\n", b"a\nb\n"),
        (b"a\r\r\nb", b"a\nb"),
        (b"a\rb\n", b"a\rb\n"),
        (b"a\r", b"a\r"),
        (b"a\n.\nb\n", b"a\n"),
        (b"a\r\n.\r\nb\r\n", b"a\n"),
        (b".\nb\n", b""),
        (b"a\n.", b"a\n"),
        (b".", b""),
        (b"a\n..\nb.\n", b"a\n..\nb.\n"),
        (b"a.\n", b"a.\n"),
        (b"a\n.b\n", b"a\n.b\n"),
        (b"a\n.\r", b"a\n.\r"),
        (b"", b""),
    ],
)
def test_lines_end_and_so_does_the_text(data: bytes, text: bytes, cut: int) -> None:
    assert read(data, cut) == text


@pytest.mark.parametrize("cut", [1, 2, 5, 1000])
def test_a_dot_is_text_where_that_was_asked_for(cut: int) -> None:
    assert read(b"a\n.\nb\n.\n", cut, dot_ends=False) == b"a\n.\nb\n.\n"


@given(st.text(alphabet="a.\r\n", max_size=30), st.integers(1, 7), st.booleans())
def test_the_cut_makes_no_difference(text: str, cut: int, dot_ends: bool) -> None:
    data = text.encode()
    assert read(data, cut, dot_ends) == read(data, 1000, dot_ends)


@pytest.mark.parametrize(
    ("text", "header", "rest"),
    [
        (b"A: b\nC: d\n\nbody\n", b"A: b\nC: d\n", b"body\n"),
        (b"A: b\n\tmore\n\n", b"A: b\n\tmore\n", b""),
        (b"\nbody\n", b"", b"body\n"),
        (b"hello\nA: b\n", b"", b"hello\nA: b\n"),
        (b"A: b\nhello\n", b"A: b\n", b"hello\n"),
        (b" a: b\n", b"", b" a: b\n"),
        (b"From ann Thu Jan 1\nA: b\n\nx\n", b"From ann Thu Jan 1\nA: b\n", b"x\n"),
        (b"A: b\nFrom x\n", b"A: b\n", b"From x\n"),
    ],
)
def test_where_the_header_section_ends(text: bytes, header: bytes, rest: bytes) -> None:
    found = header_end(text)
    assert found is not None
    assert (text[: found[0]], text[found[1] :]) == (header, rest)


def test_what_may_go_on_is_not_over() -> None:
    for text in (b"", b"A: b", b"A: b\n", b"A: b\nC", b"hello"):
        assert header_end(text) is None
    assert header_end(b"A: b", is_all=True) == (4, 4)
    assert header_end(b"A: b\n", is_all=True) == (5, 5)
    assert header_end(b"hello", is_all=True) == (0, 0)
    assert header_end(b"A: b\nhello", is_all=True) == (5, 5)


def test_fields_keep_their_folding_and_a_bare_cr_begins_none() -> None:
    """A web form that keeps line feeds out of a subject, and not carriage returns, adds no recipients by -t."""
    header = b"From x\nSubject: a\rBcc: eve@example.org\n more\nTo: ann\n"
    assert fields(header) == [b"Subject: a Bcc: eve@example.org\n more", b"To: ann"]


def test_a_bare_cr_in_the_body_ends_a_line() -> None:
    assert body(b"10%\r20%\rdone\n") == b"10%\r\n20%\r\ndone\r\n"
