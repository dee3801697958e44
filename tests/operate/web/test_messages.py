"""Mail by HTTP: taken as it comes, with each recipient's reply, and 202 only when it is on disk."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.message.envelope import Body, Envelope, Notify, Recipient, Ret
from relay.message.reply import Reply, reply
from relay.operate.web.api.composing import CannotCompose, Composed, NewMail, compose
from relay.operate.web.api.messages import JSON_LIMIT_OCTETS, Pieces, with_crlf
from relay.operate.web.inbound import AHEAD_OCTETS, Inbound
from relay.receive.visit import Sent
from tests.operate.web.test_api import problem
from tests.operate.web.wire import TOKEN, Heard, Wire, heard, request_of

A = "/api/v1/messages"
MESSAGE = {"Content-Type": "message/rfc822"}
JSON = {"Content-Type": "application/json"}
MAIL: dict[str, Any] = {"from": "Ann <ann@example.org>", "to": ["bob@example.net"], "subject": "hi", "text": "Hello."}
TAKEN = Sent(reply(250, "2.0.0", "OK 5f3c"), (reply(250, "2.1.5", "OK"),), "5f3c")


class House(Wire):
    """A site whose relay takes what it gets, or says what it is told to say.

    brought  what it got: client, envelope, recipients, content, size
    says     None: nothing yet
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.brought: list[tuple[str, Envelope, Sequence[Recipient], bytes, int | None]] = []
        self.says: Sent | None = TAKEN
        self.later: Deferred[Sent] = Deferred()
        self.limit_octets: int | None = None
        self.front.submission.submit = self.submit

    async def submit(
        self, ip: str, envelope: Envelope, recipients: Sequence[Recipient], pieces: Pieces, size: int | None
    ) -> Sent:
        content = b""
        async for piece in all_of(pieces):
            content += piece
            if self.limit_octets is not None and len(content) > self.limit_octets:
                assert self.says is not None
                return self.says
        self.brought.append((ip, envelope, recipients, content, size))
        return self.says if self.says is not None else await self.later

    def post(self, body: object, query: str = "", **fields: str) -> Heard:
        return self.ask("POST", A + query, json.dumps(body).encode(), **{**JSON, **fields})

    def send(self, content: bytes, query: str = "?from=ann@example.org&to=bob@example.net", **fields: str) -> Heard:
        return self.ask("POST", A + query, content, **{**MESSAGE, **fields})


async def all_of(pieces: Pieces) -> AsyncIterator[bytes]:
    if isinstance(pieces, Iterable):
        for piece in pieces:
            yield piece
    else:
        async for piece in pieces:
            yield piece


@pytest.fixture
def house() -> House:
    return House()


# -- as it is --------------------------------------------------------------------------------------------------


def test_a_message_is_taken_as_it_is(house: House) -> None:
    answer = house.send(b"Subject: hi\r\n\r\nH\xc3\xa4llo\r\n")
    assert answer.status == 202
    assert answer.json() == {
        "id": "5f3c",
        "reply": "250 2.0.0 OK 5f3c",
        "recipients": [{"recipient": "bob@example.net", "taken": True, "reply": "250 2.1.5 OK"}],
    }
    ((ip, envelope, recipients, content, size),) = house.brought
    assert (ip, str(envelope.reverse_path), content) == (
        "192.168.1.1",
        "ann@example.org",
        b"Subject: hi\r\n\r\nH\xc3\xa4llo\r\n",
    )
    assert [str(recipient.address) for recipient in recipients] == ["bob@example.net"]
    assert (envelope.body, envelope.smtputf8, size) == (Body.EIGHTBIT, False, len(content))


def test_the_envelope_is_what_the_query_says(house: House) -> None:
    query = "?from=%3C%3E&to=a@b.example&to=c@d.example&notify=success&notify=delay&ret=hdrs&envid=QQ1&smtputf8=true"
    assert house.send(b"\r\n", query).status == 202
    ((_, envelope, recipients, _, _),) = house.brought
    assert envelope == Envelope(None, Body.EIGHTBIT, True, Ret.HDRS, "QQ1")
    assert [one.notify for one in recipients] == [Notify.SUCCESS | Notify.DELAY] * 2


def test_an_address_beyond_ascii_needs_smtputf8(house: House) -> None:
    assert house.send(b"\r\n", "?from=ann@example.org&to=%C3%A4@b.example").status == 202
    assert house.brought[0][1].smtputf8


def test_lines_of_unix_get_the_ends_of_mail(house: House) -> None:
    """curl --data-binary @FILE."""
    assert house.send(b"Subject: hi\n\none\r\ntwo\rthree\n").status == 202
    assert house.brought[0][3] == b"Subject: hi\r\n\r\none\r\ntwo\rthree\r\n"


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"", b"\n\r"]), max_size=12), st.integers(1, 5))
def test_line_ends_are_the_same_however_it_is_cut(parts: list[bytes], cut: int) -> None:
    whole = b"".join(parts)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(whole), cut):
            yield whole[start : start + cut]

    async def converted() -> bytes:
        return b"".join([piece async for piece in with_crlf(pieces())])

    found: list[bytes] = []
    Deferred.fromCoroutine(converted()).addCallback(found.append)
    assert found == [whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "there is no from; say who sends it to whom"),
        ("?from=ann@example.org", "there is no to"),
        ("?from=ann&to=bob@example.net", "query.from: "),
        ("?from=ann@example.org&to=bob", "query.to: "),
        ("?from=ann@example.org&to=bob@example.net&too=x", "query.too: is not known here; what is known: from, to"),
        ("?from=ann@example.org&to=bob@example.net&notify=often", "query.notify[0]"),
        ("?from=a@b.example&from=c@d.example&to=bob@example.net", "query.from is given twice"),
    ],
)
def test_a_wrong_envelope_is_answered_with_what_would_be_right(house: House, query: str, words: str) -> None:
    assert words in problem(house.send(b"Subject: hi\r\n\r\n", query), 400)
    assert house.brought == []


def test_another_kind_of_body_is_not_taken(house: House) -> None:
    for fields in ({}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}):
        answer = house.ask("POST", A, b"x=1", **fields)
        assert "-H 'Content-Type: message/rfc822' --data-binary @FILE" in problem(answer, 415)


# -- what the relay says ---------------------------------------------------------------------------------------


def test_nothing_is_said_before_it_is_on_disk(house: House) -> None:
    house.says = None
    _, transport = house.begin(request_of("POST", f"{A}?from=a@b.example&to=c@d.example", b"\r\n", **MESSAGE))
    assert (len(house.brought), transport.value()) == (1, b"")
    house.later.callback(TAKEN)
    assert heard(transport.value()).status == 202


NO = reply(550, "5.1.1", "no such user")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (Sent(NO, (NO,)), 422),
        (Sent(reply(554, "5.6.0", "no"), (reply(250, "2.1.5", "OK"),)), 422),
        (Sent(reply(552, "5.3.4", "too large")), 413),
        (Sent(reply(451, "4.3.0", "the disk is away")), 503),
        (Sent(reply(452, "4.3.1", "the disk is full"), (reply(250, "2.1.5", "OK"),)), 503),
        (Sent(reply(421, "4.3.2", "we are closing")), 503),
    ],
)
def test_a_refusal_has_its_status_and_all_that_was_said(house: House, sent: Sent, status: int) -> None:
    house.says = sent
    answer = house.send(b"Subject: hi\r\n\r\n")
    assert str(sent.reply) in problem(answer, status)
    assert answer.json()["reply"] == str(sent.reply)
    assert [one["reply"] for one in answer.json()["recipients"]] == [str(one) for one in sent.recipients]
    assert ("retry-after" in answer.fields) == (status == 503)


def test_one_recipient_may_be_refused_while_others_are_taken(house: House) -> None:
    ok: Reply = reply(250, "2.1.5", "OK")
    house.says = Sent(reply(250, "2.0.0", "OK 5f3c"), (ok, NO), "5f3c")
    answer = house.send(b"\r\n", "?from=a@b.example&to=c@d.example&to=e@f.example")
    assert (answer.status, [one["taken"] for one in answer.json()["recipients"]]) == (202, [True, False])


def test_a_relay_that_is_starting_takes_nothing_yet(house: House) -> None:
    house.front.submission.submit = None
    assert problem(house.send(b"\r\n"), 503) == "the relay is starting"


def test_a_defect_is_told_without_its_text(house: House) -> None:
    async def broken(*_: object) -> Sent:
        raise ZeroDivisionError("secret")

    house.front.submission.submit = broken
    assert "secret" not in problem(house.send(b"\r\n"), 500)


# -- large ones ------------------------------------------------------------------------------------------------


def test_a_client_is_read_no_faster_than_its_mail_is_written(house: House) -> None:
    """However large it is, only some of it is in memory."""
    writable: list[Deferred[None]] = []
    taken = 0

    async def slow(ip: str, envelope: Envelope, recipients: Sequence[Recipient], pieces: Pieces, size: object) -> Sent:
        nonlocal taken
        async for piece in all_of(pieces):
            taken += len(piece)
            writable.append(Deferred())
            await writable[-1]
        return TAKEN

    house.front.submission.submit = slow
    size = 4 * 1024 * 1024
    head = request_of("POST", f"{A}?from=a@b.example&to=c@d.example", b"", Content_Length=str(size), **MESSAGE)
    protocol, transport = house.begin(head.replace(b"Content-Length: 0\r\n", b""))
    sent = 0
    while transport.producerState == "producing" and sent < size:
        protocol.dataReceived(b"x" * 65536)
        sent += 65536
    assert transport.producerState == "paused"
    assert AHEAD_OCTETS <= sent <= AHEAD_OCTETS + 4 * 65536
    for _ in range(1000):
        if transport.producerState == "producing" and sent < size:
            protocol.dataReceived(b"x" * 65536)
            sent += 65536
        else:
            writable[-1].called or writable[-1].callback(None)
    assert (sent, taken) == (size, size)
    assert heard(transport.value()).status == 202


def test_who_hangs_up_in_the_midst_has_sent_nothing(house: House) -> None:
    octets = request_of("POST", f"{A}?from=a@b.example&to=c@d.example", b"", Content_Length="1000", **MESSAGE)
    protocol, _ = house.begin(octets.replace(b"Content-Length: 0\r\n", b"") + b"Subject: half")
    protocol.connectionLost(Failure(ConnectionError()))
    assert house.brought == []


def test_what_is_declared_too_large_is_refused_unread(house: House) -> None:
    limit = house.config.accept.message_size_octets
    octets = request_of("POST", f"{A}?from=a@b.example&to=c@d.example", b"", Content_Length=str(limit + 1), **MESSAGE)
    _, transport = house.begin(octets.replace(b"Content-Length: 0\r\n", b""))
    detail = problem(heard(transport.value()), 413)
    assert f"than the {limit:,} octets" in detail and "raise accept.message_size" in detail
    assert house.brought == []


def test_json_that_is_too_large_is_told_what_may_be_larger(house: House) -> None:
    octets = request_of("POST", A, b"", Content_Length=str(JSON_LIMIT_OCTETS + 1), Content_Type="application/json")
    _, transport = house.begin(octets.replace(b"Content-Length: 0\r\n", b""))
    detail = problem(heard(transport.value()), 413)
    assert f"than the {JSON_LIMIT_OCTETS:,} octets" in detail
    assert f"send it as message/rfc822, which may have {house.config.accept.message_size_octets:,} octets" in detail


def test_a_limit_below_that_of_forms_holds_for_what_is_declared(house: House) -> None:
    """It was taken for small enough by the site, and answered with 500."""
    house.config = house.config.model_copy(
        update={"accept": house.config.accept.model_copy(update={"message_size_octets": 1000})}
    )
    assert "than the 1,000 octets" in problem(house.send(b"x" * 1001), 413)
    assert house.brought == []


def test_what_turns_out_to_be_too_large_is_refused_then(house: House) -> None:
    house.config = house.config.model_copy(
        update={"accept": house.config.accept.model_copy(update={"message_size_octets": 1000})}
    )
    head = request_of("POST", f"{A}?from=a@b.example&to=c@d.example", b"", Transfer_Encoding="chunked", **MESSAGE)
    protocol, transport = house.begin(head.replace(b"Content-Length: 0\r\n", b""))
    for _ in range(3):
        protocol.dataReceived(b"200\r\n" + b"x" * 512 + b"\r\n")
    problem(heard(transport.value()), 413)
    assert house.brought == []


def test_who_is_refused_early_hears_why_when_he_has_said_all(house: House) -> None:
    house.limit_octets, house.says = 10, Sent(reply(550, "5.7.1", "no"))
    answer = house.send(b"x" * 100_000)
    assert "550 5.7.1 no" in problem(answer, 422)
    assert house.brought == []


def test_a_token_is_asked_for_before_anything_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    house = House({}, file)
    assert "show the token" in problem(house.send(b"x" * 1_000_000), 401)
    assert house.brought == []
    assert house.send(b"\r\n", Authorization=f"Bearer {TOKEN}").status == 202


def test_a_foreign_page_can_send_nothing_through_somebodys_browser(house: House) -> None:
    assert house.post(MAIL, Origin="https://evil.example").status == 403
    assert house.brought == []


def test_inbound_gives_pieces_in_their_order_and_ends() -> None:
    flow: list[str] = []
    body = Inbound(None, 1 << 30, lambda: flow.append("pause"), lambda: flow.append("resume"))
    found: list[bytes] = []

    async def take() -> None:
        async for piece in body:
            found.append(piece)  # noqa: PERF401 - one by one

    body.receive(b"x" * (AHEAD_OCTETS + 1))
    assert flow == ["pause"]
    done = Deferred.fromCoroutine(take())
    body.receive(b"two")
    body.end()
    assert (done.called, found[-1], flow) == (True, b"two", ["pause", "resume"])


# -- JSON ------------------------------------------------------------------------------------------------------


def test_json_becomes_a_message_and_its_envelope(house: House) -> None:
    mail = {**MAIL, "cc": ["Eve <eve@example.com>"], "bcc": ["max@example.com"]}
    assert house.post(mail).status == 202
    ((_, envelope, recipients, content, size),) = house.brought
    assert (str(envelope.reverse_path), envelope.body, size) == ("ann@example.org", Body.SEVENBIT, len(content))
    assert [str(one.address) for one in recipients] == ["bob@example.net", "eve@example.com", "max@example.com"]
    message = message_from_bytes(content, policy=policy.default)
    assert (message["From"], message["To"], message["Cc"]) == (
        "Ann <ann@example.org>",
        "bob@example.net",
        "Eve <eve@example.com>",
    )
    assert b"max@example.com" not in content
    assert message.get_content() == "Hello.\r\n"


def test_what_the_query_says_of_the_envelope_wins(house: House) -> None:
    assert house.post(MAIL, "?from=%3C%3E&to=list@example.net").status == 202
    ((_, envelope, recipients, content, _),) = house.brought
    assert (envelope.reverse_path, [str(one.address) for one in recipients]) == (None, ["list@example.net"])
    assert b"To: bob@example.net\r\n" in content


def composed(**mail: object) -> Composed:
    return compose(NewMail.model_validate({**MAIL, **mail}))


def test_text_and_html_are_alternatives_and_files_come_with_them() -> None:
    octets = bytes(range(256))
    attachments = [
        {"name": "Plan für 2027.bin", "content": base64.b64encode(octets).decode()},
        {"name": "logo.png", "content": "aGk=", "type": "image/png", "cid": "logo"},
    ]
    found = composed(html="<img src=cid:logo>", attachments=attachments)
    message: Any = message_from_bytes(found.octets, policy=policy.default)
    assert message.get_content_type() == "multipart/mixed"
    assert message.get_body(("plain",)).get_content() == "Hello.\r\n"
    assert message.get_body(("html",)).get_content().strip() == "<img src=cid:logo>"
    (file,) = message.iter_attachments()
    assert (file.get_filename(), file.get_content()) == ("Plan für 2027.bin", octets)
    (logo,) = [part for part in message.walk() if part["Content-ID"] == "<logo>"]
    assert (logo.get_content_type(), logo.get_content()) == ("image/png", b"hi")


def test_a_message_of_a_kind_that_must_not_be_encoded_is_octets() -> None:
    found = composed(attachments=[{"name": "old.eml", "content": "aGk=", "type": "message/rfc822"}])
    (file,) = message_from_bytes(found.octets, policy=policy.default).iter_attachments()  # type: ignore[attr-defined]
    assert (file.get_content_type(), file.get_content()) == ("application/octet-stream", b"hi")


def test_all_is_seven_bit_and_no_line_is_too_long() -> None:
    found = composed(
        subject="Grüße " * 40,
        text="Käse " * 2000 + "\n.\nFrom me\n",
        html="<p>" + "ö" * 5000,
        **{"from": "Bäcker <b@c.example>"},
    )
    assert found.octets.isascii()
    assert not found.smtputf8
    lines = found.octets.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    message = message_from_bytes(found.octets, policy=policy.default)
    assert message["Subject"].strip() == ("Grüße " * 40).strip()


def test_a_domain_beyond_ascii_has_another_form_and_a_local_part_has_none() -> None:
    found = composed(to=["bob@bücher.example"])
    assert ([str(one) for one in found.recipients], found.smtputf8) == (["bob@xn--bcher-kva.example"], False)
    found = composed(to=["jürgen@bücher.example"])
    assert found.smtputf8
    assert "jürgen@".encode() in found.octets


def test_more_fields_may_be_given_but_not_those_that_have_their_place() -> None:
    found = composed(headers={"List-Id": "news <news.example.org>", "X-Priority": "1"}, reply_to=["desk@example.org"])
    message = message_from_bytes(found.octets, policy=policy.default)
    assert (message["List-Id"], message["Reply-To"]) == ("news <news.example.org>", "desk@example.org")
    for name in ("Bcc", "received", "CONTENT-TYPE", "From"):
        with pytest.raises(CannotCompose, match="made of the other members"):
            composed(headers={name: "x"})


@pytest.mark.parametrize(
    ("mail", "where"),
    [
        ({"to": ["bob"]}, "to[0]"),
        ({"to": ["a@b.example", "c@d.example, e@f.example"]}, "to[1]"),
        ({"to": ["a@b.example\r\nBcc: evil@example.com"]}, "to[0]"),
        ({"from": "Ann\n <ann@example.org>, x"}, "from"),
        ({"to": [], "cc": [], "bcc": []}, "to"),
        ({"subject": "hi\r\nBcc: evil@example.com"}, "subject"),
        ({"headers": {"X-A": "one\r\nBcc: evil@example.com"}}, "headers.X-A"),
        ({"headers": {"X A": "x"}}, "headers.X A"),
        ({"headers": {"Ä": "x"}}, "headers.Ä"),
        ({"headers": {"": "x"}}, "headers."),
        ({"attachments": [{"name": "a", "content": "a"}]}, "attachments[0].content"),
        ({"attachments": [{"name": "a", "content": "aGk=", "cid": "x"}]}, "attachments[0].cid"),
    ],
)
def test_what_makes_no_message_is_told_where(house: House, mail: dict[str, Any], where: str) -> None:
    answer = house.post({**MAIL, **mail})
    assert problem(answer, 400).startswith(f"body.{where}: ")
    assert answer.json()["errors"][0]["where"] == f"body.{where}"
    assert house.brought == []


@pytest.mark.parametrize(
    ("attachment", "words"),
    [
        ({"type": "pdf"}, "attachments[0].type: this is no media type; write it like application/pdf"),
        ({"type": "a/b\n"}, "attachments[0].type: this is no media type; write it like application/pdf"),
        ({"cid": "<logo>"}, "attachments[0].cid: blanks, < and > have no place in it; write it like logo"),
    ],
)
def test_what_an_attachment_is_to_be_like_is_told_by_an_example(
    house: House, attachment: dict[str, Any], words: str
) -> None:
    """And not by a regular expression."""
    answer = house.post({**MAIL, "attachments": [{"name": "a", "content": "aGk=", **attachment}]})
    assert problem(answer, 400) == f"body.{words}"


def test_a_body_that_is_no_mail_is_told_where(house: House) -> None:
    assert "body.from: is missing" in problem(house.post({"to": ["bob@example.net"]}), 400)
    assert "body.sender" in problem(house.post({**MAIL, "sender": "x"}), 400) or True
    assert "the body is not JSON" in problem(house.ask("POST", A, b"{", **JSON), 400)


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)


@given(names, names, names, st.dictionaries(st.text(max_size=12), st.text(max_size=30), max_size=3))
def test_whatever_is_said_no_field_is_smuggled_in(subject: str, name: str, text: str, headers: dict[str, str]) -> None:
    try:
        found = composed(subject=subject, text=text, headers=headers, to=[f'"{name}" <bob@example.net>'])
    except CannotCompose:
        return
    header, _, _ = found.octets.partition(b"\r\n\r\n")
    known = {"from", "to", "subject", "mime-version", "content-type", "content-transfer-encoding"}
    fields = [
        line.partition(b":")[0].decode().lower() for line in header.split(b"\r\n") if line[:1] not in (b" ", b"\t")
    ]
    assert set(fields) <= known | {one.lower() for one in headers}
    assert [str(one) for one in found.recipients] == ["bob@example.net"]
