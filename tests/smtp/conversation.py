"""A ClientSession and a scripted next hop, talking without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from relay.message.address import parse_mailbox
from relay.message.envelope import Envelope, Recipient
from relay.smtp.client import ClientSession
from relay.smtp.client_events import ContentWanted, Event, Opened, SessionEnded, TransactionEnded
from relay.smtp.transaction import Transaction
from tests.fakes.next_hop import NextHop

CUTS = (0, 1, 5)
CONTENT = b"Subject: hello\r\n\r\nHello.\r\n..and a dot\r\n.\r\n"


def envelope(sender: str | None = "ann@example.org") -> Envelope:
    return Envelope(parse_mailbox(sender) if sender else None)


def recipients(*addresses: str) -> list[Recipient]:
    return [Recipient(parse_mailbox(address)) for address in addresses or ("bob@example.net",)]


def transaction(*addresses: str, content: bytes = CONTENT, **wishes: bool) -> Transaction:
    return Transaction(envelope(), recipients(*addresses), len(content), **wishes)  # type: ignore[arg-type]


@dataclass
class Conversation:
    """Runs transactions one after the other, then takes leave.

    cut       the server's octets come in pieces of this size; 0: as they are sent
    drop_after  the connection is lost after so many octets of the server
    """

    hop: NextHop
    transactions: Sequence[Transaction]
    content: bytes = CONTENT
    cut: int = 0
    drop_after: int | None = None
    pieces: int = 0
    ahead: bool = False
    events: list[Event] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)

    def run(self) -> Conversation:
        self.session = ClientSession("relay.example", lmtp=self.hop.lmtp)
        self.todo = list(self.transactions)
        server = self.hop.session()
        to_client = server.start()
        received = 0
        while not self.session.over:
            for piece in self._cut(to_client):
                piece = piece if self.drop_after is None else piece[: self.drop_after - received]
                received += len(piece)
                if piece:
                    self.session.receive_data(piece)
                    self._act()
            out = b"".join(self.session.data_to_send())
            if out:
                self.sent.append(out)
            was_closed, to_client = server.closed, server.receive(out)
            if received == self.drop_after or was_closed:
                self.session.lost("the connection was lost")
                self._act()
                break
            if not out:
                break
        return self

    def _cut(self, data: bytes) -> Iterator[bytes]:
        step = self.cut or max(len(data), 1)
        for start in range(0, len(data), step):
            yield data[start : start + step]

    def _act(self) -> None:
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            match event:
                case ContentWanted():
                    self._send_content(event.transaction)
                case TransactionEnded() | Opened() if self.todo and self.session.may_begin:
                    self.session.begin(self.todo.pop(0))
                case TransactionEnded() | Opened() if self.session.is_idle:
                    self.session.quit()
                case _:
                    pass

    def _send_content(self, transaction: Transaction) -> None:
        if not self.pieces:
            self.session.whole_content(self.content)
        elif transaction.chunked:
            done = sum(isinstance(event, ContentWanted) for event in self.events) - 1
            piece = self.content[done * self.pieces : (done + 1) * self.pieces]
            if piece:
                self.session.content(piece)
                return
            self.session.content_end()
        else:
            for start in range(0, len(self.content), self.pieces):
                self.session.content(self.content[start : start + self.pieces])
            self.session.content_end()
        if self.ahead and self.todo and self.session.may_begin:
            self.session.begin(self.todo.pop(0))

    @property
    def ending(self) -> SessionEnded:
        last = self.events[-1]
        assert isinstance(last, SessionEnded)
        return last

    def answers(self, number: int = 0) -> list[str]:
        """What each recipient of a transaction was answered: the step, and the code or ``-``."""
        return [
            f"{answer.step.name} {answer.reply.code if answer.reply else '-'}" if answer else "none"
            for answer in self.transactions[number].answers
        ]
