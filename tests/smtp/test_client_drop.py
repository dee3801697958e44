"""A connection that is lost at any octet has its defined outcome: it is loved at no other point by real networks."""

from __future__ import annotations

import pytest

from relay.smtp.client_events import SessionEnded, TransactionEnded
from relay.smtp.transaction import Step
from tests.fakes.next_hop import EVERYTHING, NextHop
from tests.smtp.conversation import Conversation, transaction

WAYS = {
    "pipelined": {"extensions": EVERYTHING},
    "one by one": {"extensions": ("8BITMIME",)},
    "HELO only": {"extensions": None},
    "LMTP": {"extensions": EVERYTHING, "lmtp": True},
}


def octets_of(way: str, ahead: bool) -> int:
    """How many octets the server says in the whole dialogue."""
    talk = converse(way, None, ahead)
    assert all(each.step is Step.END for one in talk.transactions for each in one.answers if each)
    low, high = 0, 10_000
    while low < high:  # the least number of octets at which nothing is missing
        middle = (low + high) // 2
        done = all(
            each is not None and each.reply is not None
            for one in converse(way, middle, ahead).transactions
            for each in one.answers
        )
        low, high = (low, middle) if done else (middle + 1, high)
    return low


def converse(way: str, drop_after: int | None, ahead: bool) -> Conversation:
    hop = NextHop(**WAYS[way])  # type: ignore[arg-type]
    wanted = [transaction("a@x.example", "b@x.example"), transaction("c@x.example")]
    return Conversation(hop, wanted, drop_after=drop_after, ahead=ahead, pieces=7).run()


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_drop_after_any_octet_of_the_server(way: str, ahead: bool) -> None:
    """Every recipient has one answer; in doubt exactly when the end of the content had gone out without a reply."""
    whole = octets_of(way, ahead)
    assert whole > 100
    doubts = 0
    for drop_after in range(1, whole):
        talk = converse(way, drop_after, ahead)
        assert isinstance(talk.events[-1], SessionEnded)
        ended = [event.transaction for event in talk.events if isinstance(event, TransactionEnded)]
        begun = [one for one in talk.transactions if one not in talk.todo]
        assert ended == begun
        sent = b"".join(talk.sent)
        ends_sent = sent.count(b"\r\n.\r\n")
        for number, one in enumerate(begun):
            for answer in one.answers:
                assert answer is not None
                if answer.reply is None:
                    in_doubt = answer.step is Step.END
                    assert in_doubt == (ends_sent > number), (drop_after, number, answer)
                    doubts += in_doubt
                else:
                    assert answer.step is Step.END and answer.reply.code == 250
        # Nothing is called delivered that the hop does not have.
        delivered = sum(answer.reply is not None for one in begun for answer in one.answers if answer)
        assert delivered <= sum(len(taken.recipients) for taken in talk.hop.taken)
    assert doubts > 10


def test_a_drop_before_the_first_octet_is_no_greeting() -> None:
    talk = converse("pipelined", 0, False)
    assert isinstance(talk.events[-1], SessionEnded)
