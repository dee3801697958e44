"""The ways mail can go, and how ``via:`` writes them.

    smtp://host:port          to this host; port 25 when none is given
    smtps://host:port         likewise, with TLS from the first octet (RFC 8314 §3.3); port 465
    lmtp://host:port          likewise by LMTP (RFC 2033); port 24
    lmtp+unix:/path           LMTP over a unix socket
    [smtp://a, smtp://b]      several hosts, tried in this order
    mx:                       to the mail hosts of the recipient's domain (RFC 5321 §5.1)
    mx:example.org            to the mail hosts of another domain
    discard:                  taken and thrown away
    reject:550 5.7.1 text     refused with this reply; a 4yz is tried again
    function:name             to a function of the program that the relay is part of

Each way has a ``lane``, the scheduler's name for it: with the TLS and the login that the route asks for, where it
asks for any.  The rule that must not be broken: equal lane, equal way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

from relay.message.address import domain_key, is_domain, parse_literal
from relay.message.reply import Reply
from relay.route.credentials import Login
from relay.route.tls import OPPORTUNISTIC, Security

SMTP_PORT = 25
SMTPS_PORT = 465
LMTP_PORT = 24

_URL = re.compile(r"(smtps?|lmtp)://(\[[^\]]*\]|[^:/?#@\[\]]*)(?::([^/:@]*))?/?")
_REJECT = re.compile(r"([45][0-5][0-9]) +([45]\.\d{1,3}\.\d{1,3}) +(\S.*)")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORMS = (
    "smtp://host:25, smtps://host:465, lmtp://host:24, lmtp+unix:/path, mx:, mx:example.org, discard:, "
    "reject:550 5.7.1 text, or a list of hosts"
)


@dataclass(frozen=True, slots=True)
class Hop:
    """A host that mail may be handed to.

    host   a name in A-labels or a textual IP address without brackets; empty with a path
    path   the unix socket, for ``lmtp+unix:``
    by_mx  the DNS named it and not our configuration: then its trouble is the recipient's domain's,
           /etc/hosts is not asked, and it may not be this machine
    security      the TLS that it must have
    implicit_tls  TLS begins with the first octet
    login         whom we log in as
    """

    host: str
    port: int
    protocol: Literal["smtp", "lmtp"] = "smtp"
    path: str | None = None
    by_mx: bool = False
    security: Security = OPPORTUNISTIC
    implicit_tls: bool = False
    login: Login | None = None

    def __hash__(self) -> int:
        """Quick, for it is the key of the connections; what it leaves out, equality looks at."""
        return hash((self.host, self.port, self.path))

    def name(self) -> str:
        """The hop in a lane or a log: ``host:25``, ``[192.0.2.1]:25``, ``[2001:db8::1]:25`` or a path."""
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if is_ip(self.host) else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HopList:
    """To these hosts, tried in this order."""

    hops: tuple[Hop, ...]

    @property
    def lane(self) -> str:
        names = ",".join(f"{hop.protocol}{'s' * hop.implicit_tls}:{hop.name()}" for hop in self.hops)
        terms = [f"{hop.security}{hop.login or ''}" for hop in self.hops[:1]]  # a route's terms are for all its hops
        return "".join([names, *terms])


@dataclass(frozen=True, slots=True)
class ByMx:
    """To the mail hosts that the DNS names for a domain (RFC 5321 §5.1).

    domain    in lower case and A-labels; empty for the recipient's own, which the table puts in its place
    security  what the route asks for; None leaves it to the domain: DANE, else MTA-STS, else opportunistic
    """

    domain: str = ""
    security: Security | None = None

    @property
    def lane(self) -> str:
        return (self.domain or "mx:") + (f";tls={self.security.level.value}{self.security}" if self.security else "")


@dataclass(frozen=True, slots=True)
class ToLiteral:
    """Straight to the host of an address literal (RFC 5321 §4.1.3).

    address   textual IP address, an IPv4-mapped one as IPv4
    security  what the route asks for
    """

    address: str
    security: Security = OPPORTUNISTIC

    @property
    def lane(self) -> str:
        return f"[{self.address}]{self.security}"


@dataclass(frozen=True, slots=True)
class Discard:
    """Nowhere, and the sender is not told."""

    @property
    def lane(self) -> str:
        return "discard:"  # with the colon, which no domain has: a mail domain may be called "discard"


@dataclass(frozen=True, slots=True)
class Reject:
    """Refused: the reply that the sender's report gives."""

    reply: Reply

    @property
    def lane(self) -> str:
        return f"reject:{self.reply}"


@dataclass(frozen=True, slots=True)
class ToFunction:
    """To a function of the program that the relay is part of, by the name under which the program gave it."""

    name: str

    @property
    def lane(self) -> str:
        return f"function:{self.name}"


Way = HopList | ByMx | ToLiteral | Discard | Reject | ToFunction


@lru_cache(maxsize=4096)
def is_ip(host: str) -> bool:
    """Whether a host is given by its address rather than by name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def plain(address: IPv4Address | IPv6Address) -> str:
    """The textual address, an IPv4-mapped one as IPv4 (RFC 4291 §2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def literal_way(domain: str) -> ToLiteral | None:
    """The way to ``[192.0.2.1]`` or ``[IPv6:…]``, or None when this is no address literal."""
    address = parse_literal(domain) if domain.startswith("[") else None
    return ToLiteral(plain(address)) if address is not None else None


def on_terms(way: Way, security: Security | None, login: Login | None = None) -> Way:
    """The same way with the TLS and the login of its route.

    security  None where the route does not say
    """
    if isinstance(way, HopList):
        wanted = security or OPPORTUNISTIC
        return HopList(tuple(replace(hop, security=wanted, login=login) for hop in way.hops))
    return replace(way, security=security) if isinstance(way, ByMx) else way


def leads_to(lane: str, host: str) -> bool:
    """Whether a lane, as an operator may name it, leads to this host or domain: ``example.org``, ``10.0.0.5``,
    ``10.0.0.5:25``, or the lane itself.  Which hosts a domain's MX records name, is not in a lane."""
    wanted = host.strip().lower()
    if wanted == lane.lower():
        return True
    for part in lane.partition(";")[0].lower().split(","):
        name = re.sub(r"^(smtps?|lmtp):", "", part)
        bare, port, digits = name.rpartition(":")
        forms = {part, name} | ({bare} if port and digits.isdigit() else set())
        if wanted in forms | {form.strip("[]") for form in forms}:
            return True
    return False


def parse_via(via: str | Sequence[str]) -> Way:
    """The way that ``via:`` means.  Raises ValueError, whose text says what would be right."""
    if not isinstance(via, str):
        if not via:
            raise ValueError(
                "no host is listed; write one or more, as in [smtp://one.example:25, smtp://two.example:25]"
            )
        return HopList(tuple(_listed_hop(text) for text in via))
    text = via.strip()
    scheme, _, rest = text.partition(":")
    match scheme.lower():
        case "mx":
            return _by_mx(text, rest)
        case "discard":
            if rest:
                raise ValueError(f"{text!r}: nothing follows discard:")
            return Discard()
        case "reject":
            return _reject(rest)
        case "function":
            return _within(text, rest)
        case _:
            return HopList((_hop(text),))


def written(way: Way) -> str | list[str]:
    """The way as ``via:`` writes it, with ports; without the terms of its route."""
    match way:
        case HopList((hop,)):
            return _hop_written(hop)
        case HopList(hops):
            return [_hop_written(hop) for hop in hops]
        case ByMx(domain):
            return f"mx:{domain}"
        case Reject(reply):
            return f"reject:{reply}"
        case ToLiteral(address):
            return f"smtp://[{address}]:{SMTP_PORT}"
        case ToFunction(name):
            return f"function:{name}"
    return "discard:"


def _hop_written(hop: Hop) -> str:
    scheme = f"{hop.protocol}{'s' * hop.implicit_tls}"
    return f"{scheme}+unix:{hop.path}" if hop.path is not None else f"{scheme}://{hop.name()}"


def _by_mx(text: str, domain: str) -> ByMx:
    if not domain:
        return ByMx()
    if domain.startswith("[") or is_ip(domain) or not is_domain(domain):
        raise ValueError(
            f"{text!r}: after mx: comes a domain name, as in mx:example.org; for a host write smtp://host:25"
        )
    return ByMx(domain_key(domain))


def _within(text: str, name: str) -> ToFunction:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r}: after function: comes a name of letters, digits, - and _, as in function:inbox")
    return ToFunction(name)


def _reject(rest: str) -> Reject:
    said = _REJECT.fullmatch(rest.strip())
    if said is None:
        raise ValueError("after reject: comes a whole reply, as in reject:550 5.7.1 No mail to this address")
    code, enhanced, words = said.groups()
    if code[0] != enhanced[0]:
        raise ValueError(f"{code} and {enhanced} do not go together: the first digits must be the same")
    return Reject(Reply(int(code), enhanced, (words,)))


def _listed_hop(text: str) -> Hop:
    scheme = text.partition(":")[0].strip().lower()
    if scheme in ("mx", "discard", "reject", "function"):
        raise ValueError(f"{text!r} cannot stand in a list; only smtp://, smtps://, lmtp:// and lmtp+unix: can")
    return _hop(text.strip())


def _hop(text: str) -> Hop:
    scheme, _, rest = text.partition(":")
    if scheme.lower() == "lmtp+unix":
        if not rest.startswith("/"):
            raise ValueError(f"{text!r}: the socket's path must be absolute, as in lmtp+unix:/run/lmtp.sock")
        return Hop("", 0, "lmtp", "/" + rest.lstrip("/"))
    url = _URL.fullmatch(scheme.lower() + ":" + rest)
    if url is None:
        raise ValueError(_what_is_wrong(text))
    protocol: Literal["smtp", "lmtp"] = "lmtp" if url[1] == "lmtp" else "smtp"
    return Hop(_host(text, url[2]), _port(text, url[3], url[1]), protocol, implicit_tls=url[1] == "smtps")


def _what_is_wrong(text: str) -> str:
    if "@" in text:
        return "a user and password do not stand in via; use user and password_file"  # and not in the log either
    if re.fullmatch(r"[^:/]+(:\d+)?", text):
        return f"{text!r}: the protocol is missing; write smtp://{text}"
    if text.count(":") > 2 and "[" not in text:
        return f"{text!r}: an IPv6 address stands in brackets, as in smtp://[2001:db8::1]:25"
    return f"{text!r} is none of {_FORMS}"


def _host(text: str, written: str) -> str:
    if not written:
        raise ValueError(f"{text!r}: the host is missing, as in smtp://mail.example:25")
    if written.startswith("["):
        try:
            return str(ip_address(written[1:-1]))
        except ValueError:
            raise ValueError(f"{text!r}: {written} is not an IP address in brackets") from None
    if is_ip(written):
        return written
    if written.rpartition(".")[2].isdigit() or not is_domain(written):
        raise ValueError(f"{text!r}: {written} is neither a host name nor an IP address")
    return domain_key(written)


def _port(text: str, written: str | None, protocol: str) -> int:
    if written is None:
        return {"smtp": SMTP_PORT, "smtps": SMTPS_PORT}.get(protocol, LMTP_PORT)
    if not (written.isascii() and written.isdigit() and 1 <= int(written) <= 65535):
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    return int(written)
