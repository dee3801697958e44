"""What dnspython gives, in our words (names.py): records, and why there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dns.exception
import dns.name

from relay.route.dane import Tlsa
from relay.route.names import Mx

DNS_PORT = 53


def host(name: dns.name.Name) -> str:
    """As Mx.host."""
    return name.to_text(omit_final_dot=True).lower().rstrip(".")


def by_preference(mx: Mx) -> int:
    return mx.preference


def _mail_exchangers(records: Sequence[Any]) -> tuple[Mx, ...]:
    return tuple(sorted((Mx(record.preference, host(record.exchange)) for record in records), key=by_preference))


def _addresses(records: Sequence[Any]) -> tuple[str, ...]:
    return tuple(record.address for record in records)


def _targets(records: Sequence[Any]) -> tuple[str, ...]:
    return tuple(host(record.target) for record in records)


def _texts(records: Sequence[Any]) -> tuple[str, ...]:
    return tuple(b"".join(record.strings).decode("ascii", "replace") for record in records)


def _associations(records: Sequence[Any]) -> tuple[Tlsa, ...]:
    return tuple(Tlsa(record.usage, record.selector, record.mtype, record.cert) for record in records)


READ: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "MX": _mail_exchangers,
    "A": _addresses,
    "AAAA": _addresses,
    "PTR": _targets,
    "CNAME": _targets,
    "TXT": _texts,
    "TLSA": _associations,
}
"""The records of an answer, by the name of their type."""


def in_words(trouble: dns.exception.DNSException) -> str:
    """Why there is no answer, short enough for a reply: dnspython's own text repeats every attempt."""
    errors = trouble.kwargs.get("errors") or []
    if not errors:
        return "time-out" if isinstance(trouble, dns.exception.Timeout) else type(trouble).__name__
    said = dict.fromkeys(f"{_error(error)} from {_server(server)}" for server, _, _, error, _ in errors)
    return ", ".join(list(said)[:3])


def _server(shown: str) -> str:
    """``192.0.2.53`` for dnspython's ``Do53:192.0.2.53@53``."""
    address, _, port = shown.partition(":")[2].rpartition("@")
    return address if port == str(DNS_PORT) else f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _error(error: object) -> str:
    if isinstance(error, dns.exception.Timeout):
        return "time-out"
    if isinstance(error, OSError):
        return (error.strerror or "no connection").lower()
    return type(error).__name__ if isinstance(error, Exception) else str(error)
