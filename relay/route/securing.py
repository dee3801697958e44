"""What TLS the hops of a route must have: as the route says, else by DANE, else by MTA-STS, else what can be had.

    the route says    that, and with ``dane`` what the DNS then vouches for
    the MX records and the host's addresses are signed, and there are signed TLSA records
                      dane; where none of them can be used, TLS with anybody (RFC 7672 §2.1, §2.2)
    the domain has an MTA-STS policy
                      enforced: verify, and no host that it does not name; testing: looked at, and told (RFC 8461 §5)
    nothing of that   opportunistic

The rule that must not be broken: where an answer about TLSA cannot be had, or one on the way to it, the host is not
used (RFC 7672 §2.1.2): who can suppress the answer must not gain by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from relay.route.dane import Tlsa, usable
from relay.route.names import CNAME, TLSA, TXT, Answer, Found, Missing, Mx, Names, Trouble
from relay.route.policies import Held, Policies
from relay.route.sts import Mode
from relay.route.tls import Level, Policed, Security
from relay.route.via import Hop


class Securing:
    """See the module.

    policies   None: no MTA-STS
    validates  a resolver that we trust validates: without one no DANE
    reports    TLS reports are sent: sessions are told of domains that want them (RFC 8460)
    """

    def __init__(self, names: Names, policies: Policies | None, *, validates: bool, reports: bool = False) -> None:
        self._names = names
        self.policies = policies
        self._validates = validates
        self._reports = reports

    def apart(self, names: Names) -> Securing:
        """Another that decides the same, asking these names."""
        policies = self.policies.apart(names) if self.policies is not None else None
        return Securing(names, policies, validates=self._validates, reports=self._reports)

    async def mail_hosts(
        self,
        domain: str,
        wish: Security | None,
        answer: Answer[Mx],
        hosts: Sequence[Mx],
        addresses: Mapping[str, Answer[str]],
        port: int,
    ) -> tuple[dict[str, Security], float]:
        """What the mail hosts of a domain must have, and until when that holds.

        wish       what the route asks for, or None
        answer     the domain's MX
        addresses  of each host
        """
        is_signed = isinstance(answer, (Found, Missing)) and answer.secure
        # RFC 7672 §3.2.2: a certificate of DANE-TA may be for the domain, too, as it is written and as its CNAMEs end.
        domains = (domain, answer.canonical) if isinstance(answer, Found) and answer.canonical else (domain,)
        held, until = await self.policies.policy(domain) if self.policies is not None else (None, float("inf"))
        wants_reports = self._reports and await self._wants_reports(domain)
        found: dict[str, Security] = {}
        for mx in hosts:
            tlsa = None
            if is_signed and (wish is None or wish.level is Level.DANE):
                tlsa, expires_at = await self._tlsa(mx.host, addresses.get(mx.host), port, domains)
                until = min(until, expires_at)
            security = _wished(wish, tlsa, mx.host) if wish is not None else _by_domain(domain, mx.host, tlsa, held)
            # Without MX records the host is the domain itself, by no word of the DNS (RFC 8689 §2).
            is_domain = isinstance(answer, Missing)
            knows_name = is_signed or is_domain or (held is not None and held.policy.allows(mx.host))
            security = replace(security, knows_name=knows_name)
            found[mx.host] = replace(security, policed=_policed(domain, security, held)) if wants_reports else security
        return found, until

    async def configured(self, hop: Hop, addresses: Answer[str]) -> tuple[Security, float]:
        """What a hop that our configuration names must have, whose route says ``dane``."""
        tlsa, until = await self._tlsa(hop.host, addresses, hop.port, ())
        return _wished(hop.security, tlsa, hop.host), until

    async def _tlsa(
        self, host: str, addresses: Answer[str] | None, port: int, domains: Sequence[str]
    ) -> tuple[Security | None, float]:
        """What the DNS vouches for at a host, and until when; None when it has nothing signed to say.

        domains  those whose mail host it is
        """
        bases, until = await self._bases(host, addresses)
        if isinstance(bases, Trouble):
            return _unanswered(host, "CNAME", bases), until
        for base in bases:
            name = f"_{port}._tcp.{base}"
            answer = await self._names.ask(name, TLSA)
            until = min(until, answer.expires_at)
            if isinstance(answer, Trouble):
                return _unanswered(name, "TLSA", answer), until
            if isinstance(answer, Found) and answer.secure:
                return _vouched(name, answer.values, tuple(dict.fromkeys((base, host, *domains)))), until
        return None, until

    async def _bases(self, host: str, addresses: Answer[str] | None) -> tuple[tuple[str, ...] | Trouble, float]:
        """Under which names TLSA records are looked for (RFC 7672 §2.2.2), and until when: first where the host's CNAME
        leads."""
        always = float("inf")
        if not self._validates or not isinstance(addresses, Found):
            return (), always
        if addresses.secure:
            return tuple(dict.fromkeys(name for name in (addresses.canonical, host) if name)), always
        if not addresses.canonical:
            return (), always
        # Only the first step may be signed; then its name may vouch, the insecure one must not.
        alias = await self._names.ask(host, CNAME)
        if isinstance(alias, Trouble):
            return alias, alias.expires_at
        return (host,) if isinstance(alias, Found) and alias.secure else (), alias.expires_at

    async def _wants_reports(self, domain: str) -> bool:
        answer = await self._names.ask(f"_smtp._tls.{domain}", TXT)
        return isinstance(answer, Found) and any(text.startswith("v=TLSRPTv1") for text in answer.values)


def _unanswered(name: str, kind: str, trouble: Trouble) -> Security:
    why = f"the DNS gives no answer for the {kind} records at {name}: {trouble.why}"
    return Security(Level.DANE, name, asked_for=True, trouble=why, failure="dnssec-invalid")


def _vouched(name: str, records: Sequence[Tlsa], names: tuple[str, ...]) -> Security:
    can_use = usable(records)
    if not can_use:
        # RFC 7672 §2.2: the host has TLS, and says so; only who it is cannot be known.
        whence = f"the TLSA records at {name}, of which none can be used"
        return Security(Level.REQUIRE, whence, names, asked_for=True, failure="tlsa-invalid")
    return Security(Level.DANE, f"the TLSA records at {name}", names, can_use, asked_for=True)


def _wished(wish: Security, tlsa: Security | None, host: str) -> Security:
    """What the route asks for; for ``dane`` with what the DNS vouches for."""
    if wish.level is not Level.DANE:
        return wish
    if tlsa is None or (not tlsa.tlsa and not tlsa.trouble):
        why = f"{host} has no signed TLSA record that can be used, and {wish.whence or 'the route'} asks for dane"
        return replace(wish, trouble=why, failure="dane-required")
    return replace(tlsa, whence=wish.whence, asked_for=False)


def _by_domain(domain: str, host: str, tlsa: Security | None, held: Held | None) -> Security:
    """What the domain itself asks for.  MTA-STS does not get round what DANE says (RFC 8461 §2)."""
    if tlsa is not None and (tlsa.tlsa or tlsa.trouble):
        return tlsa
    if held is not None and held.policy.mode is Mode.ENFORCE:
        whence = f"the MTA-STS policy of {domain}"
        if held.policy.allows(host):
            return Security(Level.VERIFY, whence, asked_for=True)
        why = f"{host} is not a host that {whence} names"
        return Security(Level.VERIFY, whence, asked_for=True, trouble=why, failure="validation-failure")
    if tlsa is not None:
        return tlsa
    if held is not None:
        failure = "" if held.policy.allows(host) else "validation-failure"
        return Security(Level.OPPORTUNISTIC, f"the MTA-STS policy of {domain}, testing", testing=True, failure=failure)
    return Security(Level.OPPORTUNISTIC, "neither DANE nor MTA-STS")


def _policed(domain: str, security: Security, held: Held | None) -> Policed:
    if security.level is Level.DANE or security.failure == "tlsa-invalid":
        return Policed(domain, "tlsa", tuple(map(str, security.tlsa)), base=security.names[0] if security.names else "")
    if held is not None and (security.testing or security.level is Level.VERIFY):
        return held.policed(domain)
    return Policed(domain)
