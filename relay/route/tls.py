"""What TLS a hop must have, and why: the policy of a route, of the recipient's domain, or of the message.

    level          the connection                             the peer
    none           plain                                      anybody
    opportunistic  TLS when offered, plain when that fails    anybody (RFC 7435)
    require        TLS                                        anybody
    verify         TLS                                        a certificate that a known authority gave to this name
    dane           TLS                                        a certificate that the DNS vouches for (RFC 7672)
    fingerprint    TLS                                        this certificate, or this key

The rule that must not be broken: a level is never lowered because something failed; only the message's own
``TLS-Required: No`` lowers what the recipient's domain asked for, and never what our configuration says (RFC 8689 §3).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field, replace
from typing import Protocol

from relay.route.dane import Tlsa


class Level(enum.Enum):
    """See the module."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRE = "require"
    VERIFY = "verify"
    DANE = "dane"
    FINGERPRINT = "fingerprint"

    @property
    def verifies(self) -> bool:
        """Whether a connection of this level is to somebody whom we know."""
        return self in (Level.VERIFY, Level.DANE, Level.FINGERPRINT)


@dataclass(frozen=True, slots=True)
class Policed:
    """The policy of a domain as its TLS reports name it (RFC 8460 §4.4).

    domain   who is told
    kind     ``tlsa``, ``sts`` or ``no-policy-found``
    strings  the policy's own lines, or the TLSA records as text
    mx       the host patterns of an MTA-STS policy
    base     of ``tlsa``, the name where the records are, which is the policy's domain then (RFC 8460 §1.1)
    """

    domain: str
    kind: str = "no-policy-found"
    strings: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    base: str = ""


class Witness(Protocol):
    """Is told of each session for which somebody wants TLS reports, and of policies that cannot be had (RFC 8460).

    label    the host, as ``name [address]`` or without its address; empty for a policy
    failure  the result type of RFC 8460 §4.3; empty for success
    why      in words
    own_ip   our end of the connection, where there was one
    """

    def __call__(self, policed: Policed, label: str, failure: str, why: str, own_ip: str = "", /) -> None: ...


def nobody(policed: Policed, label: str, failure: str, why: str, own_ip: str = "", /) -> None:
    """For those who send no reports."""


@dataclass(frozen=True, slots=True)
class Security:
    """What a hop must show before it gets anything.  Part of a Hop: a connection serves only what it is fit for.

    whence        where the level comes from, for people
    names         whom the certificate may be for, the first of which is asked for (SNI); empty: the hop's host
    tlsa          what the DNS vouches for, for ``dane``
    fingerprints  SHA-256 of the certificate or of its public key, for ``fingerprint``
    authorities   a file of PEM certificates to trust in place of the system's
    knows_name    the hop's name is the configuration's or the domain itself, or is vouched for by DNSSEC or an MTA-STS
                  policy
    asked_for     the recipient's domain asks for this, not our configuration
    trouble       why the hop must not be talked to now at all
    failure       the kind of that trouble in TLS reports (RFC 8460 §4.3)
    testing       what an MTA-STS policy in testing mode would have asked for: looked at and reported, never enforced
    policed       whom TLS reports of this hop are for, when they are wanted
    """

    level: Level
    whence: str = field(default="", compare=False)
    names: tuple[str, ...] = ()
    tlsa: tuple[Tlsa, ...] = ()
    fingerprints: tuple[bytes, ...] = ()
    authorities: str = ""
    knows_name: bool = True
    asked_for: bool = False
    trouble: str = ""
    failure: str = ""
    testing: bool = False
    policed: Policed | None = None

    def __str__(self) -> str:
        """The part of a lane's name that tells this from other ways; empty for the default."""
        if self == OPPORTUNISTIC:
            return ""
        parts = [f"tls={self.level.value}", *(one.hex() for one in self.fingerprints)]
        return ";" + ",".join(parts + ([f"ca={self.authorities}"] if self.authorities else []))


NO_TLS = Security(Level.NONE)
OPPORTUNISTIC = Security(Level.OPPORTUNISTIC)
OF_THE_MESSAGE = "REQUIRETLS of the message"
"""``whence`` of what one message asks for, beyond what its destination does."""

_FINGERPRINT = re.compile(r"(?:sha256[:=])?((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.IGNORECASE)


def parse_fingerprint(text: str) -> bytes:
    """The 32 octets of a SHA-256 fingerprint, with or without colons and ``sha256:``.

    Raises ValueError, whose text says what would be right.
    """
    found = _FINGERPRINT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")
    return bytes.fromhex(found[1].replace(":", ""))


def required(security: Security) -> Security | None:
    """What a message with REQUIRETLS needs of this hop (RFC 8689 §4.2.1); None when it can never be this one.

    The hop must be the right one (its name vouched for by DNSSEC, by an MTA-STS policy or by us), and must prove it.
    """
    if security.trouble or security.level.verifies:
        return security
    return replace(security, level=Level.VERIFY, whence=OF_THE_MESSAGE) if security.knows_name else None


def not_required(security: Security) -> Security:
    """What is left for a message that says ``TLS-Required: No``: what our own configuration asks (RFC 8689 §4.2.2)."""
    if not security.asked_for:
        return security
    return Security(Level.OPPORTUNISTIC, "TLS-Required: No in the message", knows_name=security.knows_name)
