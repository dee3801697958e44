"""A client and a carrier of a server session in one, for tests: says octets, answers questions, notes events."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from relay.message import reply
from relay.message.reply import Reply
from relay.smtp.events import (
    ContentEnded,
    ContentReceived,
    ContentStarted,
    EtrnReceived,
    Event,
    ExpandReceived,
    HelloReceived,
    HelpReceived,
    MailReceived,
    RecipientReceived,
    SessionOpened,
    TlsRequested,
    TransactionAborted,
    VerifyReceived,
)
from relay.smtp.extensions import ServerOffer
from relay.smtp.server import ServerSession

OFFER = ServerOffer("foo.com")

Answer = Reply | Callable[[Event], Reply | None]

USUAL: dict[type, Answer] = {
    SessionOpened: reply.greeting("foo.com"),
    HelloReceived: reply.NOTHING_DONE,
    MailReceived: reply.SENDER_OK,
    RecipientReceived: reply.RECIPIENT_OK,
    ContentStarted: reply.START_INPUT,
    ContentEnded: reply.QUEUED,
    VerifyReceived: reply.CANNOT_VERIFY,
    ExpandReceived: reply.NO_SUCH_USER,
    HelpReceived: reply.reply(211, "2.0.0", "all is well"),
    EtrnReceived: reply.NOTHING_DONE,
    TlsRequested: reply.READY_FOR_TLS,
}

TRANSACTION = b"MAIL FROM:<a@bar.com>\r\nRCPT TO:<b@xyz.com>\r\n"


class Talk:
    """One session, and what has become of it.

    events   all of them, in their order, the pieces of a content joined
    pieces   how many ContentReceived there were
    accepted the contents that were answered 2yz
    """

    def __init__(self, offer: ServerOffer = OFFER, answers: Mapping[type, Answer | None] | None = None) -> None:
        self.answers: dict[type, Answer | None] = {**USUAL, **(answers or {})}
        self.session = ServerSession(offer)
        self.events: list[Event] = []
        self.pieces = 0
        self.accepted: list[bytes] = []

    @classmethod
    def greeted(cls, offer: ServerOffer = OFFER, answers: Mapping[type, Answer | None] | None = None) -> Talk:
        """A session after EHLO."""
        talk = cls(offer, answers)
        assert talk.say(b"LHLO bar.com\r\n" if offer.lmtp else b"EHLO bar.com\r\n").startswith(b"220 foo.com")
        talk.events.clear()
        return talk

    def say(self, data: bytes, cut: int | None = None) -> bytes:
        """The client says this; what the server says to it."""
        said = self.run()
        for at in range(0, len(data), cut or max(len(data), 1)):
            self.session.receive_data(data[at : at + (cut or len(data))])
            said += self.run()
        return said

    def run(self) -> bytes:
        """Lets the session go on as far as it can; what the server says."""
        while (event := self.session.next_event()) is not None:
            self._note(event)
            answer = self.answers.get(type(event))
            if callable(answer):
                answer = answer(event)
            if answer is not None:
                if isinstance(event, ContentEnded) and answer.is_positive:
                    content = self.events[-2]
                    self.accepted.append(content.data if isinstance(content, ContentReceived) else b"")
                self.session.answer(answer)
        return self.session.data_to_send()

    def answer(self, reply: Reply) -> bytes:
        """Answers a question that was left open (an answer of None)."""
        self.session.answer(reply)
        return self.run()

    def _note(self, event: Event) -> None:
        last = self.events[-1] if self.events else None
        if isinstance(event, ContentReceived):
            self.pieces += 1
            if isinstance(last, ContentReceived):
                self.events[-1] = ContentReceived(last.data + event.data)
                return
        self.events.append(event)

    @property
    def aborted(self) -> list[str]:
        return [event.why for event in self.events if isinstance(event, TransactionAborted)]


def codes(said: bytes) -> list[int]:
    """The codes of the replies in ``said``."""
    return [int(line[:3]) for line in said.split(b"\r\n") if line[3:4] == b" "]
