"""Who is here: the sessions of all listeners together, counted by client."""

from __future__ import annotations

import ipaddress
from collections import Counter

from relay.policy.client import Client


class Attendance:
    """Counts sessions.  One for all listeners makes the limits hold for the relay, and not for each of them.

    total  sessions that are open
    """

    __slots__ = ("_of_group", "total")

    def __init__(self) -> None:
        self.total = 0
        self._of_group: Counter[str] = Counter()

    def copy(self) -> Attendance:
        """The same as it is now; who comes and goes in one is not counted in the other."""
        copy = Attendance()
        copy.total, copy._of_group = self.total, self._of_group.copy()
        return copy

    def come(self, client: Client) -> str:
        """One more; gives the group it is counted with, for ``go``.  Trusted clients are counted in no group."""
        self.total += 1
        group = "" if client.trusted else client_group(client.ip)
        if group:
            self._of_group[group] += 1
        return group

    def go(self, group: str) -> None:
        """One less."""
        self.total -= 1
        if group:
            self._of_group[group] -= 1
            if not self._of_group[group]:
                del self._of_group[group]  # or every address that ever came would be kept

    def of_group(self, group: str) -> int:
        """How many of this group are here; 0 for the group of the trusted."""
        return self._of_group.get(group, 0)


def client_group(ip: str) -> str:
    """Whose connections are counted together: an IPv4 address, or the /64 that one IPv6 customer has."""
    if ":" not in ip:
        return ip or "unix"
    return str(ipaddress.IPv6Network((ip.partition("%")[0], 64), strict=False))
