"""The header section of a message that a program hands over: who is to get it, and what it lacks (RFC 6409 §8).

Fields keep their order and their words.  Bcc and Return-Path go, addresses without a domain get one, and Date, From and
Message-ID are added where they are missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.header import Header

from relay.message.address import Address
from relay.message.mailboxes import MailboxesFault, addresses, with_domain

_DROPPED = frozenset({b"bcc", b"resent-bcc", b"return-path"})
_TO = (b"to", b"cc", b"bcc")
_RESENT_TO = (b"resent-to", b"resent-cc", b"resent-bcc")
_OF_ADDRESSES = frozenset(
    {b"from", b"sender", b"reply-to", *_TO, b"resent-from", b"resent-sender", b"resent-reply-to", *_RESENT_TO}
)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]+")


class HeaderFault(Exception):
    """The header section names no recipients that can be understood; ``str()`` says where."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, where and when.

    sender     the reverse-path; None for the null sender
    address    the user's own
    full_name  as a person writes it; empty when it is not known
    domain     for addresses that have none
    date       now, in the form of RFC 5322 §3.3
    token      unique with hostname
    """

    sender: Address | None
    address: Address
    full_name: str
    domain: str
    hostname: str
    date: str
    token: str


def recipients(fields: Sequence[bytes], domain: str) -> list[Address]:
    """Whom the header section names: in To, Cc and Bcc, or, of a message sent on, in the uppermost block of Resent-…
    fields (RFC 5322 §3.6.6).  Raises HeaderFault."""
    resent = list(_uppermost(fields))
    return [address for field in resent or _named(fields, _TO) for address in _addresses(field, domain)]


def finished(fields: Sequence[bytes], writer: Writer) -> bytes:
    """The header section as it goes out, each line with its CRLF, and the empty line that ends it."""
    kept = [_qualified(field, writer.domain) for field in fields if _name(field) not in _DROPPED]
    kept += _missing({_name(field) for field in fields}, writer)
    return b"".join(field.replace(b"\n", b"\r\n") + b"\r\n" for field in kept) + b"\r\n"


def from_value(address: Address, full_name: str) -> str:
    """``Full Name <address>``, as it stands in a From field."""
    name = " ".join(full_name.split())
    if not name:
        return str(address)
    if not (name.isascii() and name.isprintable()):
        # In several lines if it is long: a field may have them.
        name = Header(name, "utf-8", header_name="From").encode()
    elif not _PLAIN_NAME.fullmatch(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{address}>"


def _missing(present: set[bytes], writer: Writer) -> Iterator[bytes]:
    if b"date" not in present:
        yield f"Date: {writer.date}".encode()
    if b"from" not in present:
        yield f"From: {from_value(writer.sender or writer.address, writer.full_name)}".encode()
    if b"message-id" not in present:
        yield f"Message-ID: <{writer.token}@{writer.hostname}>".encode()


def _name(field: bytes) -> bytes:
    return field.partition(b":")[0].rstrip().lower()


def _value(field: bytes) -> str:
    return field.partition(b":")[2].decode("utf-8", "surrogateescape")


def _named(fields: Sequence[bytes], names: Sequence[bytes]) -> Iterator[bytes]:
    return (field for field in fields if _name(field) in names)


def _uppermost(fields: Sequence[bytes]) -> Iterator[bytes]:
    """Blocks are put in front, one above the other: where a name comes again, an older one begins."""
    seen: set[bytes] = set()
    for field in fields:
        name = _name(field)
        if name.startswith(b"resent-"):
            if name in seen:
                return
            seen.add(name)
            if name in _RESENT_TO:
                yield field


def _addresses(field: bytes, domain: str) -> list[Address]:
    try:
        return addresses(_value(field), domain)
    except MailboxesFault as fault:
        raise HeaderFault(f"{_name(field).decode()}: {fault}") from None


def _qualified(field: bytes, domain: str) -> bytes:
    if _name(field) not in _OF_ADDRESSES:
        return field
    head, colon, _ = field.partition(b":")
    return head + colon + with_domain(_value(field), domain).encode("utf-8", "surrogateescape")
