"""MAIL and RCPT with their parameters, as they stand in a line: refused with a reply, or fields without control
characters that come back from xtext as they were."""

from __future__ import annotations

from relay.message.envelope import Body
from relay.smtp.commands import CommandRefused
from relay.smtp.extensions import ServerOffer, decode_utf8_address, decode_xtext, read_parameters
from relay.smtp.incoming import Incoming, sender_named
from relay.smtp.transaction import utf8_xtext, xtext

_OFFER = ServerOffer("foo.com", mechanisms=("PLAIN",))


def _is_clean(text: str) -> bool:
    return not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in text)


def run(octets: bytes) -> None:
    text = octets.decode("utf-8", "replace")
    for read in (
        lambda: sender_named(_OFFER, "MAIL", text),
        lambda: Incoming(_OFFER, Body.EIGHTBIT, True).recipient_named(text),
        lambda: read_parameters(text, _OFFER.mail_parameters),
        lambda: read_parameters(text, _OFFER.rcpt_parameters),
    ):
        try:
            read()
        except CommandRefused as refused:
            assert refused.reply.is_permanent and refused.reply.wire.count(b"\r\n") == len(refused.reply.lines)
    for decode, encode in ((decode_xtext, xtext), (decode_utf8_address, utf8_xtext)):
        try:
            decoded = decode(text)
        except ValueError:
            continue
        assert _is_clean(decoded)
        assert decode(encode(decoded)) == decoded
