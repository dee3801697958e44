"""DANE for SMTP: which TLSA records count, and whether a certificate is the one they mean (RFC 6698, 7671, 7672).

All is decided here on octets; nothing is asked and no chain is built:

    usable     of what the DNS said, what SMTP can use
    agile      of those, what is left by digest agility
    matches    whether a record means this certificate

The rule that must not be broken: records that are signed but of no use still ask for TLS, and an answer that
cannot be had is no answer that there is none; both are told apart by who asks, in security.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

DANE_TA = 2
DANE_EE = 3
_SELECTORS = (0, 1)
_DIGESTS = {1: (hashlib.sha256, 32), 2: (hashlib.sha512, 64)}


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record (RFC 6698 §2.1).

    usage     2 the authority that issued (DANE-TA), 3 the server's own certificate (DANE-EE)
    selector  0 the whole certificate, 1 its public key
    matching  0 the thing itself, 1 its SHA-256, 2 its SHA-512
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


def usable(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """Those that a client of SMTP can use (RFC 7672 §3.1): of usage 2 and 3, known and well-formed."""
    return tuple(record for record in records if record.usage in (DANE_TA, DANE_EE) and _is_sound(record))


def agile(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """Those left by digest agility (RFC 7671 §9): for each usage and selector the strongest digest; whole ones stay."""
    strongest: dict[tuple[int, int], int] = {}
    for record in records:
        key = (record.usage, record.selector)
        strongest[key] = max(strongest.get(key, 0), record.matching)  # 2 is SHA-512, 1 SHA-256, 0 no digest
    return tuple(
        record
        for record in records
        if not record.matching or strongest[record.usage, record.selector] == record.matching
    )


def matches(record: Tlsa, certificate: bytes, public_key: bytes) -> bool:
    """Whether the record means this certificate (DER) with this SubjectPublicKeyInfo (DER)."""
    chosen = public_key if record.selector else certificate
    if not record.matching:
        return chosen == record.data
    digest, _ = _DIGESTS[record.matching]
    return digest(chosen).digest() == record.data


def _is_sound(record: Tlsa) -> bool:
    if record.selector not in _SELECTORS or not record.data:
        return False
    if not record.matching:
        return True
    return record.matching in _DIGESTS and len(record.data) == _DIGESTS[record.matching][1]
