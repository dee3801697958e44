"""A message on its way in, from MAIL to the answer to its last octet."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail

from relay.message.address import Address
from relay.message.envelope import Body, Notify, Ret
from relay.policy.policy import PolicySettings, Service
from relay.queue.store import StoreFull, StoreUnavailable
from relay.smtp.server import UNREAD_LIMIT_OCTETS
from tests.policy.test_forward import entries
from tests.receive.visit import HOSTNAME, STRANGER, House

MAIL, RCPT = "MAIL FROM:<ann@client.example>", "RCPT TO:<bob@ours.example>"
MESSAGE = b"Subject: dots\r\n\r\n..stuffed\r\n...\r\nend\r\n"
UNSTUFFED = b"Subject: dots\r\n\r\n.stuffed\r\n..\r\nend\r\n"
cuts = pytest.mark.parametrize("cut", [0, 1, 5])


@cuts
def test_a_message_is_queued_as_it_was_sent(cut: int) -> None:
    house = House()
    visit = house.visit()
    visit.sends(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + MESSAGE + b".\r\nQUIT\r\n", cut)
    heard = visit.heard()
    assert [line[:3] for line in heard] == ["250", "250", "354", "250", "221"]
    assert heard[3] == f"250 2.0.0 OK {house.only.message.id}"
    assert house.only.content == UNSTUFFED
    assert house.only.message.envelope.reverse_path == Address("ann", "client.example")
    assert [str(recipient.address) for recipient in house.recipients] == ["bob@ours.example"]


@cuts
def test_a_message_in_chunks_is_queued_as_it_was_sent(cut: int) -> None:
    """RFC 3030: no dots are stuffed."""
    house = House()
    visit = house.visit()
    chunks = b"BDAT 20\r\n" + MESSAGE[:20] + b"BDAT %d LAST\r\n" % (len(MESSAGE) - 20) + MESSAGE[20:]
    visit.sends(f"{MAIL} BODY=BINARYMIME\r\n{RCPT}\r\n".encode() + chunks, cut)
    assert [line[:3] for line in visit.heard()] == ["250"] * 4
    assert house.only.content == MESSAGE
    assert house.only.message.envelope.body is Body.BINARY


def test_all_replies_to_one_read_leave_in_one_write() -> None:
    visit = House().visit()
    writes: list[bytes] = []
    visit.wire.write = writes.append
    visit.sends(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + MESSAGE + b".\r\nQUIT\r\n")
    assert len(writes) == 1


def test_what_the_sender_wishes_is_kept() -> None:
    house = House()
    visit = house.visit()
    visit.says(
        "MAIL FROM:<ann@client.example> RET=HDRS ENVID=one+2Btwo BODY=8BITMIME SMTPUTF8",
        "RCPT TO:<bob@ours.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first+40x.example",
        "DATA",
        "x",
        ".",
    )
    envelope = house.only.message.envelope
    assert (envelope.ret, envelope.envid, envelope.body, envelope.smtputf8) == (
        Ret.HDRS,
        "one+two",
        Body.EIGHTBIT,
        True,
    )
    assert house.recipients[0].notify == Notify.SUCCESS | Notify.DELAY
    assert house.recipients[0].orcpt == "rfc822;first@x.example"


@pytest.mark.parametrize("verb", ["SEND", "SOML", "SAML"])
def test_send_soml_and_saml_are_mail(verb: str) -> None:
    """RFC 5321 F.6, the document's fourth dialogue."""
    house = House()
    house.visit().says(f"{verb} FROM:<ann@client.example>", RCPT, "DATA", "x", ".")
    assert house.only.message.envelope.reverse_path == Address("ann", "client.example")


def test_a_source_route_is_left_out() -> None:
    """RFC 5321 appendix C, the document's third dialogue."""
    house = House()
    house.visit().says(
        "MAIL FROM:<@a.example:ann@client.example>", "RCPT TO:<@foo.com:Jones@XYZ.COM>", "DATA", "x", "."
    )
    assert str(house.recipients[0].address) == "Jones@XYZ.COM"
    assert str(house.only.message.envelope.reverse_path) == "ann@client.example"


def test_a_recipient_named_twice_gets_it_once() -> None:
    forward = entries({"all": ["bob@ours.example", "eve@else.example"]})
    house = House(PolicySettings(HOSTNAME, domains=("ours.example",), forward=forward))
    visit = house.visit()
    to = [
        f"RCPT TO:<{one}>" for one in ("bob@OURS.example", "all@ours.example", "bob@ours.example", "Eve@else.example")
    ]
    assert [line[:3] for line in visit.says(MAIL, *to)] == ["250"] * 5
    visit.says("DATA", "x", ".")
    # Eve and eve may be two people at a host that is not ours (RFC 5321 §2.4).
    assert [str(recipient.address) for recipient in house.recipients] == [
        "bob@OURS.example", "eve@else.example", "Eve@else.example",
    ]  # fmt: skip


def test_a_list_owes_an_expanded_report() -> None:
    """RFC 3461 §5.2.7.3 c."""
    forward = entries({"all": ["bob@ours.example", "eve@else.example"]})
    house = House(PolicySettings(HOSTNAME, domains=("ours.example",), forward=forward))
    house.visit().says(MAIL, "RCPT TO:<all@ours.example> NOTIFY=SUCCESS,FAILURE", "DATA", "x", ".")
    assert [recipient.notify for recipient in house.recipients] == [Notify.FAILURE] * 2
    assert [str(recipient.address) for recipient in house.expanded] == ["all@ours.example"]


# -- what we put in front ----------------------------------------------------------------------


def head(house: House) -> str:
    return house.only.message.head.decode()


def test_received_is_stamped() -> None:
    """RFC 5321 §4.4."""
    house = House()
    house.names["203.0.113.9"] = "mail.client.example"
    house.visit(STRANGER).mails()
    assert head(house) == (
        f"Received: from client.example (mail.client.example [203.0.113.9])\r\n"
        f"\tby relay.example with ESMTP id {house.only.message.id}\r\n"
        "\tfor <bob@ours.example>;\r\n"
        "\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_a_name_that_comes_late_is_used_for_the_next_message() -> None:
    """The DNS never delays mail."""
    house = House()
    visit = house.visit()
    visit.mails()
    assert "(unknown [127.0.0.1])" in head(house)
    house.store.messages.clear()
    house.names["127.0.0.1"] = "localhost"
    visit.mails()
    assert "(localhost [127.0.0.1])" in head(house)


def test_who_has_no_name_is_put_in_words_once_a_session() -> None:
    """Most printers have none; what stands in queue and journal of who they are is made for each origin."""
    house = House()
    visit = house.visit()
    visit.mails()
    visit.mails()
    first, second = house.stored
    assert first.message.origin is second.message.origin


def test_several_recipients_are_not_told_of_each_other() -> None:
    house = House()
    house.visit().mails("x\r\n", "bob@ours.example", "eve@ours.example")
    assert "for <" not in head(house)


def test_for_shows_the_address_that_was_given_and_not_where_it_is_forwarded() -> None:
    house = House(PolicySettings(HOSTNAME, domains=("ours.example",), forward=entries({"bob": "secret@else.example"})))
    house.visit().mails()
    assert "for <bob@ours.example>" in head(house)
    assert "secret" not in head(house)


@pytest.mark.parametrize(
    ("targets", "is_shown"),
    [
        (["plain@else.example"], False),
        (["plain@else.example", "jörg@else.example"], False),
        (["jörg@else.example"], True),
        (["üf@ours.example"], True),
    ],
)
def test_an_address_beyond_ascii_is_not_shown_where_it_would_be_all_that_needs_smtputf8(
    targets: list[str], is_shown: bool
) -> None:
    """RFC 5321 §4.4: ``for`` may be left out; with it, a forward to a hop without SMTPUTF8 would bounce."""
    house = House(PolicySettings(HOSTNAME, domains=("ours.example",), forward=entries({"üf@ours.example": targets})))
    house.visit().says(f"{MAIL} SMTPUTF8", "RCPT TO:<üf@ours.example>", "DATA", "Subject: x", "", "x", ".")
    assert [str(recipient.address) for recipient in house.recipients] == targets
    assert ("for <üf@ours.example>" in head(house)) == is_shown


@pytest.mark.parametrize(
    "service, hello, parameters, protocol",
    [
        (Service.RELAY, "HELO x.example", "", "SMTP"),
        (Service.RELAY, "EHLO x.example", "", "ESMTP"),
        (Service.RELAY, "EHLO x.example", " SMTPUTF8", "UTF8SMTP"),
        (Service.SUBMISSION, "EHLO x.example", "", "ESMTP"),
        (Service.LMTP, "LHLO x.example", "", "LMTP"),
        (Service.LMTP, "LHLO x.example", " SMTPUTF8", "UTF8LMTP"),
    ],
)
def test_the_protocol_is_told(service: Service, hello: str, parameters: str, protocol: str) -> None:
    """RFC 3848, RFC 6531 §4.3."""
    house = House(service=service)
    house.visit(hello=hello).says(MAIL + parameters, RCPT, "DATA", "x", ".")
    assert f" with {protocol} id " in head(house)
    assert house.only.message.origin.protocol == protocol


def test_a_mapped_address_is_stamped_as_ipv4() -> None:
    house = House()
    house.visit("::ffff:203.0.113.9").mails()
    assert "[203.0.113.9]" in head(house)


def test_a_unix_socket_is_one_of_us() -> None:
    house = House()
    assert house.visit("").mails("x\r\n", "eve@else.example").startswith("250")
    assert "(localhost [local])" in head(house)


@pytest.mark.parametrize("hello", ["EHLO x\ty(", "EHLO [127.0.0.1]", "EHLO (comment", "EHLO x;y", "HELO -"])
def test_no_hello_breaks_the_field(hello: str) -> None:
    house = House()
    visit = house.visit(hello=hello)
    visit.mails()
    if house.stored:
        first = head(house).split("\r\n")[0]
        assert first.count("(") == 1 and "\t" not in first


def test_text_without_header_section_stays_text() -> None:
    house = House()
    house.visit().mails("Blah blah blah...\r\n...etc. etc. etc.\r\n".replace("\r\n...", "\r\n...."))
    assert head(house).endswith("\r\n\r\n")


def test_only_a_submission_gets_fields_that_it_lacks() -> None:
    """RFC 6409 §8."""
    relayed, submitted = House(), House(service=Service.SUBMISSION)
    relayed.visit().mails()
    submitted.visit().mails()
    assert "Message-ID" not in head(relayed)
    assert head(submitted).endswith(
        "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        "From: <ann@client.example>\r\n"
        f"Message-ID: <{submitted.only.message.id}@relay.example>\r\n"
    )


# -- LMTP --------------------------------------------------------------------------------------


def test_lmtp_answers_for_each_recipient() -> None:
    """RFC 2033 §4.2: for those that were accepted, in their order."""
    house = House(service=Service.LMTP)
    visit = house.visit(STRANGER, hello="LHLO client.example")
    visit.says(MAIL, RCPT, "RCPT TO:<x@else.example>", "RCPT TO:<eve@ours.example>", RCPT, "DATA")
    assert [line[:9] for line in visit.says("x", ".")] == ["250 2.0.0"] * 3
    assert len(house.recipients) == 2


def test_lmtp_tells_each_recipient_of_a_full_disk() -> None:
    house = House(service=Service.LMTP)
    house.store.trouble["commit"] = StoreFull("no room")
    visit = house.visit(hello="LHLO client.example")
    visit.says(MAIL, RCPT, "RCPT TO:<eve@ours.example>", "DATA")
    assert [line[:9] for line in visit.says("x", ".")] == ["452 4.3.1"] * 2


# -- trouble -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["begin", "write", "commit"])
@pytest.mark.parametrize("trouble, code", [(StoreFull("full"), "452"), (StoreUnavailable("broken"), "451")])
def test_trouble_of_the_store_is_temporary_and_passes(where: str, trouble: StoreUnavailable, code: str) -> None:
    house = House()
    house.store.trouble[where] = trouble
    visit = house.visit()
    visit.says(MAIL, RCPT)
    assert visit.says("DATA", *([] if where == "begin" else ["x", "."]))[-1].startswith(code)
    assert house.store.drafts == set() and not house.stored
    assert house.steps("trouble")
    del house.store.trouble[where]
    visit.says("RSET")
    assert visit.mails().startswith("250")


@pytest.mark.parametrize("service", [Service.RELAY, Service.SUBMISSION])
@pytest.mark.parametrize("defect", ["enqueue", "policy", "clock"])
def test_a_defect_is_told_whole_and_the_peer_sees_none_of_it(service: Service, defect: str) -> None:
    house = House(service=service)
    secret = ZeroDivisionError("secret")

    def broken(*_: object) -> object:
        raise secret

    visit = house.visit()
    if defect == "enqueue":
        house.factory.house.enqueue = broken
    elif defect == "policy":
        house.policy.content = broken
    else:
        house.clock.seconds = broken
    said = visit.mails()
    assert said == "451 4.3.0 Requested action aborted: local error in processing"
    (told,) = house.steps("trouble")
    assert "secret" in str(told["error"]) and "Traceback" in str(told["traceback"])
    assert house.store.drafts == set()


def test_an_enqueue_that_fails_before_the_commit_leaves_no_draft() -> None:
    house = House()
    house.factory.house.enqueue = lambda *_: fail(StoreUnavailable("no routes"))
    assert house.visit().mails().startswith("451")
    assert house.store.drafts == set()


# -- waiting -----------------------------------------------------------------------------------


def test_250_is_said_only_when_the_commit_has_happened() -> None:
    """The one promise: what was answered 250 survives a crash."""
    house = House()
    house.store.slow_commits = True
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    visit.sends(MESSAGE + b".\r\nNOOP\r\n")
    assert visit.heard() == []
    house.store.commit_now()
    assert [line[:3] for line in visit.heard()] == ["250", "250"]
    assert house.only.content == UNSTUFFED


def test_while_a_commit_is_waited_for_a_client_that_sends_on_is_not_read() -> None:
    """Memory stays bounded, however much is pipelined."""
    house = House()
    house.store.slow_commits = True
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    visit.sends(MESSAGE + b".\r\n")
    assert visit.wire.producerState == "producing"  # a little may come: to stop and go for each message costs more
    visit.sends(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + b"x" * UNREAD_LIMIT_OCTETS)
    assert visit.wire.producerState == "paused"
    house.store.commit_now()
    assert visit.wire.producerState == "producing"


def test_a_slow_disk_slows_the_client_down() -> None:
    house = House()
    house.store.slow_writes = True
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    visit.sends(b"Subject: x\r\n")
    body = b"x" * UNREAD_LIMIT_OCTETS + b"\r\n"
    visit.sends(b"\r\n" + body)
    assert visit.wire.producerState == "paused"
    house.store.write_now()
    assert visit.wire.producerState == "producing"
    visit.sends(b".\r\n")
    assert visit.heard() == []
    while house.store._writes:
        house.store.write_now()
    assert visit.heard()[-1].startswith("250")
    assert house.only.content == b"Subject: x\r\n\r\n" + body


def test_octets_that_arrive_while_a_write_is_waited_for_keep_their_order() -> None:
    house = House()
    house.store.slow_writes = True
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    for piece in (b"one\r\n", b"two\r\n", b".\r\nQUIT\r\n"):
        visit.sends(piece)
    while house.store._writes:
        house.store.write_now()
    assert [line[:3] for line in visit.heard()] == ["250", "221"]
    assert house.only.content == b"one\r\ntwo\r\n"


def test_a_slow_write_that_fails_is_trouble_at_the_end() -> None:
    house = House()
    house.store.slow_writes = True
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    visit.sends(b"one\r\n")
    house.store._writes.popleft().errback(StoreFull("no room"))
    visit.sends(b"two\r\n.\r\n")
    assert visit.heard()[-1].startswith("452")
    assert house.store.drafts == set() and not house.stored


def test_a_refusal_while_a_write_is_waited_for_stays_what_it_is() -> None:
    """The write is given up with the draft; that is no trouble, and no reason to come again."""
    house = House()
    house.store.slow_writes = True
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    visit.sends(b"X: " + b"x" * 1_000_000 + b"\r\n")
    visit.sends(b"\r\n.\r\n")
    while house.store._writes:
        house.store.write_now()
    assert visit.heard()[-1].startswith("552")
    assert not [step for step in house.told if step[0] == "trouble"]


def test_refused_content_is_not_written() -> None:
    house = House(size_limit_octets=100)
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    visit.sends(b"body\r\n" * 100)
    assert house.store.drafts == set()
    assert visit.says(".")[-1].startswith("552")


# -- leaving -----------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [0, 1, 2, 3, 4, 5])
def test_a_client_that_leaves_early_leaves_nothing_behind(said: int) -> None:
    house = House()
    visit = house.visit(hello=None)
    visit.says(*("EHLO client.example", MAIL, RCPT, "DATA", "some content")[:said])
    visit.leaves()
    assert house.store.drafts == set() and not house.stored
    assert house.factory.sessions == 0


def test_a_client_that_leaves_before_its_250_may_be_served_all_the_same() -> None:
    """RFC 1047: it cannot know, and will send again; losing the message would be worse."""
    house = House()
    house.store.slow_commits = True
    visit = house.visit()
    visit.mails()
    visit.leaves()
    house.store.commit_now()
    assert house.only.content
    assert visit.heard() == []


def test_a_client_that_leaves_during_a_slow_write() -> None:
    house = House()
    house.store.slow_writes = True
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    visit.sends(b"one\r\n")
    visit.leaves()
    house.store.write_now()
    assert house.store.drafts == set()
    assert not [step for step in house.told if step[0] == "trouble"]


@pytest.mark.parametrize("what", ["RSET", "EHLO again.example", "MAIL FROM:<x@y.example>"])
def test_a_transaction_does_not_leak_into_the_next(what: str) -> None:
    house = House()
    visit = house.visit()
    visit.says(MAIL, "RCPT TO:<secret@ours.example>", what, "RSET")
    visit.mails()
    assert [str(recipient.address) for recipient in house.recipients] == ["bob@ours.example"]


# -- told --------------------------------------------------------------------------------------


def test_each_step_is_told_once() -> None:
    house = House()
    visit = house.visit()
    visit.mails("Message-ID: <1@client.example>\r\n\r\nx\r\n")
    visit.says("QUIT")
    visit.leaves()
    assert [step for step, _ in house.told] == ["connected", "accepted", "disconnected"]
    (accepted,) = house.steps("accepted")
    message = house.only.message
    assert accepted == {
        "id": message.id,
        "client": "127.0.0.1",
        "helo": "client.example",
        "protocol": "ESMTP",
        "sender": "ann@client.example",
        "recipients": 1,
        "size": message.size,
        "message_id": "<1@client.example>",
    }


def test_a_refusal_is_told_with_its_rule() -> None:
    house = House()
    house.visit(STRANGER).says(MAIL, "RCPT TO:<x@else.example>")
    (refused,) = house.steps("refused")
    assert refused["recipient"] == "x@else.example" and refused["place"] == "accept.networks"
    assert str(refused["reply"]).startswith("550 5.7.1")


def test_content_that_was_given_up_is_told() -> None:
    house = House()
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA", "some content")
    visit.leaves()
    assert [fields["error"] for fields in house.steps("refused")] == ["connection lost"]


def test_a_defect_while_forgetting_does_not_end_the_session() -> None:
    """News has no answer: a 451 for it would be the answer to a question that nobody asked."""
    house = House()
    begin = house.store.begin

    def stubborn() -> object:
        draft = begin()
        draft.abort = lambda: 1 / 0
        return draft

    house.store.begin = stubborn
    visit = house.visit()
    visit.says(MAIL, RCPT)
    visit.sends(b"BDAT 1\r\nx")
    assert [line[:3] for line in visit.says("RSET", "NOOP")] == ["250", "250", "250"]
    assert len(house.steps("trouble")) == 1
