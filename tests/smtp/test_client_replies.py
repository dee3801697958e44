"""Replies as they come: cut anywhere, dressed up, and never ending."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message.reply import Reply
from relay.smtp.offer import Offer, offer_of
from relay.smtp.replies import LINE_LIMIT_OCTETS, LINES_LIMIT, REPLY_LIMIT_OCTETS, ReplyFault, ReplyReader

CUTS = (0, 1, 5)


def read(stream: bytes, cut: int = 0) -> list[Reply]:
    """All replies in the stream.  Raises ReplyFault."""
    reader, replies = ReplyReader(), []
    step = cut or len(stream)
    for start in range(0, len(stream), step):
        reader.feed(stream[start : start + step])
        while (reply := reader.next_reply()) is not None:
            replies.append(reply)
    return replies


@pytest.mark.parametrize("cut", CUTS)
def test_replies_are_read_at_every_cut(cut: int) -> None:
    """RFC 5321 §4.2."""
    replies = read(b"220 hop\r\n250-one\r\n250-two\r\n250 three\r\n354 go\r\n250\r\n", cut)
    assert [(reply.code, reply.lines) for reply in replies] == [
        (220, ("hop",)),
        (250, ("one", "two", "three")),
        (354, ("go",)),
        (250, ("",)),
    ]


@given(st.data())
def test_where_the_stream_is_cut_makes_no_difference(data: st.DataObject) -> None:
    stream = b"250-2.1.0 a\r\n250 2.1.0 b\r\n550-5.1.1 No\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n421 bye\r\n"
    reader, replies = ReplyReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
        while (reply := reader.next_reply()) is not None:
            replies.append(str(reply))
    assert replies == ["250 2.1.0 a / b", "550 5.1.1 No / such / user", "421 bye"]


@pytest.mark.parametrize(
    ("line", "enhanced", "text"),
    [
        (b"550 5.1.1 No such user", "5.1.1", "No such user"),
        (b"550 No such user", "", "No such user"),
        (b"450 try later", "", "try later"),
        (b"550 4.7.1 of another class", "", "4.7.1 of another class"),
        (b"450 5.1.1 of another class", "", "5.1.1 of another class"),
        (b"250 2.0.0", "2.0.0", ""),
        (b"550 5.1.1000 too long a number", "", "5.1.1000 too long a number"),
        (b"550 5.1.1: no space", "", "5.1.1: no space"),
        (b"354 3.0.0 go", "", "3.0.0 go"),
    ],
)
def test_an_enhanced_code_is_believed_when_its_class_is_right(line: bytes, enhanced: str, text: str) -> None:
    """RFC 2034 §4: its class is that of the reply."""
    (reply,) = read(line + b"\r\n")
    assert (reply.enhanced, reply.lines[0]) == (enhanced, text)


def test_what_was_said_is_kept_as_it_came() -> None:
    """RFC 3461 §9.2: a report transcribes it; the enhanced code is taken off for us alone."""
    reader = ReplyReader()
    reader.feed(b"550-5.1.1 no such\r\n550-user\r\n550 5.1.1 here\r\n550 5.01.1\tzero\x1b\r\n550\r\n")
    said = [reader.next_reply().said for _ in range(3)]
    assert said == [("550-5.1.1 no such", "550-user", "550 5.1.1 here"), ("550 5.01.1?zero?",), ("550 ",)]


def test_an_enhanced_code_is_never_that_of_the_reply_before() -> None:
    """A client that kept the last one reported a new failure under an old name."""
    first, second = read(b"550 5.1.1 unknown\r\n554 no\r\n")
    assert (first.enhanced, second.enhanced) == ("5.1.1", "")


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    "stream",
    [
        b"hello\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"150 wait\r\n",
        b"650 what\r\n",
        b"250ok\r\n",
        b"250\tok\r\n",
        b"\r\n",
        b" 250 ok\r\n",
        b"\x00250 ok\r\n",
        b"250 ok\n",
        b"250-one\r\n550 two\r\n",
        b"250-one\r\nhello\r\n",
        b"250-one\r\n250 two\n",
        b"250 one\r\r\n\n",
    ],
)
def test_what_is_no_reply_is_a_fault(stream: bytes, cut: int) -> None:
    """RFC 5321 §4.2.1, §2.3.8: one code a reply, CRLF at the end of each line."""
    with pytest.raises(ReplyFault):
        read(stream, cut)


def test_a_lone_lf_does_not_begin_another_reply() -> None:
    """A server that echoes what it was sent must not be made to say yes to the next command."""
    with pytest.raises(ReplyFault):
        read(b"550 <evil\n250 ok>\r\n")


@pytest.mark.parametrize("cut", CUTS)
def test_nul_and_control_characters_do_not_reach_the_log(cut: int) -> None:
    (reply,) = read(b"550 5.1.1 a\x00b\x1b[31mc\rd \xff\r\n", cut)
    assert reply.lines == ("a?b?[31mc?d \N{REPLACEMENT CHARACTER}",)


@pytest.mark.parametrize("size", [1, 5, 4096])
def test_a_line_without_an_end_is_found_out(size: int) -> None:
    reader, fed = ReplyReader(), 0
    with pytest.raises(ReplyFault):
        while fed < 10 * LINE_LIMIT_OCTETS:
            reader.feed(b"2" * size)
            fed += size
            reader.next_reply()
    assert fed <= LINE_LIMIT_OCTETS + size


def test_a_reply_without_an_end_is_found_out() -> None:
    """An endless multi-line reply is the cheapest way to fill a client's memory."""
    reader = ReplyReader()
    with pytest.raises(ReplyFault):
        for _ in range(LINES_LIMIT + 1):
            reader.feed(b"250-more\r\n")
            assert reader.next_reply() is None


def test_a_reply_that_is_too_large_is_found_out() -> None:
    line = b"250-" + b"x" * 2000 + b"\r\n"
    with pytest.raises(ReplyFault):
        read(line * (REPLY_LIMIT_OCTETS // len(line) + 1))


def test_an_offer_is_read_in_any_case_and_order() -> None:
    """RFC 5321 §2.4: keywords are the same in upper and lower case."""
    (reply,) = read(
        b"250-hop\r\n250-pipelining\r\n250-Size 1000\r\n250-8bitmime\r\n250-dsn\r\n250-SmtpUtf8\r\n250-StartTLS\r\n"
        b"250-AUTH=login\r\n250-auth PLAIN Cram-MD5\r\n250-chunking\r\n250-binarymime\r\n"
        b"250 limits MAILMAX=5 rcptmax=20 rcptdomainmax=1\r\n"
    )
    assert offer_of(reply) == Offer(
        pipelining=True,
        size=1000,
        eightbitmime=True,
        binarymime=True,
        chunking=True,
        smtputf8=True,
        dsn=True,
        starttls=True,
        auth=frozenset(("LOGIN", "PLAIN", "CRAM-MD5")),
        rcpt_max=20,
        mail_max=5,
    )


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("SIZE", 0),
        ("SIZE 0", 0),
        ("SIZE x", 0),
        ("SIZE -1", 0),
        ("SIZE " + "9" * 30, 0),
        ("SIZE 123", 123),
        ("X", None),
    ],
)
def test_a_size_that_makes_no_sense_is_no_limit(line: str, size: int | None) -> None:
    assert offer_of(Reply(250, "", ("hop", line))).size == size


def test_the_first_line_of_an_offer_is_a_name() -> None:
    """A host called PIPELINING offers nothing by that."""
    assert offer_of(Reply(250, "", ("PIPELINING", "  ", ""))) == Offer()


def test_binarymime_needs_chunking() -> None:
    """RFC 3030 §3."""
    assert not offer_of(Reply(250, "", ("hop", "BINARYMIME"))).binarymime


def test_smtputf8_needs_8bitmime() -> None:
    """RFC 6531 §3.1."""
    assert not offer_of(Reply(250, "", ("hop", "SMTPUTF8"))).smtputf8
    assert offer_of(Reply(250, "", ("hop", "SMTPUTF8", "8BITMIME"))).smtputf8
