"""Commands: the table of order against the session, and the arguments."""

from __future__ import annotations

import pytest

from relay.message import reply
from relay.message.address import Address
from relay.smtp.commands import COMMANDS, CommandRefused, Phase, chunk_size, hello_name, path_and_rest
from relay.smtp.extensions import ServerOffer
from tests.smtp.talk import OFFER, TRANSACTION, Talk, codes

TO_REACH: dict[Phase, bytes] = {
    Phase.CONNECTED: b"",
    Phase.READY: b"EHLO bar.com\r\n",
    Phase.ENVELOPE: b"EHLO bar.com\r\n" + TRANSACTION,
    Phase.CHUNKS: b"EHLO bar.com\r\n" + TRANSACTION + b"BDAT 0\r\n",
    Phase.SPOILED: b"EHLO bar.com\r\nMAIL FROM:<a@bar.com>\r\nBDAT 0\r\n",
}
SAID = {
    "EHLO": b"EHLO bar.com",
    "HELO": b"HELO bar.com",
    "MAIL": b"MAIL FROM:<a@bar.com>",
    "SEND": b"SEND FROM:<a@bar.com>",
    "SOML": b"SOML FROM:<a@bar.com>",
    "SAML": b"SAML FROM:<a@bar.com>",
    "RCPT": b"RCPT TO:<b@xyz.com>",
    "DATA": b"DATA",
    "BDAT": b"BDAT 0",
    "VRFY": b"VRFY b",
    "EXPN": b"EXPN b",
    "ETRN": b"ETRN bar.com",
    "AUTH": b"AUTH PLAIN",
}


@pytest.mark.parametrize("phase", TO_REACH)
@pytest.mark.parametrize("verb", OFFER.commands)
def test_a_command_may_come_when_the_table_says_so(verb: str, phase: Phase) -> None:
    """RFC 5321 §4.1.4: everywhere else it is 503 and changes nothing; 502 for what is not done."""
    talk = Talk(ServerOffer("foo.com", starttls=True, mechanisms=("PLAIN",)))
    talk.say(TO_REACH[phase])
    assert talk.session.phase is phase
    code = codes(talk.say(SAID.get(verb, verb.encode()) + b"\r\n"))[-1]
    command = COMMANDS[verb]
    if not command.implemented:
        assert code == 502
    elif phase in command.phases:
        assert code < 400 or (verb == "EXPN" and code == 550)
        return
    else:
        assert code == 503
    # A chunk out of order spoils the transaction it would have been part of.
    assert talk.session.phase is phase


@pytest.mark.parametrize("verb", OFFER.commands)
def test_nothing_but_quit_after_a_refused_greeting(verb: str) -> None:
    """RFC 5321 §3.1."""
    talk = Talk()
    talk.session.next_event()
    talk.answer(reply.ACCESS_DENIED)
    said = talk.say(SAID.get(verb, verb.encode()) + b"\r\n")
    assert codes(said) == [221 if verb == "QUIT" else 503]
    assert talk.session.closing is (verb == "QUIT")


def test_every_command_has_words_for_help() -> None:
    for verb, command in COMMANDS.items():
        assert command.usage.startswith(verb) and command.meaning
    assert OFFER.help("").code == 214
    assert OFFER.help("RCPT").lines[0].startswith("RCPT TO:")
    assert OFFER.help("TURN").code == 504


@pytest.mark.parametrize("verb", ["EHLO", "HELO", "LHLO"])
def test_lmtp_has_its_own_hello(verb: str) -> None:
    """RFC 2033 §4.1: a server of one protocol must not be taken for one of the other."""
    for lmtp in (False, True):
        known = verb in ServerOffer("foo.com", lmtp=lmtp).commands
        assert known is ((verb == "LHLO") is lmtp)


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("TO:<b@xyz.com>", ("b@xyz.com", "")),
        ("to:<b@xyz.com>", ("b@xyz.com", "")),
        ("TO: <b@xyz.com> A=B", ("b@xyz.com", " A=B")),
        ("TO:   <b@xyz.com>", ("b@xyz.com", "")),
        ('TO:<"a>b c"@xyz.com> A=B', ('"a>b c"@xyz.com', " A=B")),
        ("TO:<@a.example,@b.example:b@xyz.com>", ("b@xyz.com", "")),
        ("TO:<Postmaster>", ("Postmaster", "")),
    ],
)
def test_paths_are_found(argument: str, found: tuple[str, str]) -> None:
    path, rest = path_and_rest(argument, "TO:", reply.BAD_RECIPIENT_SYNTAX)
    assert isinstance(path, Address)
    assert (str(path), rest) == found


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("<b@xyz.com>", 501),
        ("TO <b@xyz.com>", 501),
        ("TO:b@xyz.com", 501),
        ("TO:", 501),
        ("TO:<b@xyz.com", 501),
        ("TO:<b@xyz.com>A=B", 501),
        ("TO:<" + "b" * 65 + "@xyz.com>", 501),
        ("TO:<b@@xyz.com>", 553),
        ("TO:<b>", 553),
        ("TO:<b@xyz.com,c@xyz.com>", 553),
    ],
)
def test_what_is_no_path_is_501_and_a_bad_mailbox_553(argument: str, code: int) -> None:
    """RFC 5321 §4.1.4, §4.5.3.1.9 for 501; §4.2.3 for 553, "mailbox syntax incorrect"."""
    with pytest.raises(CommandRefused) as refused:
        path_and_rest(argument, "TO:", reply.BAD_RECIPIENT_SYNTAX)
    assert refused.value.reply.code == code


def test_any_word_is_a_name() -> None:
    assert hello_name("MY_PRINTER in the hall") == "MY_PRINTER"
    assert hello_name("[192.0.2.1]") == "[192.0.2.1]"
    for name in ("a\tb", "x" * 256):
        with pytest.raises(CommandRefused):
            hello_name(name)


@pytest.mark.parametrize(
    ("argument", "size"),
    [
        ("0", (0, False)),
        ("86 LAST", (86, True)),
        ("86  last", (86, True)),
        ("00000000000000000086", (86, False)),
        ("99999999999999999999", (99999999999999999999, False)),
        ("", None),
        ("LAST", None),
        ("-1", None),
        ("+1", None),
        ("1_000", None),
        ("0x10", None),
        ("٣", None),
        ("86 LAST now", None),
        ("86LAST", None),
        ("1" * 21, None),
        ("1" * 5000, None),
    ],
)
def test_chunk_sizes(argument: str, size: tuple[int, bool] | None) -> None:
    """RFC 3030 §2.  What int() would take beyond 1*DIGIT is not taken."""
    assert chunk_size(argument) == size
