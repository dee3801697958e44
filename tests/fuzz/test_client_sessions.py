"""A client session against hops that answer as chance will, compared with a plain model of whose answer counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.client_events import Opened, SessionEnded, TransactionEnded
from relay.smtp.transaction import Transaction
from tests.examples import examples
from tests.fakes.next_hop import EVERYTHING, NextHop
from tests.smtp.conversation import Conversation, transaction

ANSWERS = {"2": "250 2.0.0 yes", "3": "354 go", "4": "451 4.3.0 later", "5": "554-no\n554 5.3.0 never"}
mails = st.sampled_from("22222245")
ends = st.sampled_from("22245")
datas = st.sampled_from("333345")
recipients = st.lists(st.sampled_from("2222455"), min_size=1, max_size=4)
messages = st.lists(st.tuples(mails, recipients, datas, st.lists(ends, min_size=4, max_size=4)), min_size=1, max_size=4)


def expected(mail: str, answers: list[str], data: str, ends: list[str], lmtp: bool) -> list[str]:
    """Who decided about each recipient, by RFC 5321 §3.3, RFC 2920 §3.1 and RFC 2033 §4.2."""
    codes = {"2": "250", "4": "451", "5": "554"}
    if mail != "2":
        return [f"MAIL {codes[mail]}"] * len(answers)
    decided = []
    left = list(ends)
    for answer in answers:
        if answer != "2":
            decided.append(f"RECIPIENT {codes[answer]}")
        elif data != "3":
            decided.append(f"DATA {codes[data]}")
        else:
            decided.append(f"END {codes[left.pop(0) if lmtp else ends[0]]}")
    return decided


def scripted(mail: list[tuple[str, list[str], str, list[str]]], pipelining: bool, lmtp: bool) -> NextHop:
    """A hop that says just this; its scripts count the commands of a kind that it gets."""
    script: dict[str, list[str]] = {"MAIL": [], "RCPT": [], "DATA": [], "END": []}
    for sender, answers, data, ends in mail:
        accepted = sender == "2" and "2" in answers
        script["MAIL"].append(ANSWERS[sender])
        if pipelining or sender == "2":
            # After a refused MAIL the hop refuses all that comes behind it (503, and 554 to DATA).
            script["RCPT"] += [ANSWERS[each] if sender == "2" else "503 5.5.1 no sender" for each in answers]
        if pipelining or accepted:
            script["DATA"].append(ANSWERS[data] if accepted else "554 5.5.1 nobody")
        if accepted and data == "3":
            script["END"] += [ANSWERS[end] for end in ends[: answers.count("2") if lmtp else 1]]
    return NextHop(
        EVERYTHING if pipelining else ("8BITMIME",), replies={k: v or [""] for k, v in script.items()}, lmtp=lmtp
    )


@examples(150)
@given(messages, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0, 1, 5]), st.sampled_from([0, 7]))
def test_each_recipient_hears_what_was_said_to_it(
    mail: list[tuple[str, list[str], str, list[str]]], pipelining: bool, lmtp: bool, ahead: bool, cut: int, pieces: int
) -> None:
    hop = scripted(mail, pipelining, lmtp)
    transactions: list[Transaction] = [
        transaction(*(f"m{number}r{place}@example.net" for place in range(len(answers))))
        for number, (_, answers, _, _) in enumerate(mail)
    ]
    talk = Conversation(hop, transactions, cut=cut, pieces=pieces, ahead=ahead and pipelining).run()
    for number, (sender, answers, data, ends) in enumerate(mail):
        assert talk.answers(number) == expected(sender, answers, data, ends, lmtp)
    assert isinstance(talk.events[0], Opened)
    assert [event.transaction for event in talk.events if isinstance(event, TransactionEnded)] == transactions
    assert sum(isinstance(event, SessionEnded) for event in talk.events) == 1
    taken = [recipient for one in hop.taken for recipient in one.recipients]
    delivered = sum(answer.startswith("END 250") for number in range(len(mail)) for answer in talk.answers(number))
    assert delivered == len(taken), "what is called delivered is there, and nothing else"


replies = st.sampled_from(
    [
        *(b"250 ok\r\n", b"250-a\r\n250 b\r\n", b"354 go\r\n", b"421 bye\r\n", b"451 no\r\n", b"550 5.1.1 no\r\n"),
        *(b"220 hi\r\n", b"250-PIPELINING\r\n250 CHUNKING\r\n", b"250 ok\n", b"xyz\r\n", b"250", b"-", b"\r\n"),
        *(b"550-a\r\n250 b\r\n", b"\0", b"250 " + b"x" * 3000 + b"\r\n", b"334 \r\n", b"235 in\r\n"),
    ]
)


@examples(150)
@given(st.lists(replies, max_size=25), st.sampled_from([1, 3, 10**6]), st.booleans(), st.booleans())
def test_whatever_a_hop_says_every_recipient_has_one_answer(
    said: list[bytes], cut: int, lmtp: bool, chunked: bool
) -> None:
    """And it says END only when a reply came for it, or the whole content had gone out."""
    hop = NextHop(lmtp=lmtp)
    wanted = transaction("a@example.net", "b@example.net", chunked=chunked)
    talk = Conversation(hop, [wanted])
    server = Deaf(b"220 hi\r\n", *said)
    hop.session = lambda: server  # type: ignore[method-assign, assignment, return-value]
    talk.cut = 0 if cut > 10 else cut
    talk.run()
    talk.session.lost("the connection was lost")
    talk._act()
    began = any(b"MAIL FROM" in out for out in talk.sent)
    answers = talk.answers(0)
    if began:
        assert "none" not in answers
        gone = b"".join(talk.sent)
        for answer in answers:
            step, code = answer.split(" ")
            if step == "END" and code == "-":
                assert gone.endswith((b"\r\n.\r\n", talk.content)) or b"LAST" in gone
    else:
        assert answers == ["none", "none"]


class Deaf:
    """A server that says its lines one after the other, whatever it hears, and then hangs up."""

    def __init__(self, *said: bytes) -> None:
        self._said = list(said)
        self.closed = False

    def start(self) -> bytes:
        return self._said.pop(0)

    def receive(self, data: bytes) -> bytes:
        if not self._said:
            self.closed = True
            return b""
        return self._said.pop(0)
