"""Forwarding (``forward:``): what an address of ours stands for (RFC 5321 §3.4, §3.9.1).

An entry is looked up by the exact address, then by the local part alone (for every domain of ours, and this host),
then, for an address that does not exist otherwise, by ``@domain``.  Targets are looked up again; an
address that stands for itself, alone or among others, is delivered as it is.

The rule that must not be broken: an expansion ends, and it is bounded in size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from relay.message.address import Address
from relay.policy.access import Domains

DEPTH_LIMIT = 50
"""How often over an address may be forwarded."""


@dataclass(frozen=True, slots=True)
class Forward:
    """One entry: forwarded to targets, or referred to a new address.

    to     the targets; one at least, unless ``refer`` is given
    refer  the new address of somebody who moved: nothing is taken, the client is told (551)
    tell   whether a client may be told the new path (251); None leaves it to the general setting
    place  where the entry stands
    """

    to: tuple[Address, ...] = ()
    refer: Address | None = None
    tell: bool | None = None
    place: str = "forward"


class ForwardingFault(ValueError):
    """An expansion that cannot be: it goes in a circle."""


class TooManyTargets(ForwardingFault):
    """An expansion that is larger than the bound."""


Exists = Callable[[Address], bool]


class Forwarding:
    """The table of forwards."""

    def __init__(self, entries: Mapping[str, Forward], own: Domains, limit: int) -> None:
        """entries  by look-up form, see ``relay.policy.recipients.entry_key``
        own      the domains for which a bare local part counts
        limit    how many recipients one may become
        """
        self._entries = dict(entries)
        self._own = own
        self._limit = limit

    def __bool__(self) -> bool:
        return bool(self._entries)

    def find(self, address: Address, exists: Exists) -> tuple[str, Forward] | None:
        """The entry for this address and its key.  ``exists`` tells whether it has a mailbox, and so is not for a
        catch-all."""
        entries = self._entries
        key = address.key
        if key in entries:
            return key, entries[key]
        local, _, domain = key.rpartition("@")
        # A quoted local part may look like an address or a domain; it is neither.
        if "@" not in local and local in entries and self._own.containing(domain):
            return local, entries[local]
        catch_all = "@" + domain
        if catch_all in entries and not exists(address):
            return catch_all, entries[catch_all]
        return None

    def expand(self, address: Address, exists: Exists) -> tuple[Address, ...]:
        """All that this address stands for, in order, none twice.

        A referral within is followed: whoever wrote it into a list means the person.
        Raises ForwardingFault.
        """
        # The case of a local part may mean something at a foreign host (RFC 5321 §2.4): those are two.
        targets: dict[tuple[str, str], Address] = {}
        self._walk(address, exists, (), set(), targets)
        return tuple(targets.values())

    def _walk(
        self,
        address: Address,
        exists: Exists,
        way: tuple[str, ...],
        done: set[str],
        targets: dict[tuple[str, str], Address],
    ) -> None:
        """Puts what this address stands for into targets.

        way   the addresses that led here
        done  those whose targets are known already; without it two lists that name each other's members cost 2**n
        """
        key = address.key
        found = None
        if not way or key != way[-1]:  # else it stands for itself: a copy stays here
            if key in way:
                raise ForwardingFault(" -> ".join((*way, key)))
            if key in done:
                return
            found = self.find(address, exists)
        if found is None:
            targets.setdefault((address.local, address.domain_key), address)
            if len(targets) > self._limit:
                raise TooManyTargets(f"{way[0] if way else key} becomes more than {self._limit} recipients")
            return
        if len(way) >= DEPTH_LIMIT:
            raise TooManyTargets(f"{way[0]} is forwarded more than {DEPTH_LIMIT} times over")
        for target in found[1].to or (found[1].refer,):
            assert target is not None
            self._walk(target, exists, (*way, key), done, targets)
        done.add(key)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Entries that can never be used, as (key, why): for whoever checks a configuration."""
        for key, entry in self._entries.items():
            for target in entry.to:
                try:
                    self.expand(target, lambda _: False)
                except ForwardingFault as fault:
                    yield key, str(fault)
                    break
