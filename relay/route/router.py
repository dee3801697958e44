"""Where to, for the deliverer: a route, its hops, their addresses; from the table, the DNS and /etc/hosts.

Each question comes twice: ``…_now`` answers at once when the answer is known and gives None when it is
not; the other returns a Deferred, which never fails.  What cannot be answered is an Outcome: ``Deferred``
for trouble, ``Failed`` where the DNS says that there is no way (RFC 5321 §5.1).  Trouble with a host that
our own configuration names is always temporary: it is ours, not the recipient's.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TypeVar

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from relay.message import reply
from relay.message.address import Address
from relay.message.outcome import Deferred, Discarded, Failed
from relay.route import mx
from relay.route.cache import Cache
from relay.route.hosts import HostsFile
from relay.route.mx import Levels, Ourselves
from relay.route.names import AAAA, MX, A, Answer, Found, Names, Trouble
from relay.route.securing import Securing
from relay.route.table import Route, RouteTable
from relay.route.tls import Level
from relay.route.via import SMTP_PORT, ByMx, Discard, Hop, HopList, Reject, ToFunction, ToLiteral, is_ip

Hops = tuple[Hop, ...] | Deferred | Failed | Discarded
"""Hosts in the order in which to try them, one at least, or none where a function takes the mail; or what became of the
recipients without any."""

Addresses = tuple[str, ...] | Deferred
"""Textual IP addresses in the order in which to try them, one at least; or why there are none."""

DOMAINS_REMEMBERED = 10_000
HOSTS_REMEMBERED = 20_000

_Planned = Levels | Deferred | Failed
_T = TypeVar("_T")


class Router:
    """Answers where to.

    names       whom it asks

    chance      orders mail hosts of equal preference
    ourselves   so that mail for a domain whose mail host we are does not go round
    ipv6        whether hosts are asked for IPv6 addresses too
    mail_port   the port of hosts that the DNS names; other than 25 only in a laboratory
    securing    what TLS hops must have; without one, neither DANE nor MTA-STS
    """

    def __init__(
        self,
        table: RouteTable,
        names: Names,
        clock: IReactorTime,
        chance: random.Random,
        ourselves: Ourselves,
        hosts: HostsFile,
        *,
        ipv6: bool = True,
        mail_port: int = SMTP_PORT,
        securing: Securing | None = None,
    ) -> None:
        self._table = table
        self.names = names
        self._clock = clock
        self._chance = chance
        self.ourselves = ourselves
        self._hosts_file = hosts
        self._kinds = (AAAA, A) if ipv6 else (A,)
        self._mail_port = mail_port
        self.securing = securing or Securing(names, None, validates=False)
        self._planned: Cache[ByMx | HopList, _Planned] = Cache(DOMAINS_REMEMBERED)
        self._addresses: Cache[tuple[str, bool], Addresses] = Cache(HOSTS_REMEMBERED)

    def replace(self, table: RouteTable, ourselves: Ourselves) -> None:
        """From now on by this table; what was remembered is forgotten."""
        self._table, self.ourselves = table, ourselves
        self._planned.clear()
        self._addresses.clear()

    def apart(self, names: Names, chance: random.Random) -> Router:
        """Another that answers the same, asking these names; what it learns, this one does not hear of."""
        return Router(
            self._table,
            names,
            self._clock,
            chance,
            self.ourselves,
            self._hosts_file,
            ipv6=self._kinds == (AAAA, A),
            mail_port=self._mail_port,
            securing=self.securing.apart(names),
        )

    @property
    def table(self) -> RouteTable:
        """The table that is in force."""
        return self._table

    @property
    def holds(self) -> bool:
        """Whether there is a route whose mail is held at first."""
        return self._table.holds

    def route(self, sender: Address | None, recipient: Address) -> Route:
        """The way by the table; see RouteTable.route."""
        return self._table.route(sender, recipient)

    # -- hops ------------------------------------------------------------------------------------

    def hops_now(self, route: Route) -> Hops | None:
        """The hops of a route when they are known without asking anybody, else None."""
        way = route.way
        if isinstance(way, HopList) and way.hops[0].security.level is not Level.DANE:
            return way.hops
        if isinstance(way, (ByMx, HopList)):
            planned = self._planned.get(way, self._clock.seconds())
            return None if planned is None else self._ordered(planned)
        if isinstance(way, ToLiteral):
            return mx.literal_hop(way, self.ourselves, self._mail_port)
        if isinstance(way, ToFunction):
            return ()
        return Discarded(route.rule) if isinstance(way, Discard) else _rejected(way)

    def hops(self, route: Route) -> defer.Deferred[Hops]:
        """The hops of a route."""
        known = self.hops_now(route)
        if known is not None:
            return defer.succeed(known)
        if isinstance(route.way, HopList):
            return defer.Deferred.fromCoroutine(self._hops_by_dane(route.way))
        assert isinstance(route.way, ByMx)  # nothing else needs the DNS
        return defer.Deferred.fromCoroutine(self._hops_by_mx(route.way))

    async def _hops_by_mx(self, way: ByMx) -> Hops:
        domain = way.domain
        answer = await self.names.ask(domain, MX)
        hosts = mx.mail_hosts(domain, answer)
        if not isinstance(hosts, tuple):
            return self._remember(way, hosts, answer.expires_at)
        answers = [known for host in hosts if (known := self._dns_addresses_now(host.host)) is not None]
        if len(answers) < len(hosts):  # seldom: a mail host serves many domains
            answers = await defer.gatherResults([self._dns_addresses(host.host) for host in hosts])
        by_host = {host.host: found for host, found in zip(hosts, answers, strict=True)}
        for name, found in by_host.items():
            self._usable(name, True, found)
        port = self._mail_port
        securities, until = await self.securing.mail_hosts(domain, way.security, answer, hosts, by_host, port)
        planned = mx.levels(domain, hosts, by_host, self.ourselves, port, securities)
        return self._remember(way, planned, min(until, *(one.expires_at for one in (answer, *answers))))

    async def _hops_by_dane(self, way: HopList) -> Hops:
        """The hops of a route that says ``dane``: each with what the DNS vouches for."""
        hops: list[Hop] = []
        expires_at = float("inf")
        for hop in way.hops:
            # A name of the search list would be another name than the one that the DNS vouches for.
            answer = await self._dns_addresses(hop.host)
            security, until = await self.securing.configured(hop, answer)
            expires_at = min(expires_at, until, answer.expires_at)
            hops.append(replace(hop, security=security))
        return self._remember(way, tuple((hop,) for hop in hops), expires_at)

    def _remember(self, way: ByMx | HopList, planned: _Planned, expires_at: float) -> Hops:
        self._planned.put(way, planned, expires_at)
        return self._ordered(planned)

    def _ordered(self, planned: _Planned) -> Hops:
        return mx.one_order(planned, self._chance) if isinstance(planned, tuple) else planned

    # -- addresses -------------------------------------------------------------------------------

    def addresses_now(self, hop: Hop) -> Addresses | None:
        """The addresses of a hop that has no path, when they are known without asking anybody, else None."""
        if is_ip(hop.host):
            return (hop.host,)
        listed = () if hop.by_mx else self._hosts_file.addresses(hop.host)
        return listed or self._addresses.get((hop.host, hop.by_mx), self._clock.seconds())

    def addresses(self, hop: Hop) -> defer.Deferred[Addresses]:
        """The addresses of a hop that has no path, IPv6 and IPv4 in turns."""
        known = self.addresses_now(hop)
        return defer.succeed(known) if known is not None else defer.Deferred.fromCoroutine(self._look_up(hop))

    async def _look_up(self, hop: Hop) -> Addresses:
        return self._usable(hop.host, hop.by_mx, await self._dns_addresses(hop.host, search=not hop.by_mx))

    def _usable(self, host: str, by_mx: bool, answer: Answer[str]) -> Addresses:
        """What an answer means for connecting; remembered as long as the answer holds."""
        usable = (
            mx.acceptable(answer.values, self.ourselves.unreachable if by_mx else ())
            if isinstance(answer, Found)
            else ()
        )
        if usable:
            found: Addresses = usable
        elif isinstance(answer, Trouble):
            found = Deferred(reply.dns_trouble(host, answer.why), whole_destination=True)
        elif by_mx:  # it had one when the hops were made; whether there is another way, the domain's next look-up tells
            found = Deferred(reply.dns_trouble(host, "no usable address"), whole_destination=True)
        else:
            found = Deferred(reply.next_hop_not_found(host), whole_destination=True)
        self._addresses.put((host, by_mx), found, answer.expires_at)
        return found

    def _dns_addresses_now(self, host: str) -> Answer[str] | None:
        """The addresses of a host as the DNS has them, when they are known without asking anybody, else None."""
        answers = [answer for kind in self._kinds if (answer := self.names.known(host, kind)) is not None]
        return mx.address_answer(answers) if len(answers) == len(self._kinds) else None

    async def _dns_addresses_of(self, host: str, search: bool) -> Answer[str]:
        answers = await defer.gatherResults([self.names.ask(host, kind, search=search) for kind in self._kinds])
        return mx.address_answer(answers)

    def _dns_addresses(self, host: str, *, search: bool = False) -> defer.Deferred[Answer[str]]:
        return defer.Deferred.fromCoroutine(self._dns_addresses_of(host, search))


def _rejected(way: Reject) -> Failed | Deferred:
    return Failed(way.reply) if way.reply.is_permanent else Deferred(way.reply)
