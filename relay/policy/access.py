"""Who is one of us, and which domains are ours.

Every look-up costs the same whether a list has ten entries or a million: networks are sets by
length of prefix, domains a table asked once for each label.

The rule that must not be broken: what is in neither list opens nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def client_address(text: str) -> IPAddress | None:
    """The address that a transport calls its peer; an IPv4-mapped IPv6 address is the IPv4 address (RFC 4291
    §2.5.5.2), whatever socket it came by.  None for what is no IP address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Networks:
    """A set of networks, asked which of them holds an address."""

    def __init__(self, networks: Iterable[IPNetwork]) -> None:
        """networks  IPv4-mapped ones count as the IPv4 networks they are."""
        by_prefix: dict[tuple[int, int], dict[int, IPNetwork]] = {}
        for network in map(unmapped, networks):
            shift = network.max_prefixlen - network.prefixlen
            by_prefix.setdefault((network.version, shift), {})[int(network.network_address) >> shift] = network
        # The narrowest first, so that the rule told is the one that says most.
        self._by_prefix = sorted((version, shift, found) for (version, shift), found in by_prefix.items())

    def containing(self, address: IPAddress) -> IPNetwork | None:
        """The narrowest network that holds this address, or None."""
        version, number = address.version, int(address)
        for of_version, shift, networks in self._by_prefix:
            if of_version == version and (number >> shift) in networks:
                return networks[number >> shift]
        return None


def unmapped(network: IPNetwork) -> IPNetwork:
    """The network; an IPv4-mapped one as the IPv4 network it is."""
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        assert mapped is not None
        return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


class Domains:
    """A set of domains: ``example.org`` is that one, ``.example.org`` is every domain below it."""

    def __init__(self, domains: Iterable[str]) -> None:
        """domains  in the form of ``relay.message.address.domain_key``, with or without the leading dot."""
        self._names = frozenset(domains)
        self._any_below = any(name.startswith(".") for name in self._names)
        self.exact = tuple(sorted(name for name in self._names if not name.startswith(".")))

    def __bool__(self) -> bool:
        return bool(self._names)

    def containing(self, domain_key: str) -> str | None:
        """The entry that holds this domain, or None.  An address literal is in no entry."""
        if domain_key in self._names:
            return domain_key
        if self._any_below and not domain_key.startswith("["):
            dot = domain_key.find(".")
            while dot >= 0:
                if domain_key[dot:] in self._names:
                    return domain_key[dot:]
                dot = domain_key.find(".", dot + 1)
        return None
