"""The message/delivery-status part: what programs read of a report (RFC 3464 §2, RFC 3461 §6.3, RFC 6533 §4.1).

The rule that must not be broken: whatever a peer said becomes printable text without line ends before it
stands in a field, so that it adds no field of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from relay.bounce.facts import Facts
from relay.message.address import domain_key
from relay.message.envelope import Recipient
from relay.message.outcome import Action, Final
from relay.message.reply import printable
from relay.message.trace import date

_LINE_CHARACTERS = 78  # RFC 5322 §2.1.1: SHOULD
_ATOM_OCTETS = 970  # with the field's name before it below the 998 of RFC 5322 §2.1.1: MUST
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.:\-\[\]]")
_NOT_IN_A_TYPE = re.compile(r"[^A-Za-z0-9\-]")
_EMBEDDED = re.compile(r"\\x\{(10[0-9A-Fa-f]{4}|[0-9A-Fa-f]{2,5})\}")
_STATUS = re.compile(r"[245]\.(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})")
_CLASS = {Action.FAILED: "5", Action.DELAYED: "4"}


def delivery_status(facts: Facts) -> str:
    """The whole part: the fields of the message, then a group of fields for each recipient."""
    groups = [_of_message(facts), *(_of_recipient(facts, *one) for one in facts.finals)]
    return "\r\n".join("".join(group) for group in groups)


def field(name: str, *atoms: str) -> str:
    """A field with its CRLF.  It may be folded between atoms; within one only where the law would be broken."""
    first, *others = _short(atoms)
    lines = [f"{name}: {first}"]
    for atom in others:
        if len(lines[-1]) + 1 + len(atom) > _LINE_CHARACTERS:
            lines.append(f" {atom}")
        else:
            lines[-1] += f" {atom}"
    return "\r\n".join(lines) + "\r\n"


def status(final: Final) -> str:
    """The enhanced code, one in any case (RFC 3461 §6.3 g)."""
    return final.status if _STATUS.fullmatch(final.status) else f"{_CLASS.get(final.action, '2')}.0.0"


def mta(name: str) -> tuple[str, str]:
    """The type and name of a host (RFC 3461 §6.3 b): ``dns`` is for names that the DNS may know."""
    name = _NOT_IN_A_NAME.sub("?", domain_key(name) if not name.isascii() else name)[:255] or "unknown"
    return ("dns;" if "." in name or name.startswith("[") else "x-local-hostname;"), name


def _short(atoms: tuple[str, ...]) -> Iterator[str]:
    for atom in atoms:
        if len(atom.encode()) <= _ATOM_OCTETS:
            yield atom
        else:
            room = _ATOM_OCTETS // 4
            yield from (atom[at : at + room] for at in range(0, len(atom), room))


def _of_message(facts: Facts) -> Iterator[str]:
    message = facts.message
    if message.envelope.envid is not None:
        yield field("Original-Envelope-Id", _text(message.envelope.envid, facts))
    yield field("Reporting-MTA", *mta(facts.hostname))
    if message.origin.client_ip:
        # RFC 3464 §2.2.4: the name that it gave itself, its address as a comment.
        address = _NOT_IN_A_NAME.sub("?", message.origin.client_ip)
        yield field("Received-From-MTA", "dns;", mta(message.origin.helo)[1], f"({address})")
    yield field("Arrival-Date", date(message.accepted_at))


def _of_recipient(facts: Facts, recipient: Recipient, final: Final) -> Iterator[str]:
    if recipient.orcpt is not None and not recipient.orcpt_is_ours:
        yield field("Original-Recipient", *_original_recipient(recipient.orcpt, facts))
    address = str(recipient.address)
    yield field("Final-Recipient", *(("rfc822;", address) if address.isascii() else ("utf-8;", _utf8(address, facts))))
    yield field("Action", final.action.value)
    yield field("Status", status(final))
    if final.said:  # RFC 3464 §2.3.6: where it stands, that host has issued the diagnostic code
        yield field("Remote-MTA", "dns;", mta(final.hop.partition(" ")[0])[1])
    if final.reply:
        kind = "smtp;" if final.said else "x-relay;"  # RFC 3461 §9.2: smtp is for replies that came by SMTP
        yield field("Diagnostic-Code", kind, *_text(" ".join(facts.reply_of(final)), facts).split())
    yield field("Last-Attempt-Date", date(final.at))
    if final.action is Action.DELAYED and facts.retry_until is not None:
        yield field("Will-Retry-Until", date(facts.retry_until))


def _text(text: str, facts: Facts) -> str:
    shown = printable(text)
    return shown if facts.utf8 else shown.encode("ascii", "replace").decode("ascii")


def _original_recipient(orcpt: str, facts: Facts) -> tuple[str, str]:
    kind, semicolon, address = orcpt.partition(";")
    if not semicolon:
        kind, address = "unknown", orcpt
    kind = _NOT_IN_A_TYPE.sub("?", kind) or "unknown"
    if kind.lower() == "utf-8":
        address = _EMBEDDED.sub(_character, address)  # RFC 6533 §3: back to UTF-8, where UTF-8 may stand
        return "utf-8;", _utf8(address, facts)
    if not address.isascii() and kind.lower() == "rfc822":
        return "utf-8;", _utf8(address, facts)
    return f"{kind};", _text(address, facts)


def _character(embedded: re.Match[str]) -> str:
    point = int(embedded[1], 16)
    # RFC 6533 §3: the form is for what ORCPT cannot hold; a surrogate is no character and stays written out.
    return embedded[0] if 0xD800 <= point <= 0xDFFF else chr(point)


def _utf8(address: str, facts: Facts) -> str:
    """An address of the type ``utf-8``: as it is where UTF-8 may stand, else in ASCII (RFC 6533 §3)."""
    if facts.utf8 and address.isprintable():
        return address
    return "".join(c if "!" <= c <= "~" and c not in "\\+=" else rf"\x{{{ord(c):02X}}}" for c in address)
