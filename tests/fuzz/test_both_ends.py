"""Our client talks to our server: what was put on the envelope and in the letter is what arrives, at every cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.message.address import Address
from relay.message.envelope import Body, Envelope, Notify, Recipient, Ret
from relay.message.reply import Reply
from relay.smtp.client import ClientSession
from relay.smtp.client_events import ContentWanted, Opened, TransactionEnded
from relay.smtp.events import ContentReceived, MailReceived, RecipientReceived
from relay.smtp.extensions import ServerOffer
from relay.smtp.replies import ReplyReader
from relay.smtp.transaction import Transaction
from tests.examples import examples
from tests.smtp.talk import Talk

printable = st.characters(min_codepoint=33, max_codepoint=126)
locals_ = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10) | st.text(
    st.characters(min_codepoint=0xA1, exclude_categories=("C", "Z")), min_size=1, max_size=6
)
addresses = st.builds(
    Address, locals_, st.sampled_from(["example.org", "x", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a_b.example"])
)
notify = (
    st.none()
    | st.just(Notify.NEVER)
    | st.sampled_from([1 << n for n in (1, 2, 3)]).map(Notify)
    | st.just(Notify.SUCCESS | Notify.DELAY)
)
orcpt = st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30).map(
    lambda text: f"rfc822;{text}"
) | st.text(st.characters(min_codepoint=0xA1, exclude_categories=("C", "Z")), min_size=1, max_size=8).map(
    lambda text: f"utf-8;{text}"
)  # fmt: skip
envid = st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=33)
contents = st.lists(
    st.sampled_from([b".", b"..", b"abc", b"", b"\xff", b"\0", b".\r\n.", b"MAIL FROM:<x@y>", b"x" * 1500]), max_size=8
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


def spoken(client: ClientSession, talk: Talk, transaction: Transaction, content: bytes, cut: int) -> bool:
    """Lets the two talk until the transaction is over; whether it was."""
    to_client, ended = talk.run(), False
    for _ in range(1000):
        for at in range(0, len(to_client), cut):
            client.receive_data(to_client[at : at + cut])
        while (event := client.next_event()) is not None:
            if isinstance(event, Opened):
                client.begin(transaction)
            elif isinstance(event, ContentWanted):
                client.whole_content(content)
            elif isinstance(event, TransactionEnded):
                ended = True
        to_server = b"".join(client.data_to_send())
        if ended or client.over or not (to_server or to_client):
            return ended
        to_client = talk.say(to_server, cut)
    raise AssertionError("they talk without end")


@examples(80)
@given(
    st.none() | addresses,
    st.lists(st.builds(Recipient, addresses, notify, orcpt), min_size=1, max_size=3),
    st.sampled_from([None, Ret.FULL, Ret.HDRS]),
    envid,
    contents,
    st.booleans(),
    st.sampled_from([1, 5, 10**6]),
    st.sampled_from([frozenset(), frozenset({"PIPELINING"})]),
)
def test_what_was_put_on_the_envelope_arrives(
    sender: Address | None,
    recipients: list[Recipient],
    ret: Ret | None,
    envid: str | None,
    content: bytes,
    chunked: bool,
    cut: int,
    off: frozenset[str],
) -> None:
    """RFC 3461's xtext, RFC 6533's escapes, quoted local parts, dots: what one end writes the other reads."""
    international = not all(each.address.is_ascii for each in recipients) or not (sender is None or sender.is_ascii)
    international |= not all((each.orcpt or "").isascii() for each in recipients)
    body = Body.BINARY if chunked and b"\0" in content else Body.EIGHTBIT
    talk = Talk(ServerOffer("foo.com", off=off))
    client = ClientSession("bar.com")
    wanted = Transaction(
        Envelope(sender, ret=ret, envid=envid),
        recipients,
        len(content),
        body=body,
        smtputf8=international,
        chunked=chunked,
    )
    assert spoken(client, talk, wanted, content, cut)
    assert [answer.reply.code for answer in wanted.answers if answer and answer.reply] == [250] * len(recipients)
    (mail,) = [event for event in talk.events if isinstance(event, MailReceived)]
    assert mail == MailReceived(sender, "MAIL", len(content), body, international, ret, envid)
    named = [event for event in talk.events if isinstance(event, RecipientReceived)]
    assert [(each.address, each.notify, each.orcpt) for each in named] == [
        (each.address, each.notify, each.orcpt) for each in recipients
    ]
    assert b"".join(event.data for event in talk.events if isinstance(event, ContentReceived)) == content


texts = st.text(st.characters(min_codepoint=33, max_codepoint=126) | st.just(" "), max_size=60).map(
    lambda text: text.strip()
)


@given(
    st.integers(200, 599).filter(lambda code: code // 100 != 3),
    st.tuples(st.integers(0, 999), st.integers(0, 999)),
    st.lists(texts, min_size=1, max_size=5),
    st.sampled_from([1, 5, 10**6]),
)
def test_a_reply_that_is_written_is_read_back(code: int, detail: tuple[int, int], lines: list[str], cut: int) -> None:
    """RFC 5321 §4.2, RFC 2034 §4: code, enhanced code and lines."""
    said = Reply(code, f"{code // 100}.{detail[0]}.{detail[1]}", tuple(lines))
    reader = ReplyReader()
    heard = []
    for at in range(0, len(said.wire), cut):
        reader.feed(said.wire[at : at + cut])
        while (one := reader.next_reply()) is not None:
            heard.append(one)
    assert heard == [said] if said.lines[0] or len(lines) == 1 else len(heard) == 1
