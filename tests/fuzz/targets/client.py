"""A whole client session: whatever a server says, each recipient gets one answer, and never a wrong yes.

The first octet chooses the kind of session and the cut, the rest is what the server says.
"""

from __future__ import annotations

from relay.smtp.client import ClientSession
from relay.smtp.client_events import ContentWanted, CredentialsWanted, Opened, SessionEnded, TlsWanted, TransactionEnded
from tests.smtp.conversation import CONTENT, transaction


def run(octets: bytes) -> None:
    first = octets[0] if octets else 0
    said, size = octets[1:], 1 + first // 8
    session = ClientSession("relay.example", lmtp=bool(first & 1))
    wanted = transaction("a@example.net", "b@example.net", chunked=bool(first & 2))
    sent = b""
    begun = ended = over = 0
    for at in range(0, len(said) + size, size):
        if at < len(said):
            session.receive_data(said[at : at + size])
        else:
            session.lost("the connection was lost")
        while (event := session.next_event()) is not None:
            assert not over, "something after the end"
            match event:
                case Opened():
                    session.begin(wanted)
                    begun += 1
                case ContentWanted():
                    session.whole_content(CONTENT)
                case TransactionEnded():
                    ended += 1
                case SessionEnded():
                    over += 1
                case TlsWanted() | CredentialsWanted():
                    raise AssertionError("nobody asked for that")
        sent += b"".join(session.data_to_send())
    assert over == 1 and begun == ended <= 1
    assert len(wanted.answers) == 2 and (None in wanted.answers) == (not begun)
    for answer in wanted.answers:
        if answer is not None and answer.reply is not None and answer.reply.is_positive:
            assert CONTENT.splitlines()[0] in sent, "a yes to a content that never went"
            assert answer.step.name == "END"
