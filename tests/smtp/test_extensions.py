"""What is offered works, what is not offered does not; parameters are understood or refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message import reply
from relay.message.envelope import Body, Notify, Ret
from relay.smtp.commands import CommandRefused
from relay.smtp.events import MailReceived, RecipientReceived, VerifyReceived
from relay.smtp.extensions import (
    EXTENSIONS,
    ServerOffer,
    decode_utf8_address,
    decode_xtext,
    read_parameters,
)
from tests.smtp.talk import OFFER, Talk, codes


def test_ehlo_lists_what_is_offered() -> None:
    """RFC 5321 §4.1.1.1; in F.6 that SEND and its kin must be listed; RFC 9422 for LIMITS."""
    offer = ServerOffer("foo.com", message_size_limit=1000, recipients_limit=100, mails_limit=5)
    assert offer.keywords == (
        "PIPELINING",
        "SIZE 1000",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
        "DSN",
        "CHUNKING",
        "BINARYMIME",
        "SMTPUTF8",
        "LIMITS RCPTMAX=100 MAILMAX=5",
        "VRFY",
        "EXPN",
        "ETRN",
        "SEND",
        "SOML",
        "SAML",
        "HELP",
    )
    said = Talk(offer).say(b"EHLO bar.com\r\n").split(b"\r\n")
    assert said[1] == b"250-foo.com greets bar.com"
    assert [line[4:].decode() for line in said[2:-1]] == list(offer.keywords)
    assert said[-2] == b"250 HELP"


def test_starttls_and_auth_are_not_offered_while_they_are_not_there() -> None:
    """RFC 5321 §4.2.4: what is answered with 502 must not be listed."""
    assert not {"STARTTLS", "AUTH", "TURN"} & set(OFFER.extensions)
    assert set(ServerOffer("foo.com", starttls=True).extensions) - set(OFFER.extensions) == {"STARTTLS"}
    assert set(ServerOffer("foo.com", mechanisms=("PLAIN",)).extensions) - set(OFFER.extensions) == {"AUTH"}


@pytest.mark.parametrize("extension", EXTENSIONS, ids=lambda extension: extension.keyword)
def test_what_is_off_is_off(extension: Any) -> None:
    """Its keyword, its verbs and its parameters alike, and what cannot be without it."""
    offer = ServerOffer("foo.com", off=frozenset({extension.keyword}))
    assert extension.keyword not in offer.extensions
    assert not any(offer.commands[verb].implemented for verb in extension.verbs)
    assert not set(extension.mail_parameters) & offer.mail_parameters
    assert not set(extension.rcpt_parameters) & offer.rcpt_parameters
    for other in offer.extensions.values():
        assert extension.keyword not in other.needs


def test_a_session_without_any_extension() -> None:
    offer = ServerOffer("foo.com", off=frozenset(extension.keyword for extension in EXTENSIONS))
    assert Talk(offer).say(b"EHLO bar.com\r\n").endswith(b"\r\n250 foo.com greets bar.com\r\n")


def test_lines_grow_with_the_extensions() -> None:
    """RFC 1870 §2: 26; RFC 6152: 17; RFC 3030 §3: 16; RFC 6531 §3.1: 10; RFC 3461: ENVID of 100, ORCPT of 500."""
    assert OFFER.line_limit(b"MAIL FROM:<>") == OFFER.line_limit(b"saml from:<>") == 512 + 26 + 17 + 16 + 10 + 116
    assert OFFER.line_limit(b"RCPT TO:<>") == 512 + 536
    assert OFFER.line_limit(b"NOOP") == 512
    assert ServerOffer("foo.com", off=frozenset({"DSN"})).line_limit(b"RCPT TO:<>") == 512


def mail(parameters: str) -> MailReceived:
    talk = Talk.greeted()
    assert codes(talk.say(f"MAIL FROM:<a@bar.com> {parameters}\r\n".encode())) == [250]
    event = talk.events[0]
    assert isinstance(event, MailReceived)
    return event


def recipient(parameters: str) -> RecipientReceived:
    talk = Talk.greeted()
    talk.say(b"MAIL FROM:<a@bar.com>\r\n")
    assert codes(talk.say(f"RCPT TO:<b@xyz.com> {parameters}\r\n".encode())) == [250]
    event = talk.events[1]
    assert isinstance(event, RecipientReceived)
    return event


def test_parameters_of_mail_reach_the_carrier() -> None:
    plain = mail("")
    assert (plain.declared_size, plain.body, plain.smtputf8) == (None, Body.SEVENBIT, False)
    assert (plain.ret, plain.envid, plain.verb) == (None, None, "MAIL")
    told = mail("SIZE=5000 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=QQ+2B314+3D159+20x")
    assert (told.declared_size, told.body, told.smtputf8) == (5000, Body.EIGHTBIT, True)
    assert (told.ret, told.envid) == (Ret.HDRS, "QQ+314=159 x")
    assert mail("BODY=BINARYMIME").body is Body.BINARY


def test_parameters_of_rcpt_reach_the_carrier() -> None:
    assert (recipient("").notify, recipient("").orcpt) == (None, None)
    assert recipient("NOTIFY=never").notify is Notify.NEVER
    assert recipient("NOTIFY=SUCCESS,delay").notify == Notify.SUCCESS | Notify.DELAY
    assert recipient("ORCPT=rfc822;Ann+2BLee@Example.ORG").orcpt == "rfc822;Ann+Lee@Example.ORG"
    assert recipient("ORCPT=x400;/C=SE/".replace("=SE", "+3DSE")).orcpt == "x400;/C=SE/"
    assert recipient("ORCPT=utf-8;j\\x{F6}rg@bar.com").orcpt == "utf-8;jörg@bar.com"
    assert recipient("ORCPT=UTF-8;jörg@bar.com").orcpt == "UTF-8;jörg@bar.com"


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_xtext_comes_back_as_it_was(text: str) -> None:
    """RFC 3461 §4."""
    encoded = "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in text)
    assert decode_xtext(encoded) == text


@given(st.text(max_size=20))
def test_nothing_unprintable_comes_out_of_xtext(text: str) -> None:
    """CVE-2020-28026 and its kin: a line end in ENVID or ORCPT is a line of its own further on."""
    for decode in (decode_xtext, decode_utf8_address):
        try:
            decoded = decode(text)
        except ValueError:
            continue
        assert decoded.isprintable() or decode is decode_utf8_address
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in decoded)


@pytest.mark.parametrize("code", range(32))
def test_each_control_character_is_refused_in_any_disguise(code: int) -> None:
    for text in (f"a+{code:02X}b", f"a+{code:02x}b"):
        with pytest.raises(ValueError):
            decode_xtext(text)
        with pytest.raises(ValueError):
            decode_utf8_address(text)
    for text in (f"a\\x{{{code:02X}}}b", f"a\\x{{{code:06X}}}b"):
        with pytest.raises(ValueError):
            decode_utf8_address(text)


@pytest.mark.parametrize("text", ["a\\x{D800}b", "a\\x{110000}b", "a\\x{2028}", "a\\x{85}", "a+2028b\\x{85}"])
def test_what_is_no_character_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode_utf8_address(text)


def test_a_parameter_without_value_is_refused() -> None:
    for keyword in ("SIZE", "BODY", "RET", "ENVID"):
        for text in (keyword, keyword + "="):
            with pytest.raises(CommandRefused) as refused:
                read_parameters(" " + text, OFFER.mail_parameters)
            assert refused.value.reply.code == 501


def test_verify_with_smtputf8() -> None:
    """RFC 6531 §3.7.4.2: UTF-8 in the answer only to a client that says it takes it."""
    ann = VerifyReceived("ann", smtputf8=True)
    talk = Talk.greeted()
    talk.answers[VerifyReceived] = reply.reply(250, "2.1.5", "Jörg <ann@foo.com>")
    assert talk.say(b"VRFY ann SMTPUTF8\r\n") == "250 2.1.5 Jörg <ann@foo.com>\r\n".encode()
    assert talk.events == [ann]
    assert talk.say(b"VRFY ann\r\n") == b"250 2.1.5 J?rg <ann@foo.com>\r\n"
    assert talk.say("VRFY jörg\r\n".encode()).startswith(b"250")
    assert talk.events[-1] == VerifyReceived("jörg")
