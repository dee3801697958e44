"""The router: hops and addresses from the table, the DNS and the hosts file."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import TypeVar

import pytest
from twisted.internet import defer
from twisted.internet.task import Clock

from relay.message.address import parse_mailbox
from relay.message.outcome import Deferred, Discarded, Failed
from relay.route.hosts import HostsFile
from relay.route.mx import Ourselves
from relay.route.router import Router
from relay.route.table import RouteTable, parse_rule
from relay.route.tls import Level, Security
from relay.route.via import Hop
from tests.fakes.names import FakeNames

T = TypeVar("T")
OURSELVES = Ourselves(("relay.example",), frozenset({"198.51.100.1"}))


def result(waited: defer.Deferred[T]) -> T:
    assert waited.called
    results: list[T] = []
    waited.addCallback(results.append)
    return results[0]


class Bench:
    """A router on a fake clock, with a DNS in memory and a hosts file."""

    def __init__(self, folder: Path, *rules: tuple[str, str | list[str]], ipv6: bool = True) -> None:
        self.clock = Clock()
        self.names = FakeNames(self.clock)
        self.hosts = folder / "hosts"
        table = RouteTable([parse_rule(to, via, place=f"routes[{n}]") for n, (to, via) in enumerate(rules)])
        self.router = Router(
            table, self.names, self.clock, random.Random(1), OURSELVES, HostsFile(self.clock, self.hosts), ipv6=ipv6
        )

    def hops(self, recipient: str = "bob@example.org") -> object:
        return result(self.router.hops(self.router.route(None, parse_mailbox(recipient))))

    def hosts_tried(self) -> list[str]:
        hops = self.hops()
        assert isinstance(hops, tuple)
        return [hop.host for hop in hops]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_by_mx_the_hosts_come_in_order_with_their_addresses_known(bench: Bench) -> None:
    bench.names.mx("example.org", (20, "b.example"), (10, "a.example"))
    bench.names.a("a.example", "192.0.2.1")
    bench.names.aaaa("a.example", "2001:db8::a")
    bench.names.a("b.example", "192.0.2.2")
    route = bench.router.route(None, parse_mailbox("bob@example.org"))
    assert bench.router.hops_now(route) is None
    hops = result(bench.router.hops(route))
    security = Security(Level.OPPORTUNISTIC, knows_name=False)  # nobody vouches for the names
    assert hops == tuple(Hop(host, 25, by_mx=True, security=security) for host in ("a.example", "b.example"))
    assert bench.router.hops_now(route) == hops
    assert bench.router.addresses_now(hops[0]) == ("2001:db8::a", "192.0.2.1")
    assert bench.router.addresses_now(hops[1]) == ("192.0.2.2",)


@pytest.mark.parametrize("hosts", [["a"], ["a", "b"], ["b", "a", "c"]])
def test_domains_have_their_mail_hosts_whether_these_are_known_or_not(bench: Bench, hosts: list[str]) -> None:
    """A mail host serves many domains: it is asked about once, and each host keeps its own addresses."""
    for number, host in enumerate("abc"):
        bench.names.a(host, f"192.0.2.{number}")
    bench.names.mx("example.org", (10, "a"))
    bench.names.mx("example.net", *enumerate(hosts))
    assert bench.hosts_tried() == ["a"]
    hops = bench.hops("bob@example.net")
    assert isinstance(hops, tuple) and [hop.host for hop in hops] == hosts
    for hop in hops:
        assert bench.router.addresses_now(hop) == (f"192.0.2.{'abc'.index(hop.host)}",)
    assert bench.names.asked.count(("a", "A")) == 1


def test_the_order_among_equals_changes_though_the_answer_is_remembered(bench: Bench) -> None:
    """RFC 5321 §5.1: the load is spread; a day's TTL must not pin it to one host."""
    bench.names.mx("example.org", (10, "a"), (10, "b"))
    bench.names.a("a", "192.0.2.1")
    bench.names.a("b", "192.0.2.2")
    firsts = Counter(bench.hosts_tried()[0] for _ in range(200))
    assert min(firsts["a"], firsts["b"]) > 60
    assert bench.names.asked.count(("example.org", "MX")) == 1


def test_answers_are_asked_for_again_when_the_shortest_ttl_is_over(bench: Bench) -> None:
    bench.names.mx("example.org", (10, "a"), ttl=1000)
    bench.names.a("a", "192.0.2.1", ttl=100)
    bench.names.aaaa("a", "2001:db8::1", ttl=1000)
    assert bench.hosts_tried() == ["a"]
    bench.clock.advance(99)
    assert bench.router.addresses_now(Hop("a", 25, by_mx=True)) == ("2001:db8::1", "192.0.2.1")
    bench.clock.advance(2)
    assert bench.router.addresses_now(Hop("a", 25, by_mx=True)) is None
    assert bench.router.hops_now(bench.router.route(None, parse_mailbox("bob@example.org"))) is None
    assert bench.hosts_tried() == ["a"]
    assert bench.names.asked.count(("a", "A")) == 2
    assert bench.names.asked.count(("example.org", "MX")) == 1


def test_what_fails_by_the_dns(bench: Bench) -> None:
    failed = bench.hops("bob@nowhere.example")
    assert isinstance(failed, Failed)
    assert (failed.reply.code, failed.reply.enhanced) == (550, "5.1.2")
    bench.names.mx("nomail.example", (0, ""))
    failed = bench.hops("bob@nomail.example")
    assert isinstance(failed, Failed)
    assert (failed.reply.code, failed.reply.enhanced) == (556, "5.1.10")


def test_trouble_passes(bench: Bench) -> None:
    bench.names.trouble("example.org", "MX")
    deferred = bench.hops()
    assert isinstance(deferred, Deferred)
    assert deferred.whole_destination
    bench.names.mx("example.org", (10, "a"))
    bench.names.a("a", "192.0.2.1")
    bench.clock.advance(20)
    assert bench.hosts_tried() == ["a"]


def test_a_new_table_counts_at_once_and_what_was_found_is_forgotten(bench: Bench) -> None:
    bench.hops()
    bench.names.a("example.org", "192.0.2.1")
    bench.router.replace(RouteTable([parse_rule("example.org", "smtp://smart")]), OURSELVES)
    assert bench.hops() == (Hop("smart", 25),)
    bench.router.replace(RouteTable(), OURSELVES)
    assert bench.hosts_tried() == ["example.org"]


def test_a_slow_answer_is_waited_for_without_blocking_another(bench: Bench) -> None:
    bench.names.hold()
    slow = bench.router.hops(bench.router.route(None, parse_mailbox("bob@slow.example")))
    assert not slow.called
    literal = bench.router.route(None, parse_mailbox("bob@[192.0.2.1]"))
    assert bench.router.hops_now(literal) == (Hop("192.0.2.1", 25, by_mx=True),)
    bench.names.let_go()
    assert isinstance(result(slow), Failed)


def test_hosts_of_the_configuration_need_no_dns_for_hops(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ("*", ["smtp://one.example:587", "smtp://10.0.0.5"]))
    assert bench.hops() == (Hop("one.example", 587), Hop("10.0.0.5", 25))
    assert bench.router.addresses_now(Hop("10.0.0.5", 25)) == ("10.0.0.5",)
    assert bench.names.asked == []


def test_discard_and_reject_are_outcomes(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, ("a@example.org", "discard:"), ("b@example.org", "reject:450 4.7.1 No"), ("*", "reject:550 5.7.1 No")
    )
    assert bench.hops("a@example.org") == Discarded("routes[0]")
    assert isinstance(bench.hops("b@example.org"), Deferred)
    assert isinstance(bench.hops("c@example.org"), Failed)


def test_a_configured_host_that_the_dns_does_not_know_is_our_own_trouble(bench: Bench) -> None:
    """A short DNS outage or a slip in the configuration must not bounce the queue: corecode/dma#30."""
    missing = result(bench.router.addresses(Hop("smart.example", 25)))
    assert isinstance(missing, Deferred)
    assert (missing.reply.code, missing.reply.enhanced) == (451, "4.4.4")
    assert missing.whole_destination
    bench.names.trouble("other.example", "A")
    assert isinstance(result(bench.router.addresses(Hop("other.example", 25))), Deferred)


def test_a_configured_host_is_looked_up_by_address_and_not_by_mx(bench: Bench) -> None:
    bench.names.mx("smart.example", (10, "elsewhere.example"))
    bench.names.a("smart.example", "127.0.0.1")  # our own configuration may mean this machine
    assert result(bench.router.addresses(Hop("smart.example", 25))) == ("127.0.0.1",)
    assert bench.router.addresses_now(Hop("smart.example", 25)) == ("127.0.0.1",)


def test_the_hosts_file_counts_for_configured_hosts_only(bench: Bench) -> None:
    """A mail host of a stranger is the DNS's affair, whatever stands in our file."""
    bench.hosts.write_text("10.0.0.7 mail.example\n")
    bench.names.a("mail.example", "192.0.2.1")
    assert bench.router.addresses_now(Hop("mail.example", 25)) == ("10.0.0.7",)
    assert result(bench.router.addresses(Hop("mail.example", 25, by_mx=True))) == ("192.0.2.1",)
    assert bench.router.addresses_now(Hop("localhost", 25)) == ("127.0.0.1", "::1")


def test_a_mail_hosts_address_on_our_loopback_is_not_used(bench: Bench) -> None:
    bench.names.a("mx.example", "127.0.0.1", "192.0.2.1")
    assert result(bench.router.addresses(Hop("mx.example", 25, by_mx=True))) == ("192.0.2.1",)
    bench.names.a("bad.example", "127.0.0.1")
    assert isinstance(result(bench.router.addresses(Hop("bad.example", 25, by_mx=True))), Deferred)


def test_without_ipv6_nobody_is_asked_for_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ipv6=False)
    bench.names.a("example.org", "192.0.2.1")
    bench.names.aaaa("example.org", "2001:db8::1")
    assert bench.hosts_tried() == ["example.org"]
    assert bench.router.addresses_now(Hop("example.org", 25, by_mx=True)) == ("192.0.2.1",)
    assert ("example.org", "AAAA") not in bench.names.asked
