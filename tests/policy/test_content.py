"""What the content decides: the header section, however it is cut."""

from __future__ import annotations

import pytest

from relay.message.address import Address
from relay.policy.content import ContentLimits, HeaderWatch
from relay.policy.policy import Policy, PolicySettings

HEADER = b"Received: from a by b; x\r\nReceived: from c\r\n by d; y\r\nSubject: hi\r\nmessage-id: <1@x.example>"
LIMIT = 1000


def watched(content: bytes, cut: int = 0, limit: int = LIMIT) -> HeaderWatch:
    watch = HeaderWatch(limit)
    for start in range(0, len(content), cut or len(content) or 1):
        watch.feed(content[start : start + (cut or len(content))])
    return watch


cuts = pytest.mark.parametrize("cut", [0, 1, 5])


@cuts
def test_the_header_section_ends_at_the_first_empty_line(cut: int) -> None:
    watch = watched(HEADER + b"\r\n\r\nReceived: in the body\r\n\r\n", cut)
    assert watch.header == HEADER
    assert watch.message_id == "<1@x.example>"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b"MESSAGE-ID: <1@x.example>", "<1@x.example>"),
        (b"X-Message-ID: <no@x.example>\r\nMessage-Id : <1@x.example>", "<1@x.example>"),
        (b"Subject: message-id: <no@x.example>", ""),
        (b"Subject: none", ""),
    ],
)
def test_the_message_id_is_that_of_the_field(header: bytes, name: str) -> None:
    watch = HeaderWatch(1000)
    watch.feed(header + b"\r\n\r\ntext")
    assert watch.message_id == name


@cuts
def test_a_content_without_header_section_is_text(cut: int) -> None:
    """The document's first dialogue sends no header section: our trace fields must not make one of its first line."""
    watch = watched(b"Blah blah blah...\r\n...etc. etc. etc.\r\n", cut)
    assert watch.separator == b"\r\n"


@cuts
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"\r\nbody\r\n",
        b"Subject: x\r\n",
        b"Subject: x\r\n\r\n",
        b"From ann Thu\r\nSubject: x\r\n\r\n",
        b">From ann\r\nX: y\r\n\r\n",
    ],
)
def test_what_begins_with_a_header_section_needs_no_separator(content: bytes, cut: int) -> None:
    assert watched(content, cut).separator == b""


@cuts
def test_an_empty_header_section_is_empty(cut: int) -> None:
    assert watched(b"\r\nReceived: x\r\n\r\n", cut).header == b""


def verdict_of(content: bytes, cut: int = 0, hops: int = 3, limit: int = LIMIT) -> str:
    policy = Policy(PolicySettings(content=ContentLimits(hops, limit)))
    return str(policy.content(watched(content, cut, limit)).reply)


@cuts
def test_too_many_hops_are_a_loop(cut: int) -> None:
    """RFC 5321 §6.3."""
    hop = b"received : from a by b; x\r\n"
    assert verdict_of(hop * 3 + b"\r\nbody", cut).startswith("250")
    assert verdict_of(hop * 4 + b"\r\nbody", cut).startswith("554 5.4.6")


def test_hops_in_the_body_do_not_count() -> None:
    assert verdict_of(b"Subject: x\r\n\r\n" + b"Received: from a\r\n" * 60).startswith("250")


@cuts
def test_a_header_section_over_the_limit_is_refused(cut: int) -> None:
    field = b"X-Filler: " + b"a" * 38 + b"\r\n"
    assert verdict_of(field * 20 + b"\r\nbody", cut).startswith("250")
    assert verdict_of(field * 20 + b"\r\n" + b"body\r\n" * 1000, cut).startswith("250")
    assert verdict_of(field * 21 + b"\r\nbody", cut).startswith("552 5.3.4")
    assert verdict_of(b"X: " + b"a" * 2000, cut).startswith("552 5.3.4")
    assert verdict_of(b"X: a\r\n" + b" fold\r\n" * 2000, cut).startswith("552 5.3.4")


@cuts
def test_long_text_without_an_empty_line_is_no_header_section(cut: int) -> None:
    assert verdict_of(b"just text\r\n" * 500, cut).startswith("250")
    assert watched(b"just text\r\n" * 500, cut).separator == b"\r\n"
    assert verdict_of(b"Subject: x\r\njust text\r\n" + b"and more\r\n" * 500, cut).startswith("250")


def test_no_more_than_the_limit_is_kept() -> None:
    watch = HeaderWatch(LIMIT)
    for _ in range(10_000):
        watch.feed(b"X: y\r\n")
        assert len(watch.header) <= LIMIT + 4


@cuts
def test_a_submission_gets_what_it_lacks(cut: int) -> None:
    """RFC 6409 §8."""
    added = watched(b"Subject: x\r\n\r\nbody", cut).missing("42", "h.example", "DATE", Address("ann", "x.example"))
    assert added == b"Date: DATE\r\nFrom: <ann@x.example>\r\nMessage-ID: <42@h.example>\r\n"


def test_a_submission_keeps_what_it_has() -> None:
    watch = watched(b"DATE: x\r\nfrom : ann\r\nMessage-Id: <1@x>\r\n\r\nbody")
    assert watch.missing("42", "h.example", "DATE", None) == b""


def test_what_stands_in_another_field_does_not_count_as_a_field() -> None:
    watch = watched(b"Subject: Date: x\r\n From: y\r\nX-Date: z\r\n\r\nDate: body")
    assert watch.missing("42", "h.example", "DATE", None).count(b"\r\n") == 3


def test_the_null_sender_gets_a_from_of_ours() -> None:
    assert b"From: <MAILER-DAEMON@h.example>\r\n" in watched(b"\r\n").missing("42", "h.example", "DATE", None)
