"""One question at a time: replies in the order of the commands, however slow an answer is."""

from __future__ import annotations

import pytest

from relay.message import reply
from relay.smtp.events import (
    ContentEnded,
    ContentReceived,
    ContentStarted,
    HelloReceived,
    MailReceived,
    RecipientReceived,
    SessionOpened,
    TransactionAborted,
)
from relay.smtp.server import Awaiting
from tests.smtp.talk import OFFER, TRANSACTION, Talk, codes


def test_the_first_question_is_whether_the_client_may_talk() -> None:
    """RFC 5321 §3.1; what a client says before the greeting waits."""
    talk = Talk(answers={SessionOpened: None})
    assert talk.say(b"EHLO bar.com\r\n") == b""
    assert talk.events == [SessionOpened()]
    said = talk.answer(reply.greeting("foo.com"))
    assert said.startswith(b"220 foo.com Simple Mail Transfer Service Ready\r\n250-foo.com greets bar.com\r\n")
    assert talk.events[1:] == [HelloReceived("bar.com", extended=True)]


def test_nothing_is_read_while_a_question_is_open() -> None:
    """Scar: twisted#8126, replies out of order when a decision takes time (RFC 2920 §3.2 (1))."""
    talk = Talk.greeted(answers={RecipientReceived: None})
    said = talk.say(TRANSACTION + b"RCPT TO:<c@xyz.com>\r\nNOOP\r\n")
    assert codes(said) == [250]
    assert [type(event) for event in talk.events] == [MailReceived, RecipientReceived]
    assert talk.session.next_event() is None
    assert codes(talk.answer(reply.NO_SUCH_USER)) == [550]
    assert codes(talk.answer(reply.RECIPIENT_OK)) == [250, 250]


def test_a_batch_is_answered_in_one_write() -> None:
    """RFC 2920 §3.2 (2)."""
    talk = Talk.greeted()
    talk.session.receive_data(TRANSACTION + b"DATA\r\n")
    while (event := talk.session.next_event()) is not None:
        talk.session.answer(
            {MailReceived: reply.SENDER_OK, RecipientReceived: reply.RECIPIENT_OK}.get(type(event), reply.START_INPUT)
        )
    assert codes(talk.session.data_to_send()) == [250, 250, 354]
    assert talk.session.data_to_send() == b""


def test_a_whole_message_as_the_carrier_sees_it() -> None:
    talk = Talk.greeted()
    assert codes(talk.say(TRANSACTION + b"DATA\r\n")) == [250, 250, 354]
    assert codes(talk.say(b"Subject: a\r\n\r\n..b\r\n.\r\nQUIT\r\n")) == [250, 221]
    kinds = [type(event) for event in talk.events]
    assert kinds == [MailReceived, RecipientReceived, ContentStarted, ContentReceived, ContentEnded]
    assert talk.accepted == [b"Subject: a\r\n\r\n.b\r\n"]
    assert talk.events[-1] == ContentEnded(size=18)
    assert talk.session.closing


def test_an_answer_without_a_question_is_a_defect_of_the_carrier() -> None:
    talk = Talk.greeted()
    with pytest.raises(RuntimeError):
        talk.session.answer(reply.RESET)
    with pytest.raises(RuntimeError):
        talk.session.answer_each([reply.RESET])


def test_an_answer_after_the_client_is_gone_is_dropped() -> None:
    """A slow decision is not undone by a lost connection; it must not raise in the carrier."""
    talk = Talk.greeted(answers={RecipientReceived: None})
    talk.say(TRANSACTION)
    talk.session.connection_lost()
    assert talk.session.next_event() == TransactionAborted("connection lost")
    talk.session.answer(reply.RECIPIENT_OK)
    assert talk.session.next_event() is None
    assert talk.session.data_to_send() == b""


def test_what_is_awaited_tells_which_time_out_applies() -> None:
    """RFC 5321 §4.5.3.2: while we decide, the client is not to blame."""
    talk = Talk(answers={SessionOpened: None, ContentEnded: None})
    talk.run()
    assert talk.session.awaiting is Awaiting.ANSWER
    talk.answer(reply.greeting("foo.com"))
    assert talk.session.awaiting is Awaiting.COMMAND
    talk.say(b"EHLO bar.com\r\n" + TRANSACTION + b"DATA\r\nhalf")
    assert talk.session.awaiting is Awaiting.CONTENT
    talk.say(b"\r\n.\r\n")
    assert talk.session.awaiting is Awaiting.ANSWER
    talk.answer(reply.QUEUED)
    assert talk.session.awaiting is Awaiting.COMMAND
    talk.say(TRANSACTION + b"BDAT 10\r\nhalf")
    assert talk.session.awaiting is Awaiting.CONTENT
    talk.session.connection_lost()
    assert talk.session.awaiting is Awaiting.NOTHING


def test_the_carrier_is_asked_to_stop_reading_while_a_question_is_open() -> None:
    """A client may send as fast as it likes; what is kept is bounded."""
    talk = Talk.greeted(answers={MailReceived: None})
    talk.say(b"MAIL FROM:<a@bar.com>\r\n")
    assert talk.session.wants_data
    talk.session.receive_data(b"NOOP\r\n" * 20000)
    assert not talk.session.wants_data
    talk.answer(reply.SENDER_OK)
    assert talk.session.closing, "20,000 NOOPs are too many"


def test_a_slow_disk_at_the_first_chunk_holds_it_back() -> None:
    talk = Talk.greeted(answers={ContentStarted: None})
    assert codes(talk.say(TRANSACTION + b"BDAT 6 LAST\r\nQUIT\r\n")) == [250, 250]
    assert talk.pieces == 0
    assert codes(talk.answer(reply.START_INPUT)) == [250]
    assert talk.accepted == [b"QUIT\r\n"]


def test_the_offer_can_change_with_what_is_known_of_the_client() -> None:
    talk = Talk.greeted()
    assert codes(talk.say(b"EXPN list\r\n")) == [550]
    talk.session.offer = type(OFFER)("foo.com", off=frozenset({"EXPN"}))
    assert codes(talk.say(b"EXPN list\r\n")) == [502]
    assert b"EXPN" not in talk.say(b"EHLO bar.com\r\n")
