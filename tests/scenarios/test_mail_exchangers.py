"""Hosts found by MX, with a DNS server on loopback and hosts at port 25 of other loopback addresses."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_bytes
from pathlib import Path

import pytest
from flufl.bounce import all_failures

from tests.fakes.dns_server import DnsServer
from tests.scenarios.peers import Destination, Relay, destination, needs_root, own_address, running_relay, wait_until

pytestmark = pytest.mark.endtoend

HOSTS = [own_address(number) for number in (11, 12, 13)]


class World:
    """A DNS, three hosts on port 25, and a relay that asks that DNS."""

    def __init__(self, relay: Relay, dns: DnsServer, hosts: list[Destination]) -> None:
        self.relay = relay
        self.dns = dns
        self.hosts = hosts

    def send(self, *recipients: str, sender: str = "ann@client.example") -> None:
        with smtplib.SMTP("127.0.0.1", self.relay.port) as client:
            assert client.sendmail(sender, recipients, f"Subject: to {recipients}\r\n\r\nHello\r\n") == {}

    def report(self) -> bytes:
        """The bounce, which goes to the sender's own exchanger, the last host."""
        wait_until(lambda: self.hosts[2].arrived, "a report")
        return self.hosts[2].arrived[0].content

    def queue(self) -> str:
        return self.relay.command("queue", "list", "--json").stdout


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    needs_root()
    with ExitStack() as stack:
        dns = stack.enter_context(DnsServer())
        hosts = [stack.enter_context(destination(25, host)) for host in HOSTS]
        for number, host in enumerate(HOSTS):
            dns.a(f"mx{number}.example", host)
        dns.mx("client.example", (10, "mx2.example"))
        config = f"dns: {{servers: ['{dns.text}'], unreachable: [], timeout: 2s}}\n"
        yield World(stack.enter_context(running_relay(tmp_path, config)), dns, hosts)


def test_the_most_preferred_host_gets_it(world: World) -> None:
    """RFC 5321 §5.1: lower numbers first."""
    world.dns.mx("elsewhere.example", (20, "mx1.example"), (10, "mx0.example"))
    world.send("bob@elsewhere.example")
    wait_until(lambda: world.hosts[0].arrived, "the message at the most preferred host")
    assert not world.hosts[1].arrived


def test_a_host_that_is_down_is_followed_by_the_next(world: World) -> None:
    world.dns.a("dead.example", own_address(99))
    world.dns.mx("elsewhere.example", (10, "dead.example"), (20, "mx1.example"))
    world.send("bob@elsewhere.example")
    wait_until(lambda: world.hosts[1].arrived, "the message at the second host")


def test_a_host_that_says_not_now_is_followed_by_the_next(world: World) -> None:
    world.dns.mx("elsewhere.example", (10, "mx0.example"), (20, "mx1.example"))
    world.hosts[0].refuse["bob@elsewhere.example"] = "450 4.2.0 Greylisted"
    world.send("bob@elsewhere.example", "eve@elsewhere.example")
    wait_until(lambda: world.hosts[0].arrived and world.hosts[1].arrived, "each recipient at its host")
    assert world.hosts[0].arrived[0].recipients == ["eve@elsewhere.example"]
    assert world.hosts[1].arrived[0].recipients == ["bob@elsewhere.example"]


def test_equal_hosts_share_the_load(world: World) -> None:
    """RFC 5321 §5.1: equals in random order, to spread the load."""
    for number in range(16):
        world.dns.mx(f"d{number}.example", (10, "mx0.example"), (10, "mx1.example"))
    world.send(*(f"bob@d{number}.example" for number in range(16)))
    wait_until(lambda: len(world.hosts[0].arrived) + len(world.hosts[1].arrived) == 16, "sixteen messages")
    assert world.hosts[0].arrived
    assert world.hosts[1].arrived


def test_without_mx_the_address_of_the_domain_will_do(world: World) -> None:
    world.dns.a("plain.example", HOSTS[1])
    world.send("bob@plain.example")
    wait_until(lambda: world.hosts[1].arrived, "the message by the implicit MX")


def test_an_alias_is_followed(world: World) -> None:
    world.dns.cname("alias.example", "real.example")
    world.dns.mx("real.example", (10, "mx0.example"))
    world.send("bob@alias.example")
    wait_until(lambda: world.hosts[0].arrived, "the message behind a CNAME")


@pytest.mark.parametrize(
    "arrange, status",
    [
        (lambda dns: dns.null_mx("gone.example"), b"5.1.10"),
        (lambda dns: None, b"5.1.2"),
        (lambda dns: dns.mx("gone.example", (10, "relay.test")), b"5.4.6"),
    ],
    ids=["null MX (RFC 7505)", "no such domain", "the relay itself is its MX"],
)
def test_what_the_dns_says_for_good_comes_back_at_once(world: World, arrange: object, status: bytes) -> None:
    arrange(world.dns)  # type: ignore[operator]
    world.send("bob@gone.example")
    report = world.report()
    assert b"Status: " + status + b"\r\n" in report
    assert all_failures(message_from_bytes(report)) == (set(), {b"bob@gone.example"})


@pytest.mark.parametrize("trouble", ["servfail", "silent"])
def test_trouble_with_the_dns_is_temporary(world: World, trouble: str) -> None:
    getattr(world.dns, trouble)("elsewhere.example")
    world.send("bob@elsewhere.example")
    wait_until(lambda: "4.4.3" in world.queue(), "the message waiting")
    assert not world.hosts[2].arrived


def test_an_address_literal_goes_straight_there(world: World) -> None:
    """RFC 5321 §4.1.3.  Loopback is allowed in this world only."""
    world.send(f"bob@[{HOSTS[0]}]")
    wait_until(lambda: world.hosts[0].arrived, "the message by address")
    assert world.hosts[0].arrived[0].recipients == [f"bob@[{HOSTS[0]}]"]
