"""The trace fields: Received, Return-Path, and the loop count they carry.

Sources: RFC 5321 §4.4 (form of Received), RFC 3848 (the ``with`` keywords), RFC 8314 §4.3 (the ``tls`` clause),
RFC 5321 §6.3 (loops).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from relay.message.address import DOMAIN_LIMIT_OCTETS, Address
from relay.message.envelope import Origin

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.:\-\[\]]")
_LOCAL_LOGIN = re.compile(r"uid [0-9]+(?: \([A-Za-z0-9_.?\-]+\))?")  # of who left it in the maildrop
_RECEIVED = re.compile(rb"(?:\A|\r\n)received[ \t]*:", re.IGNORECASE)


def count_received(header: bytes) -> int:
    """How many Received fields stand in a header section: the hops so far (RFC 5321 §6.3)."""
    if b"received" not in header.lower():  # a tenth of what the pattern costs
        return 0
    return len(_RECEIVED.findall(header))


def received(origin: Origin, hostname: str, message_id: str, at: float, recipient: Address | None = None) -> bytes:
    """Our Received field, with its CRLF (RFC 5321 §4.4).

    hostname   our own name
    at         seconds since the epoch
    recipient  told only when it is the one recipient: a ``for`` with several would tell each of the others
    """
    told = f"\r\n\tfor <{recipient}>" if recipient is not None else ""
    if origin.tls:  # RFC 8314 §4.3; the version is a comment, for people
        told += f"\r\n\ttls {origin.tls}"
    by = f"by {hostname} with {origin.protocol} id {message_id}"
    return f"Received: from {_from_clause(origin)}\r\n\t{by}{told};\r\n\t{date(at)}\r\n".encode()


def return_path(reverse_path: Address | None) -> bytes:
    """The Return-Path field of final delivery (RFC 5321 §4.4)."""
    return f"Return-Path: <{reverse_path or ''}>\r\n".encode()


def date(at: float) -> str:
    """A point of time as RFC 5322 §3.3 writes it, in UTC."""
    return _date(int(at))


@lru_cache(maxsize=64)  # within one second, many messages share it
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


@lru_cache(maxsize=1024)
def _from_clause(origin: Origin) -> str:
    # What the client called itself is its own claim, and what the DNS says is its owner's: no space, parenthesis or
    # line end of theirs may change how our field reads, no letter of theirs make a 7-bit message 8-bit.
    ip = origin.client_ip
    if origin.protocol == "local" and _LOCAL_LOGIN.fullmatch(origin.login or ""):
        return f"localhost ({origin.login})"
    literal = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]" if ip else "[local]"
    return f"{_as_name(origin.helo)} ({_as_name(origin.client_name)} {literal})"


def _as_name(claimed: str) -> str:
    return _NOT_IN_A_NAME.sub("?", claimed[:DOMAIN_LIMIT_OCTETS]) or "unknown"
