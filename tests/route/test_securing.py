"""What TLS the hops of a domain must have, by DANE, by MTA-STS, or by what our routes say."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from relay.message.address import parse_mailbox
from relay.route.dane import Tlsa
from relay.route.hosts import HostsFile
from relay.route.https import Fetched
from relay.route.mx import Ourselves
from relay.route.names import TLSA, TXT
from relay.route.policies import Policies
from relay.route.router import Router
from relay.route.securing import Securing
from relay.route.table import RouteRule, RouteTable
from relay.route.tls import Level, Policed, Security
from relay.route.via import Hop, on_terms, parse_via
from tests.fakes.names import FakeNames
from tests.route.test_policies import Shelf, Web, text

RECORD = Tlsa(3, 1, 1, b"x" * 32)
PKIX = Tlsa(1, 1, 1, b"x" * 32)
AT = "_25._tcp.mx.example.org"


class World:
    """example.org with one mail host, mx.example.org."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.names = FakeNames(self.clock)
        self.names.mx("example.org", (10, "mx.example.org"))
        self.names.a("mx.example.org", "192.0.2.1")
        self.web = Web()
        self._hosts = HostsFile(self.clock, folder / "hosts")

    def sts(self, mode: str, mx: str = "mx.example.org") -> None:
        self.names.add("_mta-sts.example.org", TXT, "v=STSv1; id=1;")
        self.web.answer = Fetched(200, "text/plain", text(mode, mx=mx))

    def tlsa(self, *records: Tlsa, at: str = AT) -> None:
        self.names.add(at, TLSA, *records)

    def hops(
        self, *, via: str = "mx:", wish: Security | None = None, validates: bool = True, reports: bool = False
    ) -> tuple[Hop, ...]:
        policies = Policies(self.clock, self.names, self.web, Shelf())
        securing = Securing(self.names, policies, validates=validates, reports=reports)
        table = RouteTable([RouteRule("*", on_terms(parse_via(via), wish), place="routes[0]")])
        ourselves = Ourselves(("relay.example",))
        self.router = Router(table, self.names, self.clock, random.Random(1), ourselves, self._hosts, securing=securing)
        route = self.router.route(None, parse_mailbox("bob@example.org"))
        found: list[object] = []
        self.router.hops(route).addCallback(found.append)
        (hops,) = found
        assert isinstance(hops, tuple)
        assert self.router.hops_now(route) == hops, "it is remembered"
        return hops

    def security(self, **more: object) -> Security:
        return self.hops(**more)[0].security  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_without_anything_it_is_opportunistic(world: World) -> None:
    security = world.security()
    assert (security.level, security.knows_name, security.trouble) == (Level.OPPORTUNISTIC, False, "")


def test_without_mx_the_name_is_the_domain_itself(world: World) -> None:
    """RFC 8689 §2, §4.2.1: what the DNS did not tell need not be vouched for; the certificate must be the domain's."""
    world.names.remove("example.org")
    world.names.a("example.org", "192.0.2.1")
    assert world.security().knows_name


def test_signed_tlsa_records_are_dane(world: World) -> None:
    """RFC 7672 §2.2."""
    world.names.sign("example.org")
    world.tlsa(RECORD)
    security = world.security()
    assert security.level is Level.DANE
    assert security.tlsa == (RECORD,)
    assert security.names == ("mx.example.org", "example.org")
    assert security.knows_name and security.asked_for
    assert AT in security.whence


def test_what_is_not_signed_counts_for_nothing(world: World) -> None:
    """RFC 7672 §2.2.1, §2.2.2: each link, the MX records, the addresses and the TLSA records, must be signed."""
    world.tlsa(RECORD)
    world.names.a("mx.other.example", "192.0.2.2")
    world.tlsa(RECORD, at="_25._tcp.mx.other.example")
    assert world.security().level is Level.OPPORTUNISTIC
    world.names.sign(AT)
    assert world.security().level is Level.OPPORTUNISTIC
    world.names.sign("mx.example.org")
    assert world.security().level is Level.OPPORTUNISTIC
    world.names.sign("example.org")
    assert world.security().level is Level.DANE
    world.names.mx("example.org", (10, "mx.other.example"))
    assert world.security().level is Level.OPPORTUNISTIC


def test_without_a_trusted_resolver_nobody_asks_for_tlsa(world: World) -> None:
    world.names.sign("example.org")
    world.tlsa(RECORD)
    assert world.security(validates=False).level is Level.OPPORTUNISTIC
    assert not any(kind == "TLSA" for _, kind in world.names.asked)


def test_a_tlsa_answer_that_cannot_be_had_keeps_the_mail(world: World) -> None:
    """RFC 7672 §2.1.2: a SERVFAIL, as for a bogus signature, is not "no DANE": that is what an attacker would do."""
    world.names.sign("example.org")
    world.names.trouble(AT, "TLSA", "SERVFAIL from 127.0.0.1")
    security = world.security()
    assert "SERVFAIL" in security.trouble
    world.sts("enforce")
    assert "SERVFAIL" in world.security().trouble, "MTA-STS does not get round it"


def test_records_of_which_none_can_be_used_still_mean_tls(world: World) -> None:
    """RFC 7672 §2.2: then TLS without authentication."""
    world.names.sign("example.org")
    world.tlsa(PKIX)
    assert (world.security().level, world.security().trouble) == (Level.REQUIRE, "")
    world.names.add("_smtp._tls.example.org", TXT, "v=TLSRPTv1; rua=mailto:tls@example.org")
    told = world.security(reports=True)
    assert told.policed == Policed("example.org", "tlsa", base="mx.example.org")
    assert told.failure == "tlsa-invalid", "RFC 8460 §4.3.2.1"
    world.sts("enforce")
    assert world.security().level is Level.VERIFY


def test_a_signed_cname_leads_to_the_records(world: World) -> None:
    """RFC 7672 §2.2.2: first under the name at its end, then under the host's own."""
    world.names.remove("mx.example.org")
    world.names.cname("mx.example.org", "host.example.net")
    world.names.a("host.example.net", "192.0.2.1")
    world.names.sign("example.org", "example.net")
    world.tlsa(RECORD, at="_25._tcp.host.example.net")
    security = world.security()
    assert security.tlsa == (RECORD,)
    assert security.names == ("host.example.net", "mx.example.org", "example.org")
    world.names.remove("_25._tcp.host.example.net")
    world.tlsa(RECORD)
    assert world.security().tlsa == (RECORD,)


def test_an_insecure_cname_leads_nowhere_but_its_own_name_may_vouch(world: World) -> None:
    """Field-notes 21; RFC 7672 §2.2.2: the end of the chain is forged, the records there too."""
    world.names.remove("mx.example.org")
    world.names.cname("mx.example.org", "host.forged.example")
    world.names.a("host.forged.example", "192.0.2.66")
    world.names.sign("example.org")
    world.tlsa(Tlsa(3, 1, 1, b"f" * 32), at="_25._tcp.host.forged.example")
    assert world.security().level is Level.OPPORTUNISTIC
    world.tlsa(RECORD)
    assert world.security().tlsa == (RECORD,)


def test_a_cname_that_cannot_be_asked_for_keeps_the_mail(world: World) -> None:
    """RFC 7672 §2.1.2: each question on the way to the TLSA records counts, or who stops one is rid of DANE."""
    world.names.remove("mx.example.org")
    world.names.cname("mx.example.org", "host.unsigned.example")
    world.names.a("host.unsigned.example", "192.0.2.1")
    world.names.sign("example.org")
    world.tlsa(RECORD)
    world.names.break_off("mx.example.org", "CNAME", "SERVFAIL from 127.0.0.1")
    security = world.security()
    assert "SERVFAIL" in security.trouble and security.failure == "dnssec-invalid"


def test_a_certificate_may_be_for_the_domain_and_for_what_it_is_an_alias_of(world: World) -> None:
    """RFC 7672 §3.2.2, its example: the next-hop domain as it was given, and fully expanded."""
    world.names.remove("example.org")
    world.names.cname("example.org", "example.com")
    world.names.mx("example.com", (10, "mx.example.com"))
    world.names.a("mx.example.com", "192.0.2.1")
    world.names.sign("example.org", "example.com")
    world.tlsa(RECORD, at="_25._tcp.mx.example.com")
    assert world.security().names == ("mx.example.com", "example.org", "example.com")


def test_an_enforced_policy_means_verify(world: World) -> None:
    """RFC 8461 §4.2, §5."""
    world.sts("enforce")
    security = world.security()
    assert (security.level, security.knows_name, security.asked_for) == (Level.VERIFY, True, True)


def test_a_host_that_an_enforced_policy_does_not_name_gets_nothing(world: World) -> None:
    world.sts("enforce", mx="other.example.org")
    assert "not a host that" in world.security().trouble
    world.sts("enforce", mx="*.example.org")
    assert world.security().trouble == ""


@pytest.mark.parametrize("mx", ["mx.example.org", "other.example.org"])
def test_a_policy_in_testing_is_never_enforced(world: World, mx: str) -> None:
    """RFC 8461 §5; a slip that others have made."""
    world.sts("testing", mx=mx)
    security = world.security()
    assert (security.level, security.trouble, security.testing) == (Level.OPPORTUNISTIC, "", True)
    assert bool(security.failure) is (mx != "mx.example.org")


def test_dane_goes_before_mta_sts(world: World) -> None:
    """RFC 8461 §2: a policy must not get round DANE."""
    world.names.sign("example.org")
    world.tlsa(RECORD)
    for mode in ("enforce", "testing"):
        world.sts(mode, mx="other.example.org")
        assert world.security().level is Level.DANE
        assert world.security().trouble == ""


@pytest.mark.parametrize("level", [Level.NONE, Level.OPPORTUNISTIC, Level.REQUIRE, Level.VERIFY])
def test_what_the_route_says_goes_before_what_the_domain_asks(world: World, level: Level) -> None:
    world.names.sign("example.org")
    world.tlsa(RECORD)
    world.sts("enforce", mx="other.example.org")
    security = world.security(wish=Security(level, "routes[0]"))
    assert (security.level, security.trouble, security.asked_for) == (level, "", False)


def test_a_route_that_says_dane_goes_nowhere_without(world: World) -> None:
    wish = Security(Level.DANE, "routes[0]")
    assert "no signed TLSA record" in world.security(wish=wish).trouble
    world.names.sign("example.org")
    assert "no signed TLSA record" in world.security(wish=wish).trouble
    world.tlsa(PKIX)
    assert "no signed TLSA record" in world.security(wish=wish).trouble
    world.tlsa(RECORD)
    security = world.security(wish=wish)
    assert (security.level, security.tlsa, security.trouble) == (Level.DANE, (RECORD,), "")
    assert not security.asked_for, "it is our own configuration's word"


def test_a_configured_host_with_dane(world: World) -> None:
    wish = Security(Level.DANE, "routes[0]")
    via = "smtp://mx.example.org:587"
    assert "no signed TLSA record" in world.security(via=via, wish=wish).trouble
    world.names.sign("example.org")
    world.tlsa(RECORD, at="_587._tcp.mx.example.org")
    assert world.security(via=via, wish=wish).tlsa == (RECORD,)
    world.names.trouble("_587._tcp.mx.example.org", "TLSA")
    assert "time-out" in world.security(via=via, wish=wish).trouble


def test_each_domain_has_its_own_policy_though_they_share_a_host(world: World) -> None:
    """KumoMTA #484, #557: policies by mail host took one domain's for another's."""
    world.sts("enforce")
    world.names.mx("example.net", (10, "mx.example.org"))
    assert world.security().level is Level.VERIFY
    found: list[object] = []
    world.router.hops(world.router.route(None, parse_mailbox("bob@example.net"))).addCallback(found.append)
    assert found[0][0].security.level is Level.OPPORTUNISTIC  # type: ignore[index]


def test_sessions_are_told_only_of_domains_that_want_reports(world: World) -> None:
    """RFC 8460 §3."""
    world.sts("enforce")
    assert world.security(reports=True).policed is None
    world.names.add("_smtp._tls.example.org", TXT, "v=TLSRPTv1; rua=mailto:tls@example.org")
    assert world.security().policed is None
    policed = world.security(reports=True).policed
    assert policed == Policed(
        "example.org",
        "sts",
        ("version: STSv1", "mode: enforce", "mx: mx.example.org", "max_age: 604800"),
        ("mx.example.org",),
    )
    world.names.sign("example.org")
    world.tlsa(RECORD)
    assert world.security(reports=True).policed == Policed("example.org", "tlsa", (str(RECORD),), base="mx.example.org")


def test_what_is_known_is_forgotten_in_time(world: World) -> None:
    """A policy that is published later counts when the answers that did not have it have expired."""
    world.names.mx("example.org", (10, "mx.example.org"), ttl=86_400)
    assert world.security().level is Level.OPPORTUNISTIC
    route = world.router.route(None, parse_mailbox("bob@example.org"))
    world.clock.advance(61)
    assert world.router.hops_now(route) is None
