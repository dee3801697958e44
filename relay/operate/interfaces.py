"""This machine as the network knows it: its name, and its IP addresses as Linux tells them (elsewhere none)."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from relay.message.address import is_domain

_LOCAL_IPV4 = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")


def own_hostname() -> str:
    """The machine's name, as far as it can stand in a greeting."""
    name = socket.gethostname()
    return name if is_domain(name) else "localhost"


def own_addresses(proc: Path = Path("/proc/net")) -> frozenset[str]:
    """Textual addresses of all interfaces, without loopback and link-local ones."""
    found = set(_LOCAL_IPV4.findall(_text(proc / "fib_trie")))
    for line in _text(proc / "if_inet6").splitlines():
        found.add(str(IPv6Address(int(line.split()[0], 16))))
    return frozenset(one for one in found if not (ip_address(one).is_loopback or ip_address(one).is_link_local))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
