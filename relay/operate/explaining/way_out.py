"""The way out: where the mail of some recipients goes now, as the next attempt would find it.

The router is asked apart from the one at work: what is remembered there stays as it is, and each answer of the DNS can
be shown.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay.deliver.attempt import NOT_VOUCHED_FOR, fit_for_require_tls
from relay.message.envelope import Message, Recipient
from relay.message.outcome import Deferred, Discarded, Failed
from relay.message.reply import Reply
from relay.operate import rules
from relay.operate.config import BUILT_IN
from relay.operate.explaining import hosts
from relay.operate.explaining.finding import Decision, Finding
from relay.operate.explaining.hearing import Heard
from relay.operate.explaining.hosts import Answers
from relay.operate.explaining.premises import Premises, Row
from relay.operate.explaining.probing import probe
from relay.operate.explaining.times import attempts_ahead
from relay.route.policies import Held
from relay.route.router import Addresses, Hops
from relay.route.table import Route
from relay.route.tls import not_required
from relay.route.via import ByMx, Discard, Hop, HopList, Reject, ToFunction, ToLiteral, Way

WAYS_SHOWN = 50


class _InOrder(random.Random):
    """Chance that leaves all as it is, so that equals can be shown as such."""

    def sample(self, population: Any, k: int, *, counts: Any = None) -> list[Any]:
        return list(population)[:k]


@dataclass(frozen=True, slots=True)
class _Way:
    """What was found out about one route.

    hops       as the deliverer would be given them
    addresses  of each hop
    answers    of the DNS
    held       the MTA-STS policy of the domain
    """

    route: Route
    hops: Hops
    addresses: Sequence[Addresses]
    answers: Answers
    held: Held | None


class WayOut:
    """See the module."""

    def __init__(self, premises: Premises, message: Message) -> None:
        """message  its envelope and size count; its content only where the way hangs on it"""
        config, router, deliverer = premises.config, premises.router, premises.deliverer
        self._config = config
        self._message = message
        self._deliverer = deliverer
        self._retry = rules.schedule_settings(config).retry
        self._destinations = premises.destinations
        self._heard = Heard(router.names)
        self._router = router.apart(self._heard, _InOrder())
        self._now = deliverer.pool.clock.seconds
        self._ways: list[tuple[_Way, Sequence[Recipient]]] = []

    async def findings(self, recipients: Sequence[Recipient]) -> AsyncIterator[Finding]:
        """The ways of these recipients, one after the other."""
        routes: dict[str, tuple[Route, list[Recipient]]] = {}
        for recipient in recipients:
            route = self._router.route(self._message.envelope.reverse_path, recipient.address)
            routes.setdefault(route.lane, (route, []))[1].append(recipient)
        standing = await self._destinations(list(routes)[:WAYS_SHOWN])
        for number, (route, those) in enumerate(routes.values()):
            if number == WAYS_SHOWN:
                yield Finding("out", "route", details={"left_out": len(routes) - number})
                return
            way = await self._explore(route)
            self._ways.append((way, those))
            for finding in self._told(way, those, standing.get(route.lane)):
                yield finding

    async def probes(self) -> AsyncIterator[Finding]:
        """The hosts of the ways that were found, asked in truth."""
        for way, recipients in self._ways:
            if isinstance(way.hops, tuple):
                async for finding in probe(self._deliverer, way.hops, way.addresses, self._message, recipients):
                    yield finding

    def times(self, accepted_at: float, first_at: float, failures: int) -> Finding:
        """When it is tried, warned of and given up, from the next attempt on."""
        retry = self._retry
        details = {
            "attempts_at": list(attempts_ahead(retry, accepted_at, first_at, failures)),
            "longest_s": retry.longest_s,
            "warns_at": None if retry.warn_after_s is None else retry.warns_at(accepted_at),
            "expires_at": retry.expires_at(accepted_at),
        }
        return Finding("out", "times", place=self._config.place("retry"), details=details)

    # -- finding out -------------------------------------------------------------------------

    async def _explore(self, route: Route) -> _Way:
        hops = await self._router.hops(route)
        held = await self._policy(route.way)
        answers = dict(self._heard.answers)
        if isinstance(hops, tuple):
            hops = await self._fitted(hops)
        found = [await self._addresses(hop) for hop in hops] if isinstance(hops, tuple) else []
        return _Way(route, hops, found, {**answers, **self._heard.answers}, held)

    async def _policy(self, way: Way) -> Held | None:
        policies = self._router.securing.policies
        return (await policies.policy(way.domain))[0] if isinstance(way, ByMx) and policies is not None else None

    async def _fitted(self, hops: tuple[Hop, ...]) -> Hops:
        """As the message itself wishes its hops to be secured (RFC 8689); see relay.deliver.attempt."""
        message = self._message
        if message.envelope.require_tls:
            fit = tuple(fit_for_require_tls(hops))
            return (fit + hops if message.envelope.reverse_path is None else fit) or NOT_VOUCHED_FOR
        if any(hop.security.asked_for for hop in hops) and await self._deliverer.letter(message).tls_not_required():
            return tuple(replace(hop, security=not_required(hop.security)) for hop in hops)
        return hops

    async def _addresses(self, hop: Hop) -> Addresses:
        return () if hop.path is not None else await self._router.addresses(hop)

    # -- telling -----------------------------------------------------------------------------

    def _told(self, way: _Way, recipients: Sequence[Recipient], standing: Row | None) -> Sequence[Finding]:
        told = list(self._hosts(way))
        findings = [self._of_route(way, recipients, told), *self._heard.findings(self._now())]
        if way.held is not None:
            findings.append(_of_policy(way.route.way, way.held))
        return [*findings, *told, self._of_destination(way.route, standing)]

    def _hosts(self, way: _Way) -> Sequence[Finding]:
        by_mx = way.route.way if isinstance(way.route.way, ByMx) else None
        found: list[Finding] = []
        if isinstance(way.hops, tuple):
            preference = hosts.preferences(by_mx, way.answers) if by_mx is not None else {}
            most = len(way.hops) if self._message.envelope.require_tls else self._deliverer.settings.hosts_per_attempt
            for number, (hop, addresses) in enumerate(zip(way.hops, way.addresses, strict=True), 1):
                found.append(hosts.host_of(number, hop, addresses, preference.get(hop.host), most))
        if by_mx is not None:
            found += hosts.left_out(by_mx, way.answers, self._router.ourselves)
        return found

    def _of_route(self, way: _Way, recipients: Sequence[Recipient], told: Sequence[Finding]) -> Finding:
        route, hops = way.route, way.hops
        rule, _, place = route.rule.partition(", ")
        details: dict[str, Any] = {
            "recipients": [str(one.address) for one in recipients],
            "destination": route.lane,
            "via": via_of(route.way),
            "hold": route.hold,
            **self._pattern(rule),
        }
        about = details["recipients"][0] if len(recipients) == 1 else f"{len(recipients)} recipients"
        tried = [one for one in told if one.decision != "told"]
        if isinstance(hops, (Failed, Deferred)):
            refused, reply = isinstance(hops, Failed), hops.reply
        elif (
            isinstance(hops, Discarded)
            or isinstance(route.way, ToFunction)
            or any(one.decision == "accepted" for one in tried)
        ):
            return Finding("out", "route", about, "accepted", rule, place or str(BUILT_IN), details=details)
        else:
            remedy = "it waits until one of its hosts can be used"
            said = tried[-1].reply if tried else ""  # as an attempt has it: the last host's words
            return Finding("out", "route", about, "temporary", rule, place, said, remedy, details)
        remedy = _remedy(route, reply, place)
        decision: Decision = "refused" if refused else "temporary"
        return Finding("out", "route", about, decision, rule, place or str(BUILT_IN), str(reply), remedy, details)

    def _pattern(self, rule: str) -> Mapping[str, str]:
        """The conditions of the rule, ``routes[2]``."""
        number = rule.removeprefix("routes[").removesuffix("]")
        if not number.isdigit() or int(number) >= len(self._config.routes):
            return {}
        chosen = self._config.routes[int(number)]
        return {"to": chosen.to, "from": chosen.sender}

    def _of_destination(self, route: Route, standing: Row | None) -> Finding:
        row = standing or {}
        details = {
            "is_known": standing is not None,
            "window": row.get("window"),
            "in_flight": row.get("in_flight", 0),
            "waiting": row.get("waiting", 0),
            "resting_until": row.get("resting_until"),
            "failures": row.get("failures", 0),
            "error": row.get("error", ""),
        }
        remedy = f"relay queue flush --destination '{route.lane}' ends its rest" if details["resting_until"] else ""
        return Finding("out", "destination", route.lane, remedy=remedy, details=details)


def _of_policy(way: Way, held: Held) -> Finding:
    assert isinstance(way, ByMx)
    details = {
        "mode": held.policy.mode.value,
        "mx": list(held.policy.mx),
        "id": held.id,
        "fetched_at": held.fetched_at,
        "expires_at": held.expires_at,
    }
    return Finding("out", "policy", way.domain, rule="MTA-STS", details=details)


def via_of(way: Way) -> str:
    """The way as ``via:`` writes it."""
    match way:
        case HopList(hops):
            return ", ".join(_url(hop) for hop in hops)
        case ByMx(domain):
            return f"mx:{domain}"
        case ToLiteral(address):
            return f"[{address}]"
        case Discard():
            return "discard:"
        case Reject(reply):
            return f"reject:{reply}"
        case ToFunction():
            return way.lane


def _url(hop: Hop) -> str:
    return f"lmtp+unix:{hop.path}" if hop.path is not None else f"{hop.protocol}{'s' * hop.implicit_tls}://{hop.name()}"


def _remedy(route: Route, reply: Reply, place: str) -> str:
    """What would open a way that is closed."""
    way = route.way
    if isinstance(way, Reject):
        return f"the rule in {place} says so"
    domain = way.domain if isinstance(way, ByMx) else route.lane
    by_route = f"give it a way of its own: routes: [{{to: {domain}, via: smtp://HOST}}]"
    match reply.enhanced:
        case "5.4.6":
            return f"we are the mail host of {domain}; {by_route}"
        case "5.1.2":
            return f"look at the spelling; if {domain} is known only here, {by_route}"
        case "5.4.4" | "5.1.10":
            return f"only {domain} itself can change that; if its mail goes elsewhere, {by_route}"
        case "5.7.10":
            return f"{domain} can change that, by DANE or MTA-STS; or send it without REQUIRETLS; or {by_route}"
        case "4.4.3":
            return "it is tried again; the name servers are those of dns.servers, else of /etc/resolv.conf"
    return f"correct the host in {place}" if place else ""
