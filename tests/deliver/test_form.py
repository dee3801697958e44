"""In which form a message goes to a hop that lacks something, and what is bounced instead."""

from __future__ import annotations

import email
import email.policy

import pytest

from relay.deliver.settings import DeliverySettings
from relay.message.envelope import Body
from tests.bounce.cases import NOW, a_message, a_reporter, read_octets, told
from tests.deliver.way_out import HEAD, Pieces, WayOut, large, message, shown
from tests.fakes.next_hop import NextHop

EIGHTBIT = "Subject: hi\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße.\r\n".encode()
BINARY = (
    b"Subject: hi\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n.\r\n.\r\r"
)
SIGNED = (
    b"Content-Type: multipart/signed; boundary=b; protocol=x; micalg=y\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa4\r\n--b\r\nContent-Type: x/y\r\n\r\nz\r\n--b--\r\n"
)
UTF8_HEADER = "Subject: Grüße\r\n\r\nhello\r\n".encode()
PIPELINING = ("PIPELINING",)
DELIVERED = ["Delivered 250 2.0.0"]


def body_of(hop: NextHop) -> object:
    """What a reader sees of the message that the hop took."""
    return email.message_from_bytes(hop.taken[0].content, policy=email.policy.default).get_content()


def test_8bit_content_goes_as_it_is_where_8bitmime_is_offered() -> None:
    """RFC 6152 §2."""
    hop = NextHop()
    assert shown(WayOut(hop).send(message(EIGHTBIT, body=Body.EIGHTBIT))) == DELIVERED
    assert hop.taken[0].content == HEAD + EIGHTBIT
    assert hop.taken[0].sender.endswith(" BODY=8BITMIME")


def test_8bit_content_is_converted_for_a_hop_without_8bitmime() -> None:
    """RFC 6152 §3; and the size that is declared is that of what is sent."""
    hop = NextHop(("PIPELINING", "SIZE"))
    assert shown(WayOut(hop).send(message(EIGHTBIT, body=Body.EIGHTBIT))) == DELIVERED
    taken = hop.taken[0]
    assert taken.content.isascii()
    assert body_of(hop) == "Grüße.\r\n"
    assert taken.sender == f"FROM:<ann@example.org> SIZE={len(taken.content)}"


def test_what_was_declared_8bit_and_is_not_needs_nothing() -> None:
    hop = NextHop(PIPELINING)
    way_out = WayOut(hop)
    plain = b"Subject: hi\r\n\r\nhello\r\n"
    assert shown(way_out.send(message(plain, body=Body.EIGHTBIT))) == DELIVERED
    assert hop.taken[0].content == HEAD + plain


def test_a_signed_message_is_bounced_rather_than_broken() -> None:
    hop = NextHop(PIPELINING)
    assert shown(WayOut(hop).send(message(SIGNED, body=Body.EIGHTBIT))) == ["Failed 554 5.6.3"]
    assert not hop.taken


def test_8bit_octets_in_the_header_of_a_part_are_bounced_rather_than_called_7bit() -> None:
    """RFC 2045 §2.7, §6.2: no encoding is for them, and 7bit is 7-bit."""
    hop = NextHop(PIPELINING)
    named = (
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        '--b\r\nContent-Disposition: attachment; filename="ü.txt"\r\n\r\nx\r\n--b--\r\n'
    ).encode()
    assert shown(WayOut(hop).send(message(named, body=Body.EIGHTBIT))) == ["Failed 554 5.6.3"]
    assert not hop.taken


def test_8bit_octets_in_the_messages_own_header_are_left_to_the_hop() -> None:
    """Many send them and most hops take them; the body is 7-bit as its label says."""
    hop = NextHop(PIPELINING)
    subject = "Subject: Grüße\r\n".encode()
    assert shown(WayOut(hop).send(message(subject + EIGHTBIT[13:], body=Body.EIGHTBIT))) == DELIVERED
    header, _, body = hop.taken[0].content.partition(b"\r\n\r\n")
    assert header.startswith(HEAD + subject) and body.isascii()
    assert body_of(hop) == "Grüße.\r\n"


def test_our_report_reaches_a_hop_without_8bitmime_whatever_it_gives_back() -> None:
    """RFC 6522 §3: of what cannot be had in 7 bits the header section goes back, in an encoding that is 7-bit."""
    hop = NextHop(PIPELINING)
    about = a_message("Subject: to8 ö\r\n\r\nfür dich\r\n".encode(), body=Body.EIGHTBIT)
    composed = a_reporter().compose(about, [told()], None, NOW)
    assert composed is not None and composed.envelope.body is Body.EIGHTBIT
    assert shown(WayOut(hop).send(message(composed.content, sender=None, body=Body.EIGHTBIT))) == DELIVERED
    taken = hop.taken[0].content
    assert taken.isascii()
    original = read_octets(taken).original
    assert original.get_content_type() == "text/rfc822-headers"
    assert original.get_payload(decode=True) == about.head + "Subject: to8 ö\r\n".encode()


def test_what_came_as_7bit_is_not_bounced_for_its_8th_bits() -> None:
    """It lied when it came; others pass it on every day."""
    hop = NextHop(PIPELINING)
    assert shown(WayOut(hop).send(message(SIGNED))) == DELIVERED
    assert hop.taken[0].content == HEAD + SIGNED
    assert "BODY" not in hop.taken[0].sender


def test_binary_content_goes_by_bdat_where_it_can() -> None:
    """RFC 3030 §3."""
    hop = NextHop()
    assert shown(WayOut(hop).send(message(BINARY, body=Body.BINARY))) == DELIVERED
    assert hop.taken[0].content == HEAD + BINARY
    assert hop.taken[0].sender.endswith(" BODY=BINARYMIME")


@pytest.mark.parametrize("binary", [b"a: b\r\n\r\n\0\r\n", b"a: b\r\n\r\n" + b"x" * 999 + b"\r\n"])
def test_nul_and_long_lines_are_binary_too(binary: bytes) -> None:
    """RFC 2045 §2.9: they would pass DATA unharmed here, but not at every hop."""
    hop = NextHop()
    assert shown(WayOut(hop).send(message(binary, body=Body.BINARY))) == DELIVERED
    assert hop.taken[0].sender.endswith(" BODY=BINARYMIME")
    assert "DATA" not in hop.commands


@pytest.mark.parametrize("extensions", [PIPELINING, ("CHUNKING", "8BITMIME"), ("BINARYMIME", "8BITMIME")])
def test_binary_content_is_converted_for_a_hop_without_binarymime(extensions: tuple[str, ...]) -> None:
    """RFC 3030 §3; BINARYMIME without CHUNKING is no use, and the other way round."""
    hop = NextHop(extensions)
    assert shown(WayOut(hop).send(message(BINARY, body=Body.BINARY))) == DELIVERED
    assert body_of(hop) == b"\0\n.\r\n.\r\r"


def test_what_was_declared_binary_and_is_text_goes_by_data() -> None:
    hop = NextHop(("8BITMIME",))
    assert shown(WayOut(hop).send(message(EIGHTBIT, body=Body.BINARY))) == DELIVERED
    assert hop.taken[0].content == HEAD + EIGHTBIT


def test_stray_line_ends_that_nobody_declared_never_end_a_message_early() -> None:
    """Sending finds them, gives up the connection before the dot, and goes on as for binary content."""
    smuggled = b"Subject: hi\r\n\r\nhello\n.\r\nMAIL FROM:<evil@example.org>\r\n"
    hop = NextHop(("PIPELINING", "8BITMIME"))
    assert shown(WayOut(hop).send(message(smuggled))) == DELIVERED
    assert len(hop.taken) == 1
    assert b"\n.\r\n" not in hop.taken[0].content.replace(b"\r\n", b"")
    assert not any("evil" in command for command in hop.commands)
    assert hop.sessions == 2


# -- SMTPUTF8 --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "content"),
    [("jürgen@example.org", b"Subject: x\r\n\r\n"), ("ann@example.org", UTF8_HEADER)],
)
def test_what_needs_smtputf8_fails_where_it_is_not_offered(sender: str, content: bytes) -> None:
    """RFC 6531 §3.5."""
    hop = NextHop(("PIPELINING", "8BITMIME"))
    assert shown(WayOut(hop).send(message(content, sender=sender, smtputf8=True))) == ["Failed 550 5.6.7"]


def test_a_recipient_that_needs_smtputf8_fails_alone() -> None:
    hop = NextHop(("PIPELINING", "8BITMIME"))
    outcomes = WayOut(hop).send(message(smtputf8=True), "jörg@example.net", "bob@example.net")
    assert shown(outcomes) == ["Failed 550 5.6.7", *DELIVERED]
    outcomes = WayOut(hop).send(message(smtputf8=True), "jörg@example.net")
    assert shown(outcomes) == ["Failed 550 5.6.7"]


def test_what_was_declared_smtputf8_and_is_ascii_needs_nothing() -> None:
    """Some clients always say it."""
    hop = NextHop(("PIPELINING", "8BITMIME"))
    assert shown(WayOut(hop).send(message(EIGHTBIT, body=Body.EIGHTBIT, smtputf8=True))) == DELIVERED
    assert "SMTPUTF8" not in hop.taken[0].sender


def test_smtputf8_is_passed_on() -> None:
    hop = NextHop()
    outcomes = WayOut(hop).send(message(UTF8_HEADER, sender="jürgen@example.org", smtputf8=True), "jörg@example.net")
    assert shown(outcomes) == DELIVERED
    assert hop.taken[0].sender.startswith("FROM:<jürgen@example.org>")
    assert hop.taken[0].sender.endswith(" BODY=8BITMIME SMTPUTF8")


# -- SIZE ------------------------------------------------------------------------------------


def test_what_is_larger_than_the_hop_takes_is_not_sent() -> None:
    """RFC 1870 §6.1."""
    hop = NextHop(("SIZE 50",))
    assert shown(WayOut(hop).send(message())) == ["Failed 552 5.3.4"]
    assert not any(command.startswith("MAIL") for command in hop.commands)


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE 64", "SIZE 1000000"])
def test_what_is_not_larger_is_sent(size: str) -> None:
    assert shown(WayOut(NextHop((size,))).send(message())) == DELIVERED


# -- large ones ------------------------------------------------------------------------------


def test_a_large_8bit_message_is_read_and_converted() -> None:
    hop = NextHop(PIPELINING)
    way_out = WayOut(hop)
    made = large(way_out, EIGHTBIT, "ä".encode() * 50_000, b"\r\n", body=Body.EIGHTBIT)
    assert shown(way_out.send(made)) == DELIVERED
    assert body_of(hop) == "Grüße.\r\n" + "ä" * 50_000 + "\r\n"


def test_too_large_a_message_is_not_converted() -> None:
    """It would have to be whole in memory, several times over."""
    way_out = WayOut(NextHop(PIPELINING), settings=DeliverySettings(convert_limit_octets=1000))
    made = large(way_out, EIGHTBIT, b"x" * 2000, body=Body.EIGHTBIT)
    assert shown(way_out.send(made)) == ["Failed 554 5.6.3"]


@pytest.mark.parametrize(
    ("limit", "header"), [(10**6, b"x: y"), (1000, b"x: y"), (10**6, "x: ä".encode()), (1000, "x: ä".encode())]
)
def test_of_a_large_message_the_header_is_looked_at(limit: int, header: bytes) -> None:
    hop = NextHop(("PIPELINING", "8BITMIME"))
    way_out = WayOut(hop, settings=DeliverySettings(convert_limit_octets=limit))
    made = large(way_out, header + b"\r\n\r\n", b"x" * 2000, smtputf8=True)
    assert shown(way_out.send(made)) == (DELIVERED if header.isascii() else ["Failed 550 5.6.7"])


def test_few_large_messages_are_read_at_once() -> None:
    """Memory stays bounded however many there are."""
    way_out = WayOut(NextHop(PIPELINING))
    made = [large(way_out, EIGHTBIT, b"x" * 2000 + b"\r\n", body=Body.EIGHTBIT) for _ in range(10)]
    held: list[int] = []
    open_now = way_out.deliverer._open_content

    def opening(message_id: str) -> Pieces:
        held.append(len(way_out.deliverer._loaded))
        return open_now(message_id)  # type: ignore[return-value]

    way_out.deliverer._open_content = opening
    sendings = [way_out.start(each) for each in made]
    way_out.run()
    assert max(held) == 2
    assert [shown(sending.outcomes) for sending in sendings] == [DELIVERED] * 10
    assert not way_out.deliverer._loaded
