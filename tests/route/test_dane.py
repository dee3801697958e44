"""Which TLSA records count, and what they mean (RFC 6698, 7671, 7672)."""

from __future__ import annotations

import hashlib

import pytest

from relay.route.dane import Tlsa, agile, matches, usable

CERTIFICATE, KEY = b"the certificate", b"the key"
SHA256, SHA512 = b"a" * 32, b"b" * 64


@pytest.mark.parametrize("usage", [2, 3])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching, data", [(0, b"whole"), (1, SHA256), (2, SHA512)])
def test_every_combination_of_the_law_is_usable(usage: int, selector: int, matching: int, data: bytes) -> None:
    record = Tlsa(usage, selector, matching, data)
    assert usable([record]) == (record,)


@pytest.mark.parametrize(
    "record",
    [
        Tlsa(0, 1, 1, SHA256),
        Tlsa(1, 1, 1, SHA256),
        Tlsa(4, 1, 1, SHA256),
        Tlsa(255, 1, 1, SHA256),
        Tlsa(3, 2, 1, SHA256),
        Tlsa(3, 1, 3, SHA256),
        Tlsa(3, 1, 1, SHA256[:-1]),
        Tlsa(3, 1, 2, SHA256),
        Tlsa(3, 1, 0, b""),
        Tlsa(3, 1, 1, b""),
    ],
    ids=str,
)
def test_what_smtp_cannot_use_is_left_out(record: Tlsa) -> None:
    """RFC 7672 §3.1.3: PKIX-TA and PKIX-EE are unusable; malformed and short ones have crashed other MTAs."""
    assert usable([record]) == ()


def test_the_strongest_digest_alone_counts_for_its_usage_and_selector() -> None:
    """RFC 7671 §9; a weak digest must not let in what a strong one refuses."""
    weak, strong = Tlsa(3, 1, 1, SHA256), Tlsa(3, 1, 2, SHA512)
    other_selector, other_usage, whole = Tlsa(3, 0, 1, SHA256), Tlsa(2, 1, 1, SHA256), Tlsa(3, 1, 0, KEY)
    assert agile([weak, strong, other_selector, other_usage, whole]) == (strong, other_selector, other_usage, whole)
    assert agile([strong, weak]) == (strong,)
    assert agile([weak]) == (weak,)


@pytest.mark.parametrize("selector, chosen", [(0, CERTIFICATE), (1, KEY)])
def test_a_record_means_a_certificate_or_a_key(selector: int, chosen: bytes) -> None:
    assert matches(Tlsa(3, selector, 0, chosen), CERTIFICATE, KEY)
    assert matches(Tlsa(3, selector, 1, hashlib.sha256(chosen).digest()), CERTIFICATE, KEY)
    assert matches(Tlsa(3, selector, 2, hashlib.sha512(chosen).digest()), CERTIFICATE, KEY)
    assert not matches(Tlsa(3, 1 - selector, 1, hashlib.sha256(chosen).digest()), CERTIFICATE, KEY)
    assert not matches(Tlsa(3, selector, 1, SHA256), CERTIFICATE, KEY)
