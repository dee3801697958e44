"""Durations, sizes, networks and the like: what is taken, and what a fault says."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from relay.operate import values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300s", 300),
        ("1m", 60),
        ("4h", 14400),
        ("5d", 432000),
        ("1h30m", 5400),
        ("0.5s", 0.5),
        ("1 h", None),
        ("7 days", 604800),
        ("1 hour 30 minutes", 5400),
        ("2 fortnights", None),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(ValueError, match="is not a duration; write a number and a unit"):
            values.parse_duration(text)
    else:
        assert values.parse_duration(text) == seconds


@pytest.mark.parametrize("value", [60, 1.5, True, None, "", "5", "m5", "5y", "-5m", "0s", "99999d", [], "٣m٣"])
def test_a_duration_without_a_unit_is_a_fault(value: object) -> None:
    """Sixty what?  Guessing seconds where minutes were meant makes a storm."""
    with pytest.raises(ValueError, match=r"duration"):
        values.parse_duration(value)


@pytest.mark.parametrize(
    ("text", "octets"),
    [("50 MiB", 50 << 20), ("64KiB", 64 << 10), ("10 MB", 10_000_000), (1000, 1000), ("1.5 GiB", 3 << 29), ("1 b", 1)],
)
def test_a_size_is_octets_or_a_number_with_a_unit(text: object, octets: int) -> None:
    assert values.parse_size(text) == octets


@pytest.mark.parametrize("value", ["50 MoB", "-1", "", 0, True, None, "1e9", "99999999 GiB"])
def test_what_is_no_size_is_a_fault(value: object) -> None:
    with pytest.raises(ValueError, match="size"):
        values.parse_size(value)


@pytest.mark.parametrize("seconds", [1, 60, 90, 3600, 432000, 0.5])
def test_a_duration_shown_is_read_back(seconds: float) -> None:
    assert values.parse_duration(values.show_duration(seconds)) == seconds


@pytest.mark.parametrize("octets", [1, 1024, 50 << 20, 1 << 30, 1500])
def test_a_size_shown_is_read_back(octets: int) -> None:
    assert values.parse_size(values.show_size(octets)) == octets


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.168.0.0/16", "192.168.0.0/16"),
        ("10.0.0.7", "10.0.0.7/32"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ],
)
def test_a_network_is_cidr_or_one_address(text: str, network: str) -> None:
    """An IPv4-mapped network is the IPv4 network it stands for (RFC 4291 §2.5.5.2)."""
    assert values.parse_network(text) == ip_network(network)


def test_a_network_with_host_bits_names_the_right_one() -> None:
    with pytest.raises(ValueError, match=r"did you mean 10\.0\.0\.0/8\?"):
        values.parse_network("10.1.2.3/8")


@pytest.mark.parametrize(
    "text",
    [
        "tcp:25",
        "tcp:2525:interface=127.0.0.1",
        "tcp6:25:interface=\\:\\:1",
        "tcp:port=25",
        "unix:/run/relay/smtp",
        "systemd:domain=INET:index=0",
        "systemd:domain=INET6:name=smtp",
        "haproxy:tcp:25",
    ],
)
def test_what_twisted_understands_is_an_endpoint(text: str) -> None:
    assert values.parse_endpoint(text) == text


@pytest.mark.parametrize(
    "value",
    ["25", 25, "tcp:abc", "tcp:70000", "tcp:", "tcp:25:interfaces=x", "tpc:25", "unix:", "systemd:index=0", "", None],
)
def test_what_twisted_does_not_understand_is_a_fault_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match="write it like"):
        values.parse_endpoint(value)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_a_dns_server_is_an_address_with_or_without_a_port(text: str, server: tuple[str, int]) -> None:
    assert values.parse_server(text) == values.Server(*server)


@pytest.mark.parametrize("value", ["ns.example.org", "192.0.2.53:0", "192.0.2.53:70000", "[::1", 53])
def test_a_dns_server_by_name_is_a_fault(value: object) -> None:
    """Who should look that name up?"""
    with pytest.raises(ValueError, match="; "):
        values.parse_server(value)


@pytest.mark.parametrize(
    ("text", "domain"), [("Example.ORG", "example.org"), (".bücher.example", ".xn--bcher-kva.example")]
)
def test_a_domain_is_kept_as_tables_know_it(text: str, domain: str) -> None:
    assert values.parse_domain(text) == domain


def test_a_star_among_our_domains_is_refused_as_an_open_relay() -> None:
    with pytest.raises(ValueError, match="open relay"):
        values.parse_domain("*")


def test_an_address_among_our_domains_is_told_its_domain() -> None:
    with pytest.raises(ValueError, match=r"write the domain alone: example\.org"):
        values.parse_domain("ann@example.org")


def test_what_a_fault_quotes_is_short_and_printable() -> None:
    assert values.shown("a\r\n\x1b[2J" + "b" * 200) == '"a???[2J' + "b" * 73 + '…"'
