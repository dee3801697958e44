"""Records as dnspython has them, in our words: names.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dns.name

from relay.route.dane import Tlsa
from relay.route.names import Mx


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
