"""The routing table: which way a message goes, by recipient and, where a rule says so, by sender.

The first rule that matches wins; where none does, mail goes by the MX records of the recipient's
domain, or straight to the host of an address literal.  The table is looked up at every attempt:
nothing of it is kept in the queue, so a corrected table applies to what waits there already.

Rules are found by their key and not one after the other: ten thousand routes cost as much as ten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from relay.message.address import Address, AddressFault, domain_key, is_domain, parse_mailbox
from relay.route.via import ByMx, ToLiteral, Way, literal_way, parse_via

_K = TypeVar("_K")

ANY = "*"
NULL_SENDER = "<>"
REMEMBERED_LIMIT = 20_000
"""How many look-ups the table remembers; a bound on memory, whatever a peer sends."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes.

    lane  the scheduler's name for the way: equal lane, equal way
    rule  what decided, for logs and people: ``routes[2], relay.yaml:31``
    hold  what comes is held until an operator releases it
    """

    lane: str
    way: Way
    rule: str
    hold: bool = False


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One entry of ``routes:``.

    to      a key of parse_pattern: whom the recipient must be
    sender  likewise for the reverse-path (``from:``); ``<>`` is the null sender
    place   where it stands: ``routes[2], relay.yaml:31``
    hold    see Route
    """

    to: str
    way: Way
    sender: str = ANY
    place: str = ""
    hold: bool = False


def parse_rule(to: str, via: str | Sequence[str], sender: str = ANY, place: str = "") -> RouteRule:
    """A rule from its texts.  Raises ValueError, whose text says what would be right."""
    return RouteRule(
        parse_pattern(to), parse_via(via), NULL_SENDER if sender == NULL_SENDER else parse_pattern(sender), place
    )


def parse_pattern(text: str) -> str:
    """The key under which a pattern of ``to:`` or ``from:`` is found.

    ``example.org`` is that domain alone, ``.example.org`` all below it, ``ann@example.org`` one address,
    ``[192.0.2.1]`` an address literal, ``*`` everything.  Raises ValueError, whose text says what would be right.
    """
    text = text.strip()
    if text == ANY:
        return ANY
    if text.startswith("*."):
        raise ValueError(f"{text!r}: write {text[1:]} for the subdomains, {text[2:]} for the domain itself")
    if text.startswith("@"):
        raise ValueError(f"{text!r}: write {text[1:]} for every address of that domain")
    if "@" in text:
        try:
            address = parse_mailbox(text)
        except AddressFault as fault:
            raise ValueError(f"{text!r} is not an address: {fault}") from None
        return _address_key(address)
    if not is_domain(text.removeprefix(".")) or text.startswith(".["):
        raise ValueError(f"{text!r} is none of example.org, .example.org, ann@example.org, [192.0.2.1], *")
    return "." + domain_key(text[1:]) if text.startswith(".") else _domain_key(text)


class RouteTable:
    """Rules in their order.  It never changes: a new configuration makes a new table.

    holds  some rule does
    """

    def __init__(self, rules: Sequence[RouteRule] = ()) -> None:
        self.rules = tuple(rules)
        self.holds = any(rule.hold for rule in self.rules)
        self._places: dict[tuple[str, str], int] = {}
        for place, rule in enumerate(self.rules):
            self._places.setdefault((rule.to, rule.sender), place)  # of two equal rules the first one wins
        self._by_sender = any(rule.sender != ANY for rule in self.rules)
        self._domains_with_addresses = {rule.to.rpartition("@")[2] for rule in self.rules if "@" in rule.to}
        self._by_domain: dict[str, Route] = {}
        self._by_pair: dict[tuple[Address | None, Address], Route] = {}

    def route(self, sender: Address | None, recipient: Address) -> Route:
        """The way of a message from ``sender`` (None for the null sender) to ``recipient``."""
        found = self._by_domain.get(recipient.domain)
        if found is not None:  # only there when no rule looks at more than the domain
            return found
        found = self._by_pair.get((sender, recipient)) if self._by_pair else None
        if found is not None:
            return found
        route = self._decide(sender, recipient)
        if self._by_sender or _domain_key(recipient.domain) in self._domains_with_addresses:
            _remember(self._by_pair, (sender, recipient), route)
        else:
            _remember(self._by_domain, recipient.domain, route)
        return route

    def lanes_for(self, recipient: Address) -> Sequence[str]:
        """The ways that mail for this address, or another one of its domain, may go, whoever sends it.

        The rules count in their order, as far as one that takes all of it.
        """
        keys, domain = set(_keys(recipient)), _domain_key(recipient.domain)
        lanes: dict[str, None] = {}
        for rule in self.rules:
            is_for_one = "@" in rule.to
            if rule.to in keys or (is_for_one and rule.to.rpartition("@")[2] == domain):
                lanes[_route(rule.way, recipient, rule.place).lane] = None
                if rule.sender == ANY and not is_for_one:
                    return [*lanes]
        return [*lanes, _route(literal_way(recipient.domain) or ByMx(), recipient, "").lane]

    def _decide(self, sender: Address | None, recipient: Address) -> Route:
        places = self._places
        senders = [NULL_SENDER, ANY] if sender is None else [*_keys(sender)] if self._by_sender else [ANY]
        matching = [places[to, by] for to in _keys(recipient) for by in senders if (to, by) in places]
        if matching:
            rule = self.rules[min(matching)]
            return _route(rule.way, recipient, rule.place or f"routes[{min(matching)}]", rule.hold)
        return _route(literal_way(recipient.domain) or ByMx(), recipient, "default: by MX")


def _route(way: Way, recipient: Address, rule: str, hold: bool = False) -> Route:
    if isinstance(way, ByMx) and not way.domain:
        security = way.security
        literal = literal_way(recipient.domain)
        if literal is None:
            way = ByMx(recipient.domain_key, security)
        else:
            way = literal if security is None else ToLiteral(literal.address, security)
    return Route(way.lane, way, rule, hold)


def _remember(remembered: dict[_K, Route], key: _K, route: Route) -> None:
    if len(remembered) >= REMEMBERED_LIMIT:
        remembered.clear()
    remembered[key] = route


def _keys(address: Address) -> Iterator[str]:
    """Every key under which a rule for this address may stand."""
    yield _address_key(address)
    domain = _domain_key(address.domain)
    yield domain
    if not domain.startswith("["):
        while domain:
            _, dot, domain = domain.partition(".")
            if dot:
                yield "." + domain
    yield ANY


def _address_key(address: Address) -> str:
    return f"{address.local.lower()}@{_domain_key(address.domain)}"


def _domain_key(domain: str) -> str:
    """The domain without case and in A-labels; one spelling for each address literal."""
    literal = literal_way(domain)
    return literal.lane if literal is not None else domain_key(domain)
