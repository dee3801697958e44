"""The names of clients: never waited for, and only those that lead back."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from relay.route.hosts import HostsFile
from relay.route.reverse import KEPT_S, NAMES_LIMIT, UNNAMED_KEPT_S, ReverseNames
from tests.fakes.names import FakeNames


class Bench:
    def __init__(self, hosts: Path) -> None:
        self.clock = Clock()
        self.names = FakeNames(self.clock, delay_s=1.0)
        self.reverse = ReverseNames(self.names, self.clock, HostsFile(self.clock, hosts), at_once=5)

    def point(self, ip: str, *names: str) -> None:
        self.names.ptr(ip_address(ip).reverse_pointer, *names)

    def name_after_a_while(self, ip: str) -> str | None:
        self.reverse.name_now(ip)
        self.clock.pump([1.0] * 10)
        return self.reverse.name_now(ip)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "hosts")


def test_a_name_is_not_waited_for(bench: Bench) -> None:
    """A slow DNS must not make mail slow: the first message of a client says "unknown"."""
    bench.point("192.0.2.1", "client.example")
    bench.names.a("client.example", "192.0.2.1")
    assert bench.reverse.name_now("192.0.2.1") is None
    bench.clock.pump([1.0] * 3)
    assert bench.reverse.name_now("192.0.2.1") == "client.example"
    assert len(bench.names.asked) == 2


def test_a_name_that_does_not_lead_back_is_nobodys(bench: Bench) -> None:
    """Whoever owns an address can give it any name."""
    bench.point("192.0.2.1", "bank.example")
    bench.names.a("bank.example", "198.51.100.9")
    assert bench.name_after_a_while("192.0.2.1") is None


def test_the_first_name_that_leads_back_counts(bench: Bench) -> None:
    bench.point("192.0.2.1", "gone.example", "client.example")
    bench.names.a("client.example", "198.51.100.9", "192.0.2.1")
    assert bench.name_after_a_while("192.0.2.1") == "client.example"


def test_only_a_few_names_are_tried(bench: Bench) -> None:
    bench.point("192.0.2.1", *(f"n{n}.example" for n in range(1000)))
    bench.name_after_a_while("192.0.2.1")
    assert len(bench.names.asked) == 1 + NAMES_LIMIT


@pytest.mark.parametrize("name", ["a b.example", "evil\\010.example", "192.0.2.1", "", "x" * 70])
def test_a_name_that_is_no_host_name_does_not_reach_a_header(bench: Bench, name: str) -> None:
    bench.point("192.0.2.1", name)
    bench.names.a(name, "192.0.2.1")
    assert bench.name_after_a_while("192.0.2.1") is None


@pytest.mark.parametrize("ip", ["2001:db8::1", "fe80::1%eth0"])
def test_ipv6(bench: Bench, ip: str) -> None:
    bench.point(ip.partition("%")[0], "client.example")
    bench.names.aaaa("client.example", ip_address(ip.partition("%")[0]).exploded)
    assert bench.name_after_a_while(ip) == "client.example"


def test_the_hosts_file_knows_names_too(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("10.0.0.9 printer.lan\n")
    assert bench.reverse.name_now("10.0.0.9") == "printer.lan"
    assert bench.names.asked == []


def test_names_are_kept_and_asked_for_again(bench: Bench) -> None:
    assert bench.name_after_a_while("192.0.2.1") is None
    asked = len(bench.names.asked)
    assert bench.name_after_a_while("192.0.2.1") is None
    assert len(bench.names.asked) == asked
    bench.point("192.0.2.1", "client.example")
    bench.names.a("client.example", "192.0.2.1")
    bench.clock.advance(UNNAMED_KEPT_S)
    assert bench.name_after_a_while("192.0.2.1") == "client.example"
    bench.clock.advance(KEPT_S)
    assert bench.reverse.name_now("192.0.2.1") is None  # it is asked again


def test_look_ups_under_way_are_bounded(bench: Bench) -> None:
    for number in range(50):
        bench.reverse.name_now(f"192.0.2.{number}")
    assert len(bench.names.asked) == 5
    bench.clock.pump([1.0] * 3)
    bench.reverse.name_now("192.0.2.49")
    assert len(bench.names.asked) == 6


@pytest.mark.parametrize("ip", ["", "not an address"])
def test_what_is_no_address_has_no_name(bench: Bench, ip: str) -> None:
    assert bench.name_after_a_while(ip) is None
