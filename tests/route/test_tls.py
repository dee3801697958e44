"""What a hop must show: levels are raised by the message, and lowered by nothing but the message's own word."""

from __future__ import annotations

import pytest

from relay.route.tls import NO_TLS, OPPORTUNISTIC, Level, Security, not_required, parse_fingerprint, required

DIGITS = "ab" * 32


@pytest.mark.parametrize(
    "text", [DIGITS, DIGITS.upper(), f"sha256:{DIGITS}", f"SHA256={DIGITS}", ":".join(["AB"] * 32), f" {DIGITS} "]
)
def test_a_fingerprint_as_programs_print_it(text: str) -> None:
    """openssl x509 -fingerprint, and what browsers show."""
    assert parse_fingerprint(text) == b"\xab" * 32


@pytest.mark.parametrize("text", ["", DIGITS[:-2], DIGITS + "00", "zz" * 32, "sha1:" + "ab" * 20])
def test_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        parse_fingerprint(text)


@pytest.mark.parametrize("level", [Level.NONE, Level.OPPORTUNISTIC, Level.REQUIRE])
def test_requiretls_raises_the_level(level: Level) -> None:
    """RFC 8689 §4.2.1."""
    assert required(Security(level)) == Security(Level.VERIFY)


@pytest.mark.parametrize("level", [Level.VERIFY, Level.DANE, Level.FINGERPRINT])
def test_requiretls_is_content_with_a_hop_that_is_known(level: Level) -> None:
    assert required(Security(level)) == Security(level)


def test_requiretls_does_not_go_where_a_forged_mx_may_lead() -> None:
    """RFC 8689 §4.2.1: the MX record is signed, or the host is named by an MTA-STS policy."""
    assert required(Security(Level.OPPORTUNISTIC, knows_name=False)) is None


@pytest.mark.parametrize("level", [Level.REQUIRE, Level.VERIFY, Level.DANE])
def test_tls_required_no_lowers_what_the_recipients_domain_asks(level: Level) -> None:
    """RFC 8689 §3: also where DANE or MTA-STS says that the host must not be used."""
    lowered = not_required(Security(level, asked_for=True, trouble="TLSA: SERVFAIL"))
    assert (lowered.level, lowered.trouble) == (Level.OPPORTUNISTIC, "")


@pytest.mark.parametrize("level", list(Level))
def test_tls_required_no_does_not_lower_our_own_configuration(level: Level) -> None:
    assert not_required(Security(level)) == Security(level)


def test_ways_of_different_security_have_different_names() -> None:
    """Equal lane, equal way: what is not the same must not share a lane or a connection."""
    ways = [
        OPPORTUNISTIC,
        NO_TLS,
        Security(Level.VERIFY),
        Security(Level.VERIFY, authorities="/etc/relay/ca.pem"),
        Security(Level.FINGERPRINT, fingerprints=(b"a" * 32,)),
        Security(Level.FINGERPRINT, fingerprints=(b"b" * 32,)),
    ]
    assert len({str(way) for way in ways}) == len(ways)
    assert str(OPPORTUNISTIC) == ""
    assert Security(Level.VERIFY, "routes[1]") == Security(Level.VERIFY, "routes[2]")
