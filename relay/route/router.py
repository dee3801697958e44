"""Where to, for the deliverer: a route, its hops, their addresses; from the table, the DNS and /etc/hosts.

Each question comes twice: ``…_now`` answers at once when the answer is known and gives None when it is
not; the other returns a Deferred, which never fails.  What cannot be answered is an Outcome: ``Deferred``
for trouble, ``Failed`` where the DNS says that there is no way (RFC 5321 §5.1).  Trouble with a host that
our own configuration names is always temporary: it is ours, not the recipient's.
"""

from __future__ import annotations

from twisted.internet import defer

from relay.message.address import Address
from relay.message.outcome import Deferred, Discarded, Failed
from relay.route.table import Route, RouteTable
from relay.route.via import Hop

Hops = tuple[Hop, ...] | Deferred | Failed | Discarded
"""Hosts in the order in which to try them, one at least; or what became of the recipients without any."""

Addresses = tuple[str, ...] | Deferred | Failed
"""Textual IP addresses in the order in which to try them, one at least; or why there are none."""


class Router:
    """Answers where to."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table

    def route(self, sender: Address | None, recipient: Address) -> Route:
        """The way by the table; see RouteTable.route."""
        return self._table.route(sender, recipient)

    def hops_now(self, route: Route) -> Hops | None:
        """The hops of a route when they are known without asking anybody, else None."""
        raise NotImplementedError(route)

    def hops(self, route: Route) -> defer.Deferred[Hops]:
        """The hops of a route."""
        raise NotImplementedError(route)

    def addresses_now(self, hop: Hop) -> Addresses | None:
        """The addresses of a hop that has no path, when they are known without asking anybody, else None."""
        raise NotImplementedError(hop)

    def addresses(self, hop: Hop) -> defer.Deferred[Addresses]:
        """The addresses of a hop that has no path, IPv6 and IPv4 in turns."""
        raise NotImplementedError(hop)
