"""A whole server session: no octets raise, and where the stream is cut changes nothing.

The first octet chooses the offer and the cut, the rest is what the client says.
"""

from __future__ import annotations

from dataclasses import replace

from relay.smtp.data import BareLineEnds
from relay.smtp.events import ContentReceived
from relay.smtp.extensions import ServerOffer
from tests.smtp.talk import Talk

_LIMITS = ServerOffer("foo.com", message_size_limit=200, errors_limit=30)
_OFFERS = [
    replace(_LIMITS, lmtp=lmtp, bare_line_ends=bare, mechanisms=mechanisms)
    for lmtp in (False, True)
    for bare in BareLineEnds
    for mechanisms in ((), ("PLAIN", "LOGIN", "XOAUTH2"))
]


def _heard(offer: ServerOffer, stream: bytes, size: int) -> object:
    talk = Talk(offer)
    said = b"".join(talk.say(stream[at : at + size]) for at in range(0, len(stream), size))
    news = [event for event in talk.events if not isinstance(event, ContentReceived)]
    for line in said.split(b"\r\n"):
        assert len(line) <= 510 and line.isascii() and b"\n" not in line and b"\0" not in line
    return said, news, talk.accepted, talk.session.phase, talk.session.closing


def run(octets: bytes) -> None:
    first = octets[0] if octets else 0
    offer, size = _OFFERS[first % len(_OFFERS)], 1 + first // len(_OFFERS)
    stream = (b"LHLO" if offer.lmtp else b"EHLO") + b" bar.com\r\n" + octets[1:]
    assert _heard(offer, stream, size) == _heard(offer, stream, len(stream))
