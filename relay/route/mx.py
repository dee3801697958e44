"""From what the DNS says of a domain to the hosts that may take its mail (RFC 5321 §5, RFC 7505).

All is decided here and nothing asked: answers, our own names and chance come in as arguments.

    mail_hosts  MX answer                 -> hosts by preference, or why there are none
    left_out    those and their addresses -> which of them are not for us, and why
    levels      those and their addresses -> hosts in levels of equal preference, cut where we stand ourselves
    one_order   levels and chance         -> the order of one attempt

The rule that must not be broken: a recipient fails only on what the DNS said, never on its silence.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

from relay.message import reply
from relay.message.address import is_domain
from relay.message.outcome import Deferred, Failed
from relay.route.names import Answer, Found, Missing, Mx, Trouble
from relay.route.tls import OPPORTUNISTIC, Security
from relay.route.via import SMTP_PORT, Hop, ToLiteral, is_ip, plain

if TYPE_CHECKING:
    import random

LOOK_UP_LIMIT = 20
"""Of how many mail hosts the addresses are looked up, the most preferred first."""
HOSTS_LIMIT = 10
"""How many mail hosts one attempt may try (RFC 5321 §5.1 allows a limit, of two at least)."""
ADDRESSES_LIMIT = 8
"""How many addresses of one host an attempt may try."""

Network = IPv4Network | IPv6Network
Levels = tuple[tuple[Hop, ...], ...]

UNREACHABLE: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/128", "::1/128", "fe80::/10", "ff00::/8"),
    )
)
"""Addresses at which no mail host of somebody else can be: this machine, this link, no single machine at all
(RFC 6890).  A stranger's MX record must not make us talk to services on our own loopback."""


@dataclass(frozen=True, slots=True)
class Ourselves:
    """How we may stand in somebody's MX list, and where no mail host may be.

    names        our names, in lower case and A-labels; the first is the one to tell
    addresses    our own textual IP addresses, also those before a NAT
    unreachable  networks in which a host named by the DNS is not accepted
    """

    names: tuple[str, ...]
    addresses: frozenset[str] = frozenset()
    unreachable: Sequence[Network] = UNREACHABLE

    def stands_at(self, host: str, answer: Answer[str] | None) -> bool:
        """Whether this mail host is this machine, by name or by address."""
        if host in self.names:
            return True
        return isinstance(answer, Found) and not self.addresses.isdisjoint(answer.values)


class LeftOut(enum.Enum):
    """Why a mail host is not tried."""

    OURSELVES = "it is this machine"
    BEHIND_US = "it is no more preferred than this machine (RFC 5321 §5.1)"
    NO_ADDRESS = "it has no address"
    NO_ANSWER = "the DNS gives no answer for its addresses"
    UNREACHABLE = "it is in a network where no mail host of others can be (dns.unreachable)"


def mail_hosts(domain: str, answer: Answer[Mx]) -> tuple[Mx, ...] | Deferred | Failed:
    """The hosts that the DNS names for a domain, the most preferred first, at most LOOK_UP_LIMIT."""
    match answer:
        case Trouble(why):
            return _not_now(domain, why)
        case Missing(name_exists=False):
            return Failed(reply.no_such_domain(domain))
        case Missing():
            return (Mx(0, domain),)  # RFC 5321 §5.1: an implicit MX, of preference 0
        case Found(values):
            # RFC 7505 §3 allows nothing beside a null MX; where there is, the null MX is what is wrong.
            if all(mx.host == "" for mx in values):
                return Failed(reply.null_mx(domain))
            # An address in place of a name is outside of the law, and would get round the look at addresses.
            hosts = {mx.host: mx for mx in sorted(values, key=_preference, reverse=True) if is_host(mx.host)}
            if not hosts:
                return Failed(reply.no_mail_host(domain, "its MX records name no host"))
            return tuple(sorted(hosts.values(), key=_preference)[:LOOK_UP_LIMIT])


def left_out(hosts: Sequence[Mx], addresses: Mapping[str, Answer[str]], ourselves: Ourselves) -> Mapping[str, LeftOut]:
    """Those of the hosts that are not to be tried."""
    out: dict[str, LeftOut] = {}
    found_ourselves = False
    for _, level in groupby(hosts, key=_preference):
        equals = tuple(level)
        ours = {mx.host for mx in equals if ourselves.stands_at(mx.host, addresses.get(mx.host))}
        found_ourselves = found_ourselves or bool(ours)
        for mx in equals:
            if found_ourselves:  # RFC 5321 §5.1: this level and all that are less preferred are discarded
                out[mx.host] = LeftOut.OURSELVES if mx.host in ours else LeftOut.BEHIND_US
            elif (why := _why_unusable(addresses.get(mx.host), ourselves)) is not None:
                out[mx.host] = why
    return out


def levels(
    domain: str,
    hosts: Sequence[Mx],
    addresses: Mapping[str, Answer[str]],
    ourselves: Ourselves,
    port: int = SMTP_PORT,
    securities: Mapping[str, Security] | None = None,
) -> Levels | Deferred | Failed:
    """The hosts to try, in levels of equal preference.

    hosts      by mail_hosts
    addresses  for each of them what address_answer made of its A and AAAA
    securities  what TLS each of them must have; opportunistic when nothing is said
    """
    out = left_out(hosts, addresses, ourselves)
    said = securities or {}
    reached = (
        tuple(
            Hop(mx.host, port, by_mx=True, security=said.get(mx.host, OPPORTUNISTIC))
            for mx in equals
            if mx.host not in out
        )
        for _, equals in groupby(hosts, key=_preference)
    )
    found = tuple(level for level in reached if level)
    return found or _none_usable(domain, hosts, out, addresses, ourselves)


def one_order(found: Levels, chance: random.Random) -> tuple[Hop, ...]:
    """The order of one attempt: by preference, equals at random (RFC 5321 §5.1), at most HOSTS_LIMIT."""
    order: list[Hop] = []
    for level in found:
        order += level if len(level) == 1 else chance.sample(level, len(level))
    return tuple(order[:HOSTS_LIMIT])


def literal_hop(way: ToLiteral, ourselves: Ourselves, port: int = SMTP_PORT) -> tuple[Hop, ...] | Failed:
    """The hop for an address literal; it may not be this machine either."""
    if way.address in ourselves.addresses:
        return Failed(reply.loops_back(way.lane, ourselves.names[0]))
    if not acceptable((way.address,), ourselves.unreachable):
        return Failed(reply.no_mail_host(way.lane, "no mail host can be at this address"))
    return (Hop(way.address, port, by_mx=True, security=way.security),)


def address_answer(answers: Sequence[Answer[str]]) -> Answer[str]:
    """One answer from those for AAAA and A: addresses of both kinds in turns (RFC 8305 §4).

    Trouble with one kind matters only where the other gave no address: servers that know no AAAA
    often give no answer at all (RFC 4074).
    """
    expires_at = min(answer.expires_at for answer in answers)
    found = [answer for answer in answers if isinstance(answer, Found)]
    families = [answer.values for answer in found]
    if families:
        in_turns = (address for turn in zip_longest(*families) for address in turn if address is not None)
        values = dict.fromkeys(plain(_parsed(address)) for address in in_turns)
        secure = all(answer.secure for answer in found)
        return Found(tuple(values), expires_at, secure, found[0].canonical)
    for answer in answers:
        if isinstance(answer, Trouble):
            return Trouble(answer.why, expires_at)
    return Missing(any(isinstance(answer, Missing) and answer.name_exists for answer in answers), expires_at)


def acceptable(addresses: Iterable[str], unreachable: Sequence[Network]) -> tuple[str, ...]:
    """Those at which a mail host may be, at most ADDRESSES_LIMIT."""
    return tuple(one for one in addresses if not _lies_in(one, unreachable))[:ADDRESSES_LIMIT]


def _lies_in(address: str, networks: Sequence[Network]) -> bool:
    ip = _parsed(address)
    return any(ip in network for network in networks)


_parsed = lru_cache(maxsize=4096)(ip_address)  # a mail host serves many domains


def _why_unusable(answer: Answer[str] | None, ourselves: Ourselves) -> LeftOut | None:
    if isinstance(answer, Found):
        return None if acceptable(answer.values, ourselves.unreachable) else LeftOut.UNREACHABLE
    return LeftOut.NO_ANSWER if isinstance(answer, Trouble) else LeftOut.NO_ADDRESS


def _none_usable(
    domain: str,
    hosts: Sequence[Mx],
    out: Mapping[str, LeftOut],
    addresses: Mapping[str, Answer[str]],
    ourselves: Ourselves,
) -> Deferred | Failed:
    before_us = [mx.host for mx in hosts if out[mx.host] not in (LeftOut.OURSELVES, LeftOut.BEHIND_US)]
    if not before_us:
        return Failed(reply.loops_back(domain, ourselves.names[0]))
    for host in before_us:
        answer = addresses.get(host)
        if isinstance(answer, Trouble):
            return _not_now(host, answer.why)
    if before_us == [domain]:
        return Failed(reply.no_mail_host(domain, "it has no mail host (MX) and no address that could take mail"))
    return Failed(reply.no_mail_host(domain, f"no mail host of it has a usable address ({', '.join(before_us[:5])})"))


def _not_now(name: str, why: str) -> Deferred:
    return Deferred(reply.dns_trouble(name, why), whole_destination=True)


def is_host(name: str) -> bool:
    """Whether an MX record that names this names a host, and not an address or the root."""
    return name != "" and not name.startswith("[") and is_domain(name) and not is_ip(name)


def _preference(mx: Mx) -> int:
    return mx.preference
