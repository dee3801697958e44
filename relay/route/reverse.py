"""The names of clients, for the Received field (RFC 5321 §4.4): never waited for.

Whoever owns an address can give it any name in the DNS, so a name counts only when it leads back
to the address (RFC 8601 §3, "iprev").
"""

from __future__ import annotations

from ipaddress import ip_address

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.message.address import is_domain
from relay.route.cache import Cache
from relay.route.hosts import HostsFile
from relay.route.names import AAAA, PTR, A, Found, Names
from relay.route.via import is_ip, plain

NAMES_LIMIT = 3
"""How many names of one address are tried: a stranger may give it thousands."""
KEPT_S = 900.0
UNNAMED_KEPT_S = 120.0
"""How long an address without a name, or with trouble, is not asked for again."""


class ReverseNames:
    """Names of IP addresses, confirmed, from what is known already.

    at_once  look-ups under way at the same time; a client beyond that is nameless for now
    """

    _log = Logger()

    def __init__(self, names: Names, clock: IReactorTime, hosts: HostsFile, *, limit: int = 10_000, at_once: int = 50):
        self._names = names
        self._clock = clock
        self._hosts = hosts
        self._known: Cache[str, str] = Cache(limit)  # "" where there is none
        self._asked: set[str] = set()
        self._at_once = at_once

    def name_now(self, ip: str) -> str | None:
        """The confirmed name of a textual IP address, or None; a look-up begins in the background when none was made.

        An answer that arrives at once is given at once.
        """
        known = self._known.get(ip, self._clock.seconds())
        if known is None and ip not in self._asked and len(self._asked) < self._at_once:
            self._asked.add(ip)
            looked_up = defer.Deferred.fromCoroutine(self._look_up(ip))
            looked_up.addErrback(self._unexpected, ip).addCallback(self._found, ip)
            known = self._known.get(ip, self._clock.seconds())
        return known or None

    def _found(self, name: str, ip: str) -> None:
        self._asked.discard(ip)
        self._known.put(ip, name, self._clock.seconds() + (KEPT_S if name else UNNAMED_KEPT_S))

    def _unexpected(self, failure: Failure, ip: str) -> str:
        self._log.failure("Looking up the name of {ip} failed", failure, ip=ip)
        return ""

    async def _look_up(self, ip: str) -> str:
        try:
            address = ip_address(ip.partition("%")[0])
        except ValueError:
            return ""  # a client on a unix socket
        listed = self._hosts.name(plain(address))
        if listed is not None:
            return listed
        pointers = await self._names.ask(address.reverse_pointer, PTR)
        if not isinstance(pointers, Found):
            return ""
        for name in pointers.values[:NAMES_LIMIT]:
            if is_domain(name) and not is_ip(name):
                there = await self._names.ask(name, A if address.version == 4 else AAAA)
                if isinstance(there, Found) and address in map(ip_address, there.values):
                    return name
        return ""
