"""The client's half of the conversation, against hops that behave and hops that do not."""

from __future__ import annotations

import pytest

from relay.message.address import Address, parse_mailbox
from relay.message.envelope import Body, Envelope, Notify, Recipient, Ret
from relay.message.reply import Reply
from relay.smtp.client import ClientSession
from relay.smtp.client_events import TIMEOUT_S, ContentWanted, Opened, SessionEnded, TransactionEnded
from relay.smtp.stuffing import StrayLineEnd
from relay.smtp.transaction import Step, Transaction
from tests.fakes.next_hop import EVERYTHING, HANG_UP, SILENCE, NextHop
from tests.smtp.conversation import CONTENT, CUTS, Conversation, envelope, recipients, transaction

PLAIN = ("8BITMIME",)
cuts = pytest.mark.parametrize("cut", CUTS)
ways = pytest.mark.parametrize("extensions", [EVERYTHING, PLAIN, None], ids=["pipelined", "one by one", "HELO only"])


@cuts
@ways
def test_a_message_goes_out(extensions: tuple[str, ...] | None, cut: int) -> None:
    hop = NextHop(extensions)
    talk = Conversation(hop, [transaction("bob@example.net", "carl@example.net")], cut=cut).run()
    assert talk.answers() == ["END 250", "END 250"]
    (taken,) = hop.taken
    assert taken.content == CONTENT
    assert taken.recipients == ["TO:<bob@example.net>", "TO:<carl@example.net>"]
    assert hop.commands[-1] == "QUIT"
    assert talk.ending == SessionEnded(Step.QUIT, Reply(221, "2.0.0", ("bye",)))


def test_where_pipelining_is_offered_the_envelope_is_one_write() -> None:
    """RFC 2920 §3.1: MAIL, RCPT and DATA, which is the last of its group."""
    talk = Conversation(NextHop(), [transaction("a@example.net", "b@example.net")]).run()
    assert talk.sent[1].count(b"\r\n") == 4
    assert talk.sent[1].endswith(b"\r\nDATA\r\n")


def test_without_pipelining_each_command_waits_for_its_reply() -> None:
    talk = Conversation(NextHop(PLAIN), [transaction("a@example.net", "b@example.net")]).run()
    assert [out.count(b"\r\n") for out in talk.sent[:5]] == [1, 1, 1, 1, 1]


@cuts
def test_helo_follows_a_refused_ehlo(cut: int) -> None:
    """RFC 5321 §3.2."""
    hop = NextHop(None)
    talk = Conversation(hop, [transaction()], cut=cut).run()
    assert hop.commands[:2] == ["EHLO relay.example", "HELO relay.example"]
    assert talk.answers() == ["END 250"]


@pytest.mark.parametrize("reply", ["421 4.3.2 closing", "450 4.7.0 later", SILENCE, HANG_UP])
def test_helo_does_not_follow_any_other_trouble(reply: str) -> None:
    """A 421 says that the server closes: to go on with HELO would be to talk to nobody."""
    hop = NextHop(replies={"EHLO": reply})
    Conversation(hop, [transaction()]).run()
    assert hop.commands == ["EHLO relay.example"]


@cuts
@pytest.mark.parametrize("code", ["220-", "554 5.7.1 go away", "421 4.3.2 busy", "450 4.7.0 later", "hello", "354 3"])
def test_a_greeting_that_is_none_ends_the_session(code: str, cut: int) -> None:
    hop = NextHop(replies={"GREETING": code})
    talk = Conversation(hop, [transaction()], cut=cut).run()
    assert hop.commands == []
    assert not any(isinstance(event, Opened) for event in talk.events)
    if code != "220-":
        assert talk.ending.step is Step.GREETING


def test_a_reply_to_ehlo_that_came_with_the_greeting_is_not_believed() -> None:
    """What was said before we asked is no answer."""
    session = ClientSession("relay.example")
    session.receive_data(b"220 hop\r\n250-hop\r\n250 PIPELINING\r\n")
    event = session.next_event()
    assert isinstance(event, SessionEnded) and "nothing asked for" in event.why


@pytest.mark.parametrize("behind", ["250 2.0.0 another", "421 4.3.2 bye", "garbage"])
def test_a_session_that_ends_with_the_reply_that_opens_it_was_never_open(behind: str) -> None:
    """Found by fuzzing: the reply to EHLO and one that nothing asked for, in one segment."""
    session = ClientSession("relay.example")
    session.receive_data(b"220 hi\r\n")
    session.receive_data(b"250-hop.example\r\n250 8BITMIME\r\n" + behind.encode() + b"\r\n")
    assert session.over
    assert isinstance(session.next_event(), SessionEnded)
    assert session.next_event() is None


@pytest.mark.parametrize(
    ("behind", "answer"),
    [("250 ok", "CONTENT -"), ("garbage", "CONTENT -"), ("421 bye", "CONTENT 421"), ("552 full", "CONTENT 552")],
)
def test_what_comes_right_behind_354_decides(behind: str, answer: str) -> None:
    """Found by fuzzing: nobody is asked for the content of a session that is over."""
    hop = NextHop(replies={"DATA": f"354 go\n{behind}"})
    talk = Conversation(hop, [transaction()]).run()
    assert talk.answers() == [answer]
    assert not any(isinstance(event, ContentWanted) for event in talk.events)


# -- the envelope's wishes -------------------------------------------------------------------

WISHES = Envelope(parse_mailbox("ann@example.org"), Body.EIGHTBIT, True, Ret.HDRS, "a+b=c d")
WISHER = Recipient(parse_mailbox("bob@example.net"), Notify.SUCCESS | Notify.DELAY, "rfc822;B+b@example.net")


def test_wishes_are_passed_on_to_a_hop_that_knows_them() -> None:
    """RFC 1870, 6152, 6531, 3461: SIZE, BODY, SMTPUTF8, RET, ENVID, NOTIFY, ORCPT, xtext where it is due."""
    hop = NextHop()
    wanted = Transaction(WISHES, [WISHER], len(CONTENT), body=Body.EIGHTBIT, smtputf8=True)
    Conversation(hop, [wanted]).run()
    size = len(CONTENT)
    assert hop.commands[1:3] == [
        f"MAIL FROM:<ann@example.org> SIZE={size} BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+3Dc+20d",
        "RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+2Bb@example.net",
    ]


def test_no_hop_hears_of_an_extension_that_it_did_not_offer() -> None:
    """RFC 5321 §2.2.1."""
    hop = NextHop(())
    Conversation(hop, [Transaction(WISHES, [WISHER], len(CONTENT))]).run()
    assert hop.commands[1:3] == ["MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.net>"]


@pytest.mark.parametrize(
    ("recipient", "command"),
    [
        (Recipient(Address("Postmaster", "")), "RCPT TO:<Postmaster>"),
        (Recipient(Address("a b", "example.net")), 'RCPT TO:<"a b"@example.net>'),
        (Recipient(Address("a", "example.net"), Notify.NEVER), "RCPT TO:<a@example.net> NOTIFY=NEVER"),
        (
            Recipient(Address("a", "example.net"), None, "rfc822;\N{LATIN SMALL LETTER E WITH ACUTE}@x"),
            "RCPT TO:<a@example.net> ORCPT=utf-8;\\x{E9}@x",
        ),
        (Recipient(Address("a", "b.example"), None, "UTF-8;a+b@x"), "RCPT TO:<a@b.example> ORCPT=UTF-8;a\\x{2B}b@x"),
    ],
)
def test_recipients_are_written_as_the_law_wants(recipient: Recipient, command: str) -> None:
    hop = NextHop()
    Conversation(hop, [Transaction(envelope(None), [recipient], len(CONTENT))]).run()
    assert hop.commands[1] == f"MAIL FROM:<> SIZE={len(CONTENT)}"
    assert hop.commands[2] == command


def test_an_address_beyond_ascii_goes_as_it_is_where_utf8_may_stand() -> None:
    """RFC 6533 §3: the embedded form is for hops without SMTPUTF8, and for what would break the parameter."""
    hop = NextHop()
    recipient = Recipient(Address("a", "example.net"), None, "utf-8;j\u00f6 r=\u2028g@x")
    Conversation(hop, [Transaction(envelope(None), [recipient], len(CONTENT), smtputf8=True)]).run()
    assert hop.commands[2] == "RCPT TO:<a@example.net> ORCPT=utf-8;j\u00f6\\x{20}r\\x{3D}\\x{2028}g@x"


@pytest.mark.parametrize("evil", ["a\r\nRCPT TO:<evil", "a\nb", "a\rb", "a\0b"])
def test_an_address_cannot_smuggle_a_command(evil: str) -> None:
    """No parser gives such an address; should one come by another way, it goes no further."""
    wanted = Transaction(envelope(), [Recipient(Address(evil, "example.net"))], 10)
    with pytest.raises(ValueError, match="control"):
        Conversation(NextHop(), [wanted]).run()


def test_what_stands_in_orcpt_and_envid_cannot_break_a_line() -> None:
    hop = NextHop()
    wishes = Envelope(None, envid="x\r\nDATA")
    Conversation(hop, [Transaction(wishes, [Recipient(Address("a", "b"), None, "rfc822;x\r\nQUIT")], 10)]).run()
    assert hop.commands[1].endswith("ENVID=x+0D+0ADATA")
    assert hop.commands[2].endswith("ORCPT=rfc822;x+0D+0AQUIT")


# -- refusals --------------------------------------------------------------------------------


@cuts
@ways
def test_each_recipient_gets_its_own_answer(extensions: tuple[str, ...] | None, cut: int) -> None:
    hop = NextHop(extensions, recipients={"b@example.net": "550 5.1.1 no", "c@example.net": "450 4.2.1 busy"})
    wanted = transaction("a@example.net", "b@example.net", "c@example.net", "d@example.net")
    talk = Conversation(hop, [wanted], cut=cut).run()
    assert talk.answers() == ["END 250", "RECIPIENT 550", "RECIPIENT 450", "END 250"]
    assert hop.taken[0].recipients == ["TO:<a@example.net>", "TO:<d@example.net>"]


@cuts
@ways
@pytest.mark.parametrize("chunked", [False, True])
def test_when_all_are_refused_nothing_is_sent_and_the_session_goes_on(
    extensions: tuple[str, ...] | None, cut: int, chunked: bool
) -> None:
    hop = NextHop(extensions, recipients={"b@example.net": "550 5.1.1 no"})
    wanted = [transaction("b@example.net", chunked=chunked), transaction("a@example.net")]
    talk = Conversation(hop, wanted, cut=cut).run()
    assert (talk.answers(0), talk.answers(1)) == (["RECIPIENT 550"], ["END 250"])
    assert len(hop.taken) == 1
    assert "RSET" in hop.commands


@cuts
@ways
def test_a_refused_mail_decides_for_all(extensions: tuple[str, ...] | None, cut: int) -> None:
    hop = NextHop(extensions, replies={"MAIL": ["550 5.7.1 not you", ""]})
    wanted = [transaction("a@example.net", "b@example.net"), transaction()]
    talk = Conversation(hop, wanted, cut=cut).run()
    assert (talk.answers(0), talk.answers(1)) == (["MAIL 550", "MAIL 550"], ["END 250"])
    assert len(hop.taken) == 1


@cuts
@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_a_go_ahead_for_nobody_is_answered_by_a_lone_dot(verb: str, cut: int) -> None:
    """RFC 2920 §3.1: the client cannot assume that DATA is refused just because every recipient was."""
    hop = NextHop(replies={verb: ["550 5.1.1 no", ""], "DATA": "354 go ahead"})
    hop.replies = {verb: ["550 5.1.1 no", ""], "DATA": ["354 go ahead", ""], "END": ["554 5.5.1 nobody", ""]}
    talk = Conversation(hop, [transaction("b@example.net"), transaction()], cut=cut).run()
    assert (talk.answers(0), talk.answers(1)) == (
        [f"{Step.MAIL.name if verb == 'MAIL' else 'RECIPIENT'} 550"],
        ["END 250"],
    )
    assert b".\r\n" in talk.sent
    assert len(hop.taken) == 1


@cuts
@ways
@pytest.mark.parametrize("reply", ["451 4.3.0 disk", "554 5.6.0 no"])
def test_a_refused_data_decides_for_those_that_were_accepted(
    extensions: tuple[str, ...] | None, reply: str, cut: int
) -> None:
    hop = NextHop(extensions, replies={"DATA": [reply, ""]}, recipients={"b@example.net": "550 5.1.1 no"})
    wanted = [transaction("a@example.net", "b@example.net"), transaction("a@example.net")]
    talk = Conversation(hop, wanted, cut=cut).run()
    assert (talk.answers(0), talk.answers(1)) == ([f"DATA {reply[:3]}", "RECIPIENT 550"], ["END 250"])


@cuts
@ways
@pytest.mark.parametrize("reply", ["451 4.3.0 disk", "552 5.3.4 big", "554-5.7.1 spam\n554 5.7.1 really"])
def test_a_refused_content_needs_no_rset(extensions: tuple[str, ...] | None, reply: str, cut: int) -> None:
    """RFC 5321 §4.1.1.4: the end of data clears the buffers, whatever the answer."""
    hop = NextHop(extensions, replies={"END": [reply, ""]})
    talk = Conversation(hop, [transaction(), transaction()], cut=cut).run()
    assert (talk.answers(0), talk.answers(1)) == ([f"END {reply[:3]}"], ["END 250"])
    assert "RSET" not in hop.commands


def test_a_refused_rset_ends_the_session_before_the_next_message_began() -> None:
    hop = NextHop(replies={"RSET": "500 5.5.1 what?"}, recipients={"b@example.net": "550 5.1.1 no"})
    talk = Conversation(hop, [transaction("b@example.net"), transaction()]).run()
    assert talk.answers(1) == ["MAIL -"]
    assert talk.transactions[1].heard == 0
    assert talk.ending.step is Step.RESET


# -- BDAT ------------------------------------------------------------------------------------


@cuts
@pytest.mark.parametrize("pieces", [0, 7, 1000])
@pytest.mark.parametrize("extensions", [EVERYTHING, ("CHUNKING", "BINARYMIME")])
def test_binary_content_goes_out_as_it_is_by_bdat(extensions: tuple[str, ...], pieces: int, cut: int) -> None:
    """RFC 3030 §2, §3: no dots are doubled, nothing is appended."""
    binary = b"Subject: x\r\n\r\n\n.\n\r.\r\n.\r\n\0\xff"
    hop = NextHop(extensions)
    wanted = Transaction(envelope(), recipients(), len(binary), body=Body.BINARY, chunked=True)
    talk = Conversation(hop, [wanted, transaction()], binary, cut=cut, pieces=pieces)
    talk.transactions = [wanted]
    talk.run()
    assert talk.answers() == ["END 250"]
    assert hop.taken[0].content == binary
    assert "BODY=BINARYMIME" in hop.taken[0].sender
    assert "DATA" not in hop.commands


@cuts
def test_after_a_refused_chunk_no_further_one_is_sent(cut: int) -> None:
    """RFC 3030 §2: and the state is indeterminate, so RSET follows."""
    hop = NextHop(replies={"BDAT": ["451 4.3.1 full", ""]})
    wanted = [transaction(chunked=True), transaction()]
    talk = Conversation(hop, wanted[:1], cut=cut, pieces=7).run()
    assert talk.answers() == ["CHUNK 451"]
    assert sum(command.startswith("BDAT") for command in hop.commands) == 1


# -- LMTP ------------------------------------------------------------------------------------


@cuts
@pytest.mark.parametrize("extensions", [EVERYTHING, PLAIN])
@pytest.mark.parametrize("chunked", [False, True])
def test_lmtp_answers_for_each_recipient(extensions: tuple[str, ...], chunked: bool, cut: int) -> None:
    """RFC 2033 §4.2: one reply for each accepted recipient, in their order."""
    if chunked:
        extensions = (*extensions, "CHUNKING")
    hop = NextHop(
        extensions,
        lmtp=True,
        recipients={"b@example.net": "550 5.1.1 no"},
        replies={"END": ["250 2.0.0 a", "452 4.2.2 c is full", "552 5.2.2 d is full"]},
    )
    wanted = transaction("a@example.net", "b@example.net", "c@example.net", "d@example.net", chunked=chunked)
    talk = Conversation(hop, [wanted], cut=cut).run()
    assert talk.answers() == ["END 250", "RECIPIENT 550", "END 452", "END 552"]
    assert hop.commands[0] == "LHLO relay.example"


def test_lmtp_has_no_helo() -> None:
    hop = NextHop(None, lmtp=True)
    talk = Conversation(hop, [transaction()]).run()
    assert hop.commands == ["LHLO relay.example"]
    assert talk.ending.step is Step.HELLO


def test_lmtp_that_wants_content_for_nobody_is_left() -> None:
    """RFC 2033 §4.2: DATA fails when no recipient was accepted; a lone dot would have no reply to wait for."""
    hop = NextHop(lmtp=True, replies={"RCPT": "550 5.1.1 no", "DATA": "354 go"})
    talk = Conversation(hop, [transaction()]).run()
    assert talk.answers() == ["RECIPIENT 550"]
    assert talk.ending.reply is None


@cuts
def test_a_421_among_lmtp_replies_is_the_reply_to_one_and_leaves_the_rest_in_doubt(cut: int) -> None:
    hop = NextHop(lmtp=True, replies={"END": ["250 2.0.0 a", "421 4.3.2 closing"]})
    talk = Conversation(hop, [transaction("a@x.example", "b@x.example", "c@x.example")], cut=cut).run()
    assert talk.answers() == ["END 250", "END 421", "END -"]


# -- the next message behind the final dot ---------------------------------------------------


@cuts
@pytest.mark.parametrize("lmtp", [False, True])
def test_the_next_envelope_may_follow_the_final_dot(lmtp: bool, cut: int) -> None:
    """RFC 2920 §3.1: the content may be the first of a group."""
    hop = NextHop(lmtp=lmtp)
    wanted = [transaction("a@x.example", "b@x.example"), transaction("c@x.example"), transaction("d@x.example")]
    talk = Conversation(hop, wanted, cut=cut, ahead=True).run()
    assert [talk.answers(number) for number in range(3)] == [["END 250", "END 250"], ["END 250"], ["END 250"]]
    assert len(hop.taken) == 3
    followed = [out for out in talk.sent if b"\r\n.\r\nMAIL FROM" in out and out.endswith(b"DATA\r\n")]
    assert len(followed) == 2


@pytest.mark.parametrize(
    "replies", [b"", b"250 ok\r\n", b"250 ok\r\n250 ok\r\n", b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"]
)
def test_nothing_follows_before_the_content_has_gone_out(replies: bytes) -> None:
    session = opened()
    session.begin(transaction("a@x.example", "b@x.example"))
    session.receive_data(replies)
    assert not session.may_begin


def test_at_most_one_message_follows() -> None:
    talk = Conversation(NextHop(replies={"END": SILENCE}), [transaction(), transaction()], ahead=True).run()
    assert not talk.session.may_begin


def test_nothing_follows_without_pipelining() -> None:
    talk = Conversation(NextHop(PLAIN, replies={"END": SILENCE}), [transaction(), transaction()], ahead=True).run()
    assert not talk.session.may_begin
    assert talk.todo


@pytest.mark.parametrize("end", ["421 4.3.2 closing", HANG_UP, "garbage"])
def test_the_one_that_follows_is_never_in_doubt(end: str) -> None:
    """The server had not looked at it: it is simply tried again."""
    talk = Conversation(NextHop(replies={"END": end}), [transaction(), transaction()], ahead=True).run()
    assert talk.answers(0) == ["END 421" if end.startswith("421") else "END -"]
    assert talk.answers(1) == ["MAIL -"]
    assert talk.transactions[1].heard == 0


# -- desync ----------------------------------------------------------------------------------


def opened(*, lmtp: bool = False) -> ClientSession:
    session = ClientSession("relay.example", lmtp=lmtp)
    session.receive_data(b"220 hop\r\n")
    session.receive_data(b"250-hop\r\n250 PIPELINING\r\n")
    assert isinstance(session.next_event(), Opened)
    return session


def test_a_stale_yes_does_not_count_for_the_next_message() -> None:
    """A reply that nobody asked for ends the session; it must not be taken for the next one's."""
    session = opened()
    session.receive_data(b"250 2.0.0 ok\r\n")
    event = session.next_event()
    assert isinstance(event, SessionEnded) and event.reply is None
    assert session.over and not session.may_begin


def test_a_421_to_nothing_is_the_servers_leave() -> None:
    session = opened()
    session.receive_data(b"421 4.4.2 idle for too long\r\n")
    event = session.next_event()
    assert isinstance(event, SessionEnded) and event.reply is not None and event.reply.code == 421


@pytest.mark.parametrize("reply", [b"552 5.3.4 too big\r\n", b"451 4.3.1 full\r\n", b"421 4.3.2 closing\r\n"])
def test_a_refusal_in_the_middle_of_the_content_counts(reply: bytes) -> None:
    """Out of order, but plain; the content ends there and so does the session."""
    session, wanted = opened(), transaction()
    session.begin(wanted)
    session.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    session.content(b"Subject: half\r\n")
    session.receive_data(reply)
    answer = wanted.answers[0]
    assert answer is not None and answer.reply is not None
    assert (answer.step, answer.reply.code) == (Step.CONTENT, int(reply[:3]))
    assert session.over


def test_a_yes_in_the_middle_of_the_content_is_no_delivery() -> None:
    session, wanted = opened(), transaction()
    session.begin(wanted)
    session.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    session.content(b"Subject: half\r\n")
    session.receive_data(b"250 2.0.0 taken\r\n")
    answer = wanted.answers[0]
    assert answer is not None and answer.reply is None and answer.step is Step.CONTENT


@cuts
@pytest.mark.parametrize(
    ("verb", "reply", "answer"),
    [
        ("MAIL", "354 go", "MAIL -"),
        ("RCPT", "354 go", "RECIPIENT -"),
        ("DATA", "250 ok", "DATA -"),
        ("END", "354 go", "END -"),
        ("MAIL", "garbage", "MAIL -"),
        ("RCPT", "250-a\n550 b", "RECIPIENT -"),
        ("DATA", "999 x", "DATA -"),
        ("END", "250\tok", "END -"),
    ],
)
@ways
def test_a_senseless_reply_ends_the_session(
    extensions: tuple[str, ...] | None, verb: str, reply: str, answer: str, cut: int
) -> None:
    hop = NextHop(extensions, replies={verb: reply})
    talk = Conversation(hop, [transaction()], cut=cut).run()
    assert talk.answers() == [answer]
    assert talk.ending.reply is None and talk.ending.why


@cuts
@ways
@pytest.mark.parametrize(
    ("verb", "answer"),
    [("MAIL", "MAIL 421"), ("RCPT", "RECIPIENT 421"), ("DATA", "DATA 421"), ("END", "END 421")],
)
def test_421_at_any_step_decides_for_all_that_are_open(
    extensions: tuple[str, ...] | None, verb: str, answer: str, cut: int
) -> None:
    """RFC 5321 §3.8."""
    hop = NextHop(extensions, replies={verb: "421 4.3.2 closing"})
    talk = Conversation(hop, [transaction("a@example.net", "b@example.net")], cut=cut).run()
    assert talk.answers() == [answer, answer]
    assert talk.ending.reply is not None and talk.ending.reply.code == 421


@cuts
@pytest.mark.parametrize("verb", ["GREETING", "EHLO"])
def test_421_before_the_session_is_open(verb: str, cut: int) -> None:
    talk = Conversation(NextHop(replies={verb: "421 4.3.2 busy"}), [transaction()], cut=cut).run()
    assert isinstance(talk.events[0], SessionEnded)
    assert talk.ending.reply is not None and talk.ending.reply.code == 421


def test_content_with_a_stray_line_end_never_gets_its_dot() -> None:
    session = opened()
    session.begin(transaction())
    session.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    session.data_to_send()
    with pytest.raises(StrayLineEnd):
        session.whole_content(b"Subject: x\r\n\r\n", b"a\n.\r\nMAIL FROM:<evil@example.org>\r\n")
    session.lost("cut short")
    assert session.data_to_send() == []


# -- time ------------------------------------------------------------------------------------


def test_each_phase_has_its_time_out() -> None:
    """RFC 5321 §4.5.3.2: 5 minutes, 5, 5, 2, 3 for a block, 10 after the final dot."""
    session = ClientSession("relay.example")
    seen = [session.timeout_s]
    session.receive_data(b"220 hop\r\n")
    seen.append(session.timeout_s)
    session.receive_data(b"250 hop\r\n")
    seen.append(session.timeout_s)
    session.begin(transaction())
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        seen.append(session.timeout_s)
        session.receive_data(reply)
    seen.append(session.timeout_s)
    session.whole_content(CONTENT)
    seen.append(session.timeout_s)
    assert seen == [300, 300, None, 300, 300, 120, 180, 600]
    assert TIMEOUT_S[Step.END] == 600


def test_a_time_out_after_the_final_dot_leaves_it_in_doubt() -> None:
    talk = Conversation(NextHop(replies={"END": SILENCE}), [transaction()]).run()
    talk.session.timed_out()
    talk._act()
    assert talk.answers() == ["END -"]
    assert "timed out" in talk.ending.why


def test_every_event_comes_once_and_in_order() -> None:
    talk = Conversation(NextHop(), [transaction(), transaction()]).run()
    assert [type(event) for event in talk.events] == [
        Opened,
        ContentWanted,
        TransactionEnded,
        ContentWanted,
        TransactionEnded,
        SessionEnded,
    ]


def test_the_record_has_commands_and_replies_and_no_content() -> None:
    talk = Conversation(NextHop(), [transaction()]).run()
    said = [entry for _, entry in (*talk.session.record, *talk.transactions[0].record)]
    assert b"EHLO relay.example\r\n" in said
    assert not any(isinstance(each, bytes) and b"Hello" in each for each in said)
    assert [each.code for each in said if isinstance(each, Reply)] == [220, 250, 221, 250, 250, 354, 250]
