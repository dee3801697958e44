"""Replies (RFC 5321 §4.2, §4.5.3.1.5; RFC 2034; RFC 3463): well formed whatever is said, our own trouble always 4yz."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message import reply as replies
from relay.message.reply import LOCAL_ERROR, Reply, printable, reply

OURS = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}
WIRE = re.compile(rb"(?:(\d{3})-[^\r\n]*\r\n)*(\d{3}) [^\r\n]*\r\n")


@pytest.mark.parametrize("name", OURS)
def test_every_reply_of_ours_has_an_enhanced_code_of_its_class(name: str) -> None:
    """RFC 2034 §4: the class of the enhanced code is the first digit; only 3yz has none."""
    ours = OURS[name]
    assert ours.lines and ours.wire.isascii()
    if ours.code // 100 == 3:
        assert ours.enhanced == ""
    else:
        assert re.fullmatch(rf"{ours.code // 100}\.[0-7]\.\d{{1,3}}", ours.enhanced)


@pytest.mark.parametrize("make", [replies.greeting, replies.closing, replies.shutting_down, replies.timed_out])
def test_a_reply_that_opens_or_closes_names_the_host(make) -> None:
    """RFC 5321 §4.2: 220, 221 and 421 begin with the domain."""
    assert make("gateway.example").lines[0].startswith("gateway.example ")


def test_our_own_trouble_is_temporary() -> None:
    """A 5yz would make the sender bounce, and mail would be lost for our mistake."""
    assert all(OURS[name].is_temporary for name in ("LOCAL_ERROR", "NO_SPACE", "TOO_MANY_RECIPIENTS", "MAILBOX_BUSY"))


def test_several_lines_are_one_reply() -> None:
    """RFC 5321 §4.2.1, RFC 2034 §4: code and enhanced code on each line."""
    assert reply(250, "2.0.0", "one", "two").wire == b"250-2.0.0 one\r\n250 2.0.0 two\r\n"
    assert reply(354, "", "go").wire == b"354 go\r\n"


def test_the_same_codes_with_other_words() -> None:
    said = LOCAL_ERROR.saying("try later")
    assert (said.code, said.enhanced, said.wire) == (451, "4.3.0", b"451 4.3.0 try later\r\n")


def test_a_reply_as_text() -> None:
    assert str(reply(550, "5.1.1", "no", "really")) == "550 5.1.1 no / really"
    assert str(reply(250, "", "")) == "250"


@given(st.integers(200, 599), st.sampled_from(["", "5.1.1"]), st.lists(st.text(max_size=700), min_size=1, max_size=4))
def test_nothing_said_breaks_a_reply(code: int, enhanced: str, lines: list[str]) -> None:
    """Words of a peer, a resolver or an address stand in replies; none ends a line, none makes it longer than 512."""
    said = reply(code, enhanced, *lines)
    for wire in (said.wire, said.encode("utf-8")):
        assert WIRE.fullmatch(wire)
        assert wire.count(b"\r\n") == len(lines)
        assert max(map(len, wire.splitlines(keepends=True))) <= 512
        wire.decode("utf-8")
    assert said.wire.isascii()
    assert str(said).isprintable()


@given(st.text())
def test_what_is_printable_is_safe_on_a_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() and len(shown) == len(text)
    assert printable(shown) == shown


def test_classes() -> None:
    assert reply(354, "", "x").is_positive and reply(250, "", "x").is_positive
    assert reply(450, "", "x").is_temporary and not reply(450, "", "x").is_permanent
    assert reply(550, "", "x").is_permanent and not reply(550, "", "x").is_positive
