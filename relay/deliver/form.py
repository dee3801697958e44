"""In which form a message goes to a hop: what it needs, held against what the hop offers.

RFC 6152 §3, RFC 3030 §3 and RFC 6531 §3.5 leave two ways where the hop lacks what the content needs:
convert, or tell the sender.  Sending it as it is, is not one of them.
"""

from __future__ import annotations

from relay.message.address import Address
from relay.message.envelope import Body, Envelope
from relay.message.outcome import Failed
from relay.message.reply import reply
from relay.message.transfer import is_binary
from relay.message.value import value
from relay.smtp.offer import Offer

NEEDS_SMTPUTF8 = reply(550, "5.6.7", "The address or header needs SMTPUTF8, which the next host does not offer")
CANNOT_CONVERT = reply(
    554, "5.6.3", "The content is 8-bit or binary, the next host takes 7-bit only, and it cannot be converted"
)
TOO_LARGE_TO_CONVERT = CANNOT_CONVERT.saying(
    "The content is 8-bit or binary, the next host takes 7-bit only, and it is too large to be converted"
)
NEEDS_REQUIRETLS = reply(550, "5.7.30", "The message says REQUIRETLS, which the next host does not support")  # RFC 8689
TOO_BIG_FOR_HOP = reply(552, "5.3.4", "The message is larger than the next host takes")


@value(frozen=True, slots=True)
class Needs:
    """What the content needs of a hop.

    body      SEVENBIT, EIGHTBIT or BINARY: what it is, whatever it was declared to be
    smtputf8  its header section or reverse-path is not ASCII and the sender said SMTPUTF8
    """

    body: Body
    smtputf8: bool


@value(frozen=True, slots=True)
class Form:
    """How it goes out.

    convert  to 7-bit MIME first
    """

    body: Body
    smtputf8: bool = False
    chunked: bool = False
    convert: bool = False


def needs_of_whole(envelope: Envelope, head: bytes, content: bytes) -> Needs:
    """What a message needs whose content is at hand."""
    is_ascii = content.isascii() and head.isascii()
    body = Body.SEVENBIT if is_ascii else Body.EIGHTBIT
    # Content that was not declared binary came by DATA and has whole line ends; if not, sending it finds that out.
    if envelope.body is Body.BINARY and is_binary(content):
        body = Body.BINARY
    return Needs(
        body, envelope.smtputf8 and not (_sender_is_ascii(envelope) and (is_ascii or _ascii_header(head, content)))
    )


def needs_of_large(envelope: Envelope, head: bytes, beginning: bytes) -> Needs:
    """What a message needs of which only the beginning was looked at: what it was declared to need."""
    is_plain = _sender_is_ascii(envelope) and b"\r\n\r\n" in beginning and _ascii_header(head, beginning)
    return Needs(envelope.body, envelope.smtputf8 and not is_plain)


def needs_utf8(sender: Address | None, recipient: Address) -> bool:
    return not (recipient.is_ascii and (sender is None or sender.is_ascii))


def form_for(needs: Needs, offer: Offer, *, declared_smtputf8: bool) -> Form | Failed:
    """The form in which this hop takes what has these needs."""
    if needs.smtputf8 and not offer.smtputf8:
        return Failed(NEEDS_SMTPUTF8)
    smtputf8 = declared_smtputf8 and offer.smtputf8
    if needs.body is Body.BINARY:
        if offer.binarymime and offer.chunking:
            return Form(Body.BINARY, smtputf8, chunked=True)
        return Form(Body.SEVENBIT, smtputf8, convert=True)
    if needs.body is Body.EIGHTBIT:
        if offer.eightbitmime:
            return Form(Body.EIGHTBIT, smtputf8)
        return Form(Body.SEVENBIT, smtputf8, convert=True)
    return Form(Body.SEVENBIT, smtputf8)


def _sender_is_ascii(envelope: Envelope) -> bool:
    return envelope.reverse_path is None or envelope.reverse_path.is_ascii


def _ascii_header(head: bytes, content: bytes) -> bool:
    return head.isascii() and content[: content.find(b"\r\n\r\n")].isascii()
