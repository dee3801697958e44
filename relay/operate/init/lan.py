"""The networks that this machine is in, as Linux's tables of routes tell them: who is our neighbour."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from relay.operate.init.plan import Lan

_UP = 0x1
_GATEWAY = 0x2
_REJECT = 0x200


def networks(proc: Path = Path("/proc/net")) -> list[Lan]:
    """Networks on the link, the largest doubt last: private ones first, in the order of the tables.

    Neither loopback nor link-local nor multicast ones, and none of a single address.
    """
    found = [*_ipv4(proc / "route"), *_ipv6(proc / "ipv6_route")]
    return sorted(dict.fromkeys(one for one in found if _counts(one)), key=lambda one: not one.network.is_private)


def _counts(lan: Lan) -> bool:
    network = lan.network
    return not (
        lan.name == "lo"
        or network.is_loopback
        or network.is_link_local
        or network.is_multicast
        or network.num_addresses == 1
        or network.prefixlen == 0
    )


def _ipv4(table: Path) -> Iterator[Lan]:
    for words in _rows(table)[1:]:
        name, destination, flags, mask = words[0], words[1], int(words[3], 16), words[7]
        if flags & _UP and not flags & (_GATEWAY | _REJECT):
            prefix = bin(int(mask, 16)).count("1")
            yield Lan(IPv4Network((_address(destination), prefix), strict=False), name)


def _address(text: str) -> IPv4Address:
    """As the kernel prints it: the number as this machine holds it."""
    return IPv4Address(int(text, 16).to_bytes(4, sys.byteorder))


def _ipv6(table: Path) -> Iterator[Lan]:
    for words in _rows(table):
        destination, prefix, flags, name = words[0], words[1], int(words[8], 16), words[9]
        if flags & _UP and not flags & (_GATEWAY | _REJECT):
            yield Lan(IPv6Network((IPv6Address(int(destination, 16)), int(prefix, 16)), strict=False), name)


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text(encoding="ascii").splitlines()]
    except OSError:
        return []
