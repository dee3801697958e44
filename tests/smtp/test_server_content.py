"""Content: what is kept, what is refused and when that is told, and that nothing of it is held."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.message import reply
from relay.message.reply import Reply
from relay.message.transfer import PlainLines
from relay.smtp.data import BareLineEnds
from relay.smtp.events import ContentEnded, ContentReceived, ContentStarted, Event, RecipientReceived
from relay.smtp.extensions import ServerOffer
from relay.smtp.stuffing import DotStuffing
from tests.smtp.talk import TRANSACTION, Talk, codes
from tests.smtp.test_data import ENDS_OF_OTHERS, octets

SMALL = ServerOffer("foo.com", message_size_limit=100)
NORMALISE = ServerOffer("foo.com", bare_line_ends=BareLineEnds.NORMALISE)
LMTP = ServerOffer("foo.com", lmtp=True)


def in_data(offer: ServerOffer = SMALL) -> Talk:
    talk = Talk.greeted(offer)
    assert codes(talk.say(TRANSACTION + b"DATA\r\n"))[-1] == 354
    return talk


def test_a_small_message_in_one_segment_is_one_piece() -> None:
    """The hot path: one piece, whatever the number of its lines."""
    talk = in_data(ServerOffer("foo.com"))
    content = (b"x" * 70 + b"\r\n") * 56
    assert codes(talk.say(content + b".\r\n")) == [250]
    assert talk.accepted == [content]
    assert talk.pieces == 1


def test_too_big_is_told_at_once_and_said_at_the_end() -> None:
    """The draft can go when the limit is passed; the client hears 552 where RFC 1870 §6.3 has it."""
    talk = in_data()
    assert talk.say(b"x" * 200) == b""
    assert talk.aborted == ["552 5.3.4 Requested mail action aborted: exceeded storage allocation"]
    pieces = talk.pieces
    assert talk.say(b"y" * 100000 + b"\r\nQUIT\r\n") == b""
    assert talk.pieces == pieces, "nothing more is kept"
    assert codes(talk.say(b".\r\nNOOP\r\n")) == [552, 250]
    assert len(talk.aborted) == 1


@pytest.mark.parametrize("octets", [99, 100, 101])
@pytest.mark.parametrize("cut", [None, 1, 5])
def test_the_size_limit_is_exact_at_every_cut(octets: int, cut: int | None) -> None:
    talk = in_data()
    verdict = [552 if octets > 100 else 250]
    assert codes(talk.say(b"x" * (octets - 2) + b"\r\n.\r\n", cut)) == verdict
    talk.say(TRANSACTION + b"DATA\r\n")
    # RFC 1870 §5: the doubled dot does not count.
    assert codes(talk.say(b"." + b"." * (octets - 2) + b"\r\n.\r\n", cut)) == verdict


@pytest.mark.parametrize("cut", [None, 1, 5])
@pytest.mark.parametrize("bare", [b"a\nb", b"a\rb", b"\n", b"\r\r\n", b"\n.\n", b"\r.\r\n"])
def test_a_bare_line_end_is_refused_at_the_true_end(bare: bytes, cut: int | None) -> None:
    """What one host takes for a line end and another does not is how messages are smuggled."""
    talk = in_data()
    assert codes(talk.say(b"line\r\n" + bare + b"\r\nMAIL FROM:<evil@bar.com>\r\n.\r\nNOOP\r\n", cut)) == [550, 250]
    assert len(talk.aborted) == 1
    assert talk.accepted == []


@pytest.mark.parametrize("cut", [None, 1, 2, 3, 5])
@pytest.mark.parametrize("end", ENDS_OF_OTHERS)
def test_normalising_never_makes_an_end_of_data(end: bytes, cut: int | None) -> None:
    talk = in_data(NORMALISE)
    said = talk.say(b"before" + end + b"MAIL FROM:<evil@bar.com>\r\n.\r\nNOOP\r\n", cut)
    assert codes(said) == [250, 250]
    (content,) = talk.accepted
    assert content.endswith(b"MAIL FROM:<evil@bar.com>\r\n")
    assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")


@pytest.mark.parametrize("cut", [None, 1, 5])
def test_which_fault_is_said_does_not_hang_on_the_cut(cut: int | None) -> None:
    """Beyond the size limit nothing is judged: too big comes first when its octet does."""
    talk = in_data()
    assert codes(talk.say(b"x" * 99 + b"\r\n\n\r\n.\r\n", cut)) == [552]
    talk.say(TRANSACTION + b"DATA\r\n")
    assert codes(talk.say(b"\n" + b"x" * 300 + b"\r\n.\r\n", cut)) == [550]


def test_nul_and_long_lines_pass_unharmed() -> None:
    """RFC 5321 §4.5.2: all characters are to be delivered; a line over 1000 octets is bounded by the message only."""
    talk = in_data(ServerOffer("foo.com"))
    content = b"\0" + bytes(range(256)).replace(b"\r", b"").replace(b"\n", b"") * 100 + b"\r\n"
    assert codes(talk.say(content + b".\r\n", cut=1000)) == [250]
    assert talk.accepted == [content]


def test_a_limit_of_zero_is_none() -> None:
    talk = in_data(ServerOffer("foo.com", message_size_limit=0))
    assert codes(talk.say(b"x" * 1000000 + b"\r\n.\r\n")) == [250]


def test_our_trouble_at_the_end_ends_the_transaction() -> None:
    """Scar: a full disk answered with 550 bounces mail for our own trouble."""
    talk = Talk.greeted(answers={ContentEnded: reply.NO_SPACE})
    assert codes(talk.say(TRANSACTION + b"DATA\r\n.\r\nRCPT TO:<b@xyz.com>\r\n")) == [250, 250, 354, 452, 503]
    assert talk.aborted == [], "who answered knows"


def test_after_a_refused_data_the_recipients_are_still_there() -> None:
    answers = iter([reply.NO_SPACE, reply.START_INPUT])
    talk = Talk.greeted(answers={ContentStarted: lambda event: next(answers)})
    assert codes(talk.say(TRANSACTION + b"DATA\r\n")) == [250, 250, 452]
    assert codes(talk.say(b"DATA\r\n.\r\n")) == [354, 250]


@pytest.mark.parametrize("cut", [None, 1, 5])
def test_chunks_become_one_content(cut: int | None) -> None:
    """RFC 3030 §2; a CRLF cut by the border of two chunks is one line end."""
    talk = Talk.greeted()
    said = talk.say(TRANSACTION + b"BDAT 4\r\n.\r\n\rBDAT 0\r\nBDAT 3\r\n\nab" + b"BDAT 2 LAST\r\n\r\n", cut)
    assert codes(said) == [250, 250, 250, 250, 250, 250]
    assert talk.accepted == [b".\r\n\r\nab\r\n"]
    assert ContentEnded(9) in talk.events


def test_binary_chunks_may_hold_anything() -> None:
    """RFC 3030 §3: all bits are preserved."""
    talk = Talk.greeted()
    content = bytes(range(256)) * 3 + b"\r"
    talk.say(b"MAIL FROM:<a@bar.com> BODY=BINARYMIME\r\nRCPT TO:<b@xyz.com>\r\n")
    assert codes(talk.say(b"BDAT %d LAST\r\n" % len(content) + content, cut=7)) == [250]
    assert talk.accepted == [content]


@pytest.mark.parametrize("cut", [None, 1, 5])
def test_a_refused_chunk_is_swallowed_and_the_rest_of_its_message_too(cut: int | None) -> None:
    """Scar: commands in a chunk that was not wanted, run as commands (Postfix 20260724, 20260803)."""
    talk = Talk.greeted(SMALL)
    evil = b"MAIL FROM:<evil@bar.com>\r\n" * 5
    chunk = b"BDAT %d\r\n" % len(evil) + evil
    assert codes(talk.say(TRANSACTION + chunk + chunk + b"BDAT 0 LAST\r\nNOOP\r\n", cut)) == [
        250,
        250,
        552,
        552,
        552,
        250,
    ]
    assert len(talk.aborted) == 1
    assert talk.accepted == []
    assert codes(talk.say(TRANSACTION + b"BDAT 2 LAST\r\n\r\n")) == [250, 250, 250]


def test_the_reply_to_the_last_chunk_says_why_the_first_was_refused() -> None:
    """A client that sends all chunks at once goes by it: our own trouble must not look like a fault of its own."""
    talk = Talk.greeted(answers={ContentStarted: reply.NO_SPACE})
    assert codes(talk.say(TRANSACTION + b"BDAT 4\r\nab\r\nBDAT 4 LAST\r\ncd\r\n")) == [250, 250, 452, 452]
    assert codes(talk.say(b"BDAT 0 LAST\r\n")) == [503]


def test_a_message_never_lacks_a_chunk_that_was_refused() -> None:
    """A recipient that comes after the first chunk was refused must not get what came after it."""
    talk = Talk.greeted()
    talk.say(b"MAIL FROM:<a@bar.com>\r\nBDAT 6\r\nfirst!RCPT TO:<b@xyz.com>\r\nBDAT 7 LAST\r\nsecond!")
    assert talk.accepted == []
    assert not any(isinstance(event, RecipientReceived | ContentReceived) for event in talk.events)


@pytest.mark.parametrize("line", [b"BDAT 12\n", b"BDAT \xff12", b"bdat 12" + b" " * 600, b"BDAT twelve", b"BDAT"])
def test_a_chunk_whose_size_nobody_can_tell_ends_the_session(line: bytes) -> None:
    """What would come next is content, and must not be run as commands.  RFC 5321 §3.8: not without 421."""
    talk = Talk.greeted()
    said = talk.say(TRANSACTION + line + b"\r\nMAIL FROM:<evil@bar.com>\r\n")
    assert len(codes(said)) == 4 and codes(said)[-2] in (500, 501)
    assert said.endswith(b"\r\n" + reply.cannot_go_on("foo.com").wire)
    assert talk.session.closing
    assert len(talk.aborted) == 1


def test_a_size_beyond_all_limits_is_only_a_number() -> None:
    """No memory is set aside for what was announced, and no more is read than the limit of refused content."""
    talk = Talk.greeted(ServerOffer("foo.com", discard_limit=1000))
    assert codes(talk.say(TRANSACTION + b"BDAT 99999999999999999999 LAST\r\n" + b"x" * 500)) == [250, 250]
    assert codes(talk.say(b"x" * 501)) == [552, 421]
    assert talk.session.closing


def test_refused_content_is_not_read_for_ever() -> None:
    talk = in_data(ServerOffer("foo.com", message_size_limit=100, discard_limit=10000))
    said = b""
    for _ in range(20):
        said += talk.say(b"x" * 1000)
    assert codes(said) == [552, 421]
    assert talk.session.closing


def test_a_chunk_of_unknown_size_that_is_an_error_too_many_says_421_once() -> None:
    talk = Talk.greeted(ServerOffer("foo.com", errors_limit=1))
    assert codes(talk.say(b"XYZZY\r\nBDAT x\r\n")) == [500, 421]


def test_lmtp_answers_for_each_recipient() -> None:
    """RFC 2033 §4.2: in the order of the accepted RCPTs."""
    answers = iter([reply.RECIPIENT_OK, reply.NO_SUCH_USER, reply.RECIPIENT_OK])
    talk = Talk.greeted(LMTP, {RecipientReceived: lambda event: next(answers), ContentEnded: None})
    talk.say(TRANSACTION + b"RCPT TO:<c@xyz.com>\r\nRCPT TO:<d@xyz.com>\r\nDATA\r\n.\r\n")
    with pytest.raises(ValueError, match="each accepted recipient"):
        talk.session.answer_each([reply.QUEUED])
    talk.session.answer_each([reply.QUEUED, reply.MAILBOX_BUSY])
    assert codes(talk.run()) == [250, 450]


def test_lmtp_one_answer_is_said_to_each() -> None:
    talk = Talk.greeted(LMTP)
    assert codes(talk.say(TRANSACTION + b"RCPT TO:<c@xyz.com>\r\nDATA\r\n.\r\n")) == [250, 250, 250, 354, 250, 250]
    talk.answers[ContentEnded] = reply.shutting_down("foo.com")
    talk.say(TRANSACTION + b"RCPT TO:<c@xyz.com>\r\nDATA\r\n")
    assert codes(talk.say(b".\r\n")) == [421], "421 ends the session, and is said once"


def test_lmtp_refuses_bad_content_to_each() -> None:
    talk = Talk.greeted(LMTP)
    talk.say(TRANSACTION + b"RCPT TO:<c@xyz.com>\r\nDATA\r\n")
    assert codes(talk.say(b"a\nb\r\n.\r\n")) == [550, 550]


def test_answers_in_utf8_only_to_those_who_asked() -> None:
    """RFC 6531 §3.7.4."""

    def forwarded(event: Event) -> Reply:
        return reply.WILL_FORWARD.saying("will forward to <jörg@xyz.com>")

    talk = Talk.greeted(answers={RecipientReceived: forwarded})
    assert talk.say(TRANSACTION).endswith(b"will forward to <j?rg@xyz.com>\r\n")
    talk.say(b"RSET\r\n")
    said = talk.say(TRANSACTION.replace(b"\r\n", b" SMTPUTF8\r\n", 1))
    assert said.endswith("will forward to <jörg@xyz.com>\r\n".encode())


def kept_of(stream: bytes, offer: ServerOffer = NORMALISE, cut: int | None = None) -> list[bytes]:
    """The pieces of content that a carrier is given, as they are."""
    talk, kept = in_data(offer), []
    for at in range(0, len(stream), cut or len(stream)):
        talk.session.receive_data(stream[at : at + (cut or len(stream))])
        while (event := talk.session.next_event()) is not None:
            if isinstance(event, ContentReceived):
                kept.append(event.data)
            elif isinstance(event, ContentEnded):
                talk.session.answer(reply.QUEUED)
    return kept


@given(octets, st.booleans(), st.sampled_from([None, 1, 5]))
@example(b"a\n.b", True, None)
@example(b"a\r.b", True, None)
@example(b"a\r\n.\n..b", True, None)
@example(b"a\nbcdefgh\r\nij", True, 5)
@example(b"a\r\n..bcdefgh\r\nij", False, 5)
@example(b"abcd.\r\n.f", False, 1)
def test_what_is_marked_as_plain_lines_is_that(stream: bytes, normalise: bool, cut: int | None) -> None:
    """What is sent on without another look is what a look would have let pass unchanged, whatever the client sent."""
    pieces = kept_of(stream + b"\r\n.\r\n", NORMALISE if normalise else ServerOffer("foo.com"), cut)
    assert not any(type(piece) is PlainLines for piece in pieces[:-1])
    if pieces and type(pieces[-1]) is PlainLines:
        whole, looked_at = b"".join(pieces), DotStuffing()
        assert looked_at.stuff(whole) + looked_at.end() == whole + b".\r\n"


def test_ordinary_content_is_plain_lines_and_is_not_looked_at_again() -> None:
    (piece,) = kept_of(b"Subject: it\r\n\r\nworks.\r\n.\r\n")
    assert type(piece) is PlainLines
    assert DotStuffing().stuff(piece) is piece


@pytest.mark.parametrize("cut", [1, 5])
def test_the_last_piece_says_for_all_that_they_are_plain_lines(cut: int) -> None:
    *others, last = kept_of(b"Subject: it\r\n\r\nworks.\r\n.\r\n", cut=cut)
    assert others
    assert type(last) is PlainLines
