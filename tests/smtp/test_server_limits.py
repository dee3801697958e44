"""How long a server listens to what leads nowhere, and how a session ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message import reply
from relay.smtp.commands import Phase
from relay.smtp.data import BareLineEnds
from relay.smtp.events import ContentReceived, MailReceived, RecipientReceived, TransactionAborted
from relay.smtp.extensions import ServerOffer
from tests.examples import examples
from tests.smtp.talk import TRANSACTION, Talk, codes
from tests.smtp.test_data import pieces_of

MESSAGE = TRANSACTION + b"DATA\r\n.\r\n"


def test_errors_are_forgiven_to_those_who_bring_mail() -> None:
    talk = Talk.greeted()
    for _ in range(10):
        assert codes(talk.say(b"XYZZY\r\n" * 15))[-1] == 500
        assert codes(talk.say(MESSAGE))[-1] == 250
    assert codes(talk.say(b"XYZZY\r\n" * 21))[-2:] == [500, 421]
    assert talk.session.closing


@pytest.mark.parametrize("command", [b"NOOP", b"RSET", b"VRFY a", b"EXPN a", b"HELP", b"ETRN a", b"EHLO a", b"HELO a"])
def test_small_talk_is_bounded(command: bytes) -> None:
    """Endless commands that cost the client nothing; each of them is allowed a hundred times between messages."""
    talk = Talk.greeted(ServerOffer("foo.com", errors_limit=1000))
    said = talk.say((command + b"\r\n") * 200)
    assert len(codes(said)) <= 100
    assert said.endswith(reply.too_many_idle_commands("foo.com").wire), "it made no errors"


def test_verifying_recipients_is_no_small_talk() -> None:
    """Scar: a program that asked for a hundred recipients, each by MAIL, RCPT and RSET, was told of too many errors."""
    talk = Talk.greeted()
    assert codes(talk.say((TRANSACTION + b"RSET\r\n") * 200)) == [250] * 600
    nobody = Talk.greeted(answers={RecipientReceived: reply.NO_SUCH_USER})
    assert codes(nobody.say((TRANSACTION + b"RSET\r\n") * 200))[-1] == 421


def test_empty_chunks_are_small_talk() -> None:
    """Scar: BDAT 0 floods (Postfix 20260805)."""
    talk = Talk.greeted()
    assert codes(talk.say(TRANSACTION + b"BDAT 0\r\n" * 200))[-1] == 421
    assert talk.aborted == ["too many commands without mail"]


def test_many_wrong_recipients_are_no_bad_behaviour() -> None:
    """A list with 500 dead members must still reach the living: closing would lose it for all of them."""
    dead = iter([reply.NO_SUCH_USER] * 500)
    talk = Talk.greeted(answers={RecipientReceived: lambda event: next(dead, reply.RECIPIENT_OK)})
    said = talk.say(b"MAIL FROM:<a@bar.com>\r\n" + b"RCPT TO:<b@xyz.com>\r\n" * 501 + b"DATA\r\n.\r\n")
    assert codes(said)[-3:] == [250, 354, 250]


def test_wrong_recipients_without_end_are_bad_behaviour() -> None:
    talk = Talk.greeted(answers={RecipientReceived: reply.NO_SUCH_USER})
    assert codes(talk.say(b"MAIL FROM:<a@bar.com>\r\n" + b"RCPT TO:<b@xyz.com>\r\n" * 1001))[-1] == 421


def test_a_batch_after_a_refused_sender_is_refused_and_no_more() -> None:
    """RFC 2920: the client sent its RCPTs before it could know that MAIL is refused."""
    talk = Talk.greeted(answers={MailReceived: reply.NO_SPACE})
    assert codes(talk.say(b"MAIL FROM:<a@bar.com>\r\n" + b"RCPT TO:<b@xyz.com>\r\n" * 500)) == [452] + [503] * 500
    assert not talk.session.closing


def test_trouble_of_ours_is_never_counted() -> None:
    talk = Talk.greeted(answers={MailReceived: reply.LOCAL_ERROR})
    assert codes(talk.say(b"MAIL FROM:<a@bar.com>\r\n" * 50)) == [451] * 50


def test_no_more_messages_than_announced() -> None:
    """RFC 9422, MAILMAX."""
    talk = Talk.greeted(ServerOffer("foo.com", mails_limit=2))
    assert codes(talk.say(MESSAGE * 2))[-1] == 250
    assert codes(talk.say(TRANSACTION)) == [421]
    assert talk.session.closing


def test_a_time_out_is_said_and_the_transaction_forgotten() -> None:
    """RFC 5321 §4.5.3.2.7."""
    talk = Talk.greeted()
    talk.say(TRANSACTION + b"DATA\r\nhalf of a li")
    talk.session.time_out()
    assert talk.run() == reply.timed_out("foo.com").wire
    assert talk.aborted == ["timed out"]
    assert talk.session.closing and not talk.session.wants_data
    talk.session.receive_data(b"\r\n.\r\n")
    assert talk.run() == b""


def test_shutting_down_waits_for_the_end_of_the_message() -> None:
    """RFC 5321 §3.8: 421 when nothing is under way; what is under way may be finished."""
    talk = Talk.greeted()
    talk.say(TRANSACTION)
    talk.session.shut_down()
    assert codes(talk.say(b"DATA\r\nhalf")) == [354]
    assert codes(talk.say(b"\r\n.\r\n")) == [250, 421]
    assert talk.accepted == [b"half\r\n"]
    assert talk.session.closing


def test_shutting_down_an_idle_session() -> None:
    talk = Talk.greeted()
    talk.session.shut_down()
    assert talk.run() == reply.shutting_down("foo.com").wire
    assert talk.session.closing


def test_shutting_down_does_not_wait_for_a_spoiled_message() -> None:
    talk = Talk.greeted()
    talk.say(b"MAIL FROM:<a@bar.com>\r\nBDAT 0\r\n")
    assert talk.session.phase is Phase.SPOILED
    talk.session.shut_down()
    assert codes(talk.run()) == [421]


@pytest.mark.parametrize("last", [b"QUIT\r\n", b"RSET\r\n", b"EHLO again.com\r\n", b"HELO again.com\r\n"])
def test_an_open_transaction_is_told_to_be_over_once(last: bytes) -> None:
    talk = Talk.greeted()
    talk.say(TRANSACTION + last)
    assert len(talk.aborted) == 1
    talk.session.connection_lost()
    talk.run()
    assert len(talk.aborted) == 1


def test_no_transaction_is_no_news() -> None:
    talk = Talk.greeted()
    talk.say(b"RSET\r\nEHLO again.com\r\n" + MESSAGE + b"RSET\r\nQUIT\r\n")
    talk.session.connection_lost()
    talk.run()
    assert talk.aborted == []


def test_a_connection_lost_in_the_content() -> None:
    """RFC 5321 §4.1.1.10: as if the transaction had got a temporary error."""
    talk = Talk.greeted()
    talk.say(TRANSACTION + b"DATA\r\nhalf\r\n.")
    talk.session.connection_lost()
    talk.run()
    assert talk.events[-1] == TransactionAborted("connection lost")
    assert talk.accepted == []


def test_a_refusing_greeting_that_is_temporary_closes() -> None:
    talk = Talk()
    talk.session.next_event()
    assert codes(talk.answer(reply.too_many_connections("foo.com"))) == [421]
    assert talk.session.closing


# What a session may hear, in pieces that its rules care about.
words = st.sampled_from(
    [
        b"EHLO bar.com\r\n",
        b"MAIL FROM:<a@bar.com>\r\n",
        b"MAIL FROM:<a@bar.com> BODY=BINARYMIME SIZE=10\r\n",
        b"RCPT TO:<b@xyz.com>\r\n",
        b"RCPT TO:<>\r\n",
        b"DATA\r\n",
        b"BDAT 5\r\n",
        b"BDAT 5 LAST\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT x\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"hello",
        b".\r\n",
        b"\r\n.\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\xff",
        b"x" * 60,
    ]
)


@examples(200)
@given(
    st.lists(words, max_size=25).map(b"".join),
    st.lists(st.integers(0, 2000), max_size=6),
    st.sampled_from(BareLineEnds),
    st.booleans(),
)
def test_the_cut_of_the_stream_changes_nothing(stream: bytes, at: list[int], bare: BareLineEnds, lmtp: bool) -> None:
    """State desync is impossible: replies and content are the same whole, cut by one, and cut anywhere."""
    offer = ServerOffer(
        "foo.com",
        lmtp=lmtp,
        message_size_limit=40,
        bare_line_ends=bare,
        errors_limit=8,
    )
    stream = b"EHLO bar.com\r\n" + stream
    if lmtp:
        stream = stream.replace(b"EHLO", b"LHLO")
    heard = []
    for pieces in ([stream], [stream[n : n + 1] for n in range(len(stream))], pieces_of(stream, at)):
        talk = Talk(offer)
        said = b"".join(talk.say(piece) for piece in pieces)
        accepted = [event for event in talk.events if not isinstance(event, ContentReceived)]
        heard.append((said, accepted, talk.accepted, talk.session.phase, talk.session.closing))
    assert heard[0] == heard[1] == heard[2]


@examples(150)
@given(st.lists(st.binary(max_size=60), max_size=10), st.booleans())
def test_no_octets_whatever_raise_anything(pieces: list[bytes], greeted: bool) -> None:
    talk = Talk.greeted() if greeted else Talk()
    for piece in pieces:
        talk.say(piece)
    talk.session.time_out()
    talk.run()
