"""The report as a message: multipart/report with its two or three parts (RFC 6522, RFC 3464, RFC 6533, RFC 3834).

The octets are written here, and not by a MIME library, so that the original is given back as it came.

The rule that must not be broken: nothing in a part can end that part, for the boundary occurs in none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.header import Header
from hashlib import sha256

from relay.bounce.facts import Facts
from relay.bounce.fields import delivery_status, field
from relay.bounce.text import text
from relay.message.address import domain_key
from relay.message.envelope import Body, Composed, Envelope, Recipient
from relay.message.outcome import Action
from relay.message.tls_required import tls_not_required
from relay.message.trace import date
from relay.message.transfer import encoded, is_binary, quoted_printable

_SUBJECT_LIMIT = 120  # characters of the original's
_SAYS = {
    Action.FAILED: "Undelivered",
    Action.DELAYED: "Delayed",
    Action.DELIVERED: "Delivered",
    Action.RELAYED: "Passed on",
    Action.EXPANDED: "Delivered to a list",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A body part: what it is for people, its type, the encoding that its octets are in, and they."""

    description: str
    media_type: str
    encoding: str
    octets: bytes


def compose(facts: Facts, recipient: Recipient) -> Composed:
    """The report, on its way to this recipient; its own sender is null (RFC 3461 §6.1)."""
    parts = [_for_people(facts), _for_programs(facts), _given_back(facts)]
    encoding = "8bit" if any(part.encoding == "8bit" for part in parts) else "7bit"
    name = _name(facts)
    boundary = _boundary(name, parts)
    pieces = [_header(facts, name, boundary, encoding).encode()]
    for part in parts:
        pieces += (b"--", boundary.encode(), b"\r\n", _label(part), part.octets, b"\r\n")
    pieces += (b"--", boundary.encode(), b"--\r\n")
    body = Body.EIGHTBIT if encoding == "8bit" else Body.SEVENBIT
    # RFC 8689 §5: a report tells of the message, and goes the same guarded way.
    envelope = Envelope(None, body, smtputf8=facts.utf8, require_tls=facts.message.envelope.require_tls)
    return Composed(envelope, (recipient,), b"".join(pieces))


def notice_mark(hostname: str) -> bytes:
    """What stands in the Message-ID of each of our notices to the postmaster, and so in whatever gives one back."""
    return f".undeliverable@{domain_key(hostname)}>".encode()


def _header(facts: Facts, name: str, boundary: str, encoding: str) -> str:
    said = "Undeliverable report" if facts.is_to_postmaster else _SAYS[facts.action]
    original_id = facts.original.message_id
    fields = [
        field("Date", date(facts.now)),
        field("From", "Mail Delivery System", f"<MAILER-DAEMON@{domain_key(facts.hostname)}>"),
        field("To", f"<{facts.reader}>"),
        _subject(said, facts),
        field("Message-ID", f"<{name}>"),
        *(field(name, original_id) for name in ("In-Reply-To", "References") if original_id),
        field("Auto-Submitted", "auto-generated" if facts.is_to_postmaster else "auto-replied"),
        # RFC 8689 §6: what was so unimportant, or told of broken TLS, is told of on the same terms.
        *([field("TLS-Required", "No")] if _needs_no_tls(facts) else []),
        field("MIME-Version", "1.0"),
        field("Content-Type", "multipart/report;", "report-type=delivery-status;", f'boundary="{boundary}"'),
        field("Content-Transfer-Encoding", encoding),
    ]
    return "".join(fields) + "\r\n"


def _needs_no_tls(facts: Facts) -> bool:
    """REQUIRETLS goes before the field (RFC 8689 §4.1)."""
    return tls_not_required(facts.original.header) and not facts.message.envelope.require_tls


def _subject(said: str, facts: Facts) -> str:
    subject = facts.original.subject[:_SUBJECT_LIMIT]
    if "=?" not in subject and (facts.utf8 or subject.isascii()):
        return field("Subject", *f"{said}: {subject}".split() if subject else (said,))
    folded = Header(f"{said}:", header_name="Subject")
    folded.append(subject, "utf-8")
    return "Subject: " + folded.encode(linesep="\r\n") + "\r\n"


def _name(facts: Facts) -> str:
    """The same report has the same name each time it is composed, as after a crash (RFC 5322 §3.6.4)."""
    told = sha256(repr((facts.message.id, facts.reader, facts.finals)).encode("utf-8", "replace"))
    kind = "undeliverable" if facts.is_to_postmaster else facts.action.value
    return f"{told.hexdigest()[:24]}.{kind}@{domain_key(facts.hostname)}"


def _boundary(name: str, parts: list[Part]) -> str:
    """A line that stands in none of the parts; found without chance, so that a report is the same each time."""
    number = 0
    while True:
        # "=_" cannot stand in quoted-printable or base64 (RFC 2045 §6.7).
        boundary = "=_" + sha256(f"{name} {number}".encode()).hexdigest()[:32]
        if not any(boundary.encode() in part.octets for part in parts):
            return boundary
        number += 1


def _label(part: Part) -> bytes:
    return "".join(
        (
            field("Content-Description", part.description),
            field("Content-Type", *part.media_type.split(" ")),
            field("Content-Transfer-Encoding", part.encoding) if part.encoding != "7bit" else "",
            "\r\n",
        )
    ).encode()


def _for_people(facts: Facts) -> Part:
    said = text(facts)
    if said.isascii():
        return Part("What happened", "text/plain; charset=us-ascii", "7bit", said.encode("ascii"))
    encoding, octets = encoded(said.encode())
    return Part("What happened", "text/plain; charset=utf-8", encoding, octets)


def _for_programs(facts: Facts) -> Part:
    fields = delivery_status(facts).encode()
    kind, encoding = ("delivery-status", "7bit") if fields.isascii() else ("global-delivery-status", "8bit")
    return Part("Delivery report", f"message/{kind}", encoding, fields)


def _given_back(facts: Facts) -> Part:
    """The original: as message/rfc822 it may not be encoded and goes as 8bit (RFC 6522 §4, RFC 6533 §4.4)."""
    original, smtputf8 = facts.original, facts.message.envelope.smtputf8
    is_global = smtputf8 and not original.header.isascii()
    if original.whole is not None:
        kind, octets = "message/global" if is_global else "message/rfc822", original.whole
        description = "The message"
    else:
        kind, octets = "message/global-headers" if is_global else "text/rfc822-headers", original.header
        description = "The header section of the message"
    if octets.isascii() and not is_binary(octets):
        return Part(description, kind, "7bit", octets)
    if kind == "message/rfc822" or (is_global and facts.utf8 and not is_binary(octets)):
        return Part(description, kind, "8bit", octets)
    return Part(description, kind, *(encoded(octets) if is_global else ("quoted-printable", quoted_printable(octets))))
