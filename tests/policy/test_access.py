"""Who may relay, and to whom: the open-relay matrix."""

from __future__ import annotations

import ipaddress

import pytest

from relay.message.address import Address, AddressFault, parse_path
from relay.policy.access import Domains, Networks, client_address
from relay.policy.policy import Policy, PolicySettings, Service
from relay.policy.recipients import parse_recipients
from relay.policy.verdict import Accepted, Refused, Verdict

NETWORKS = tuple(ipaddress.ip_network(text) for text in ("127.0.0.0/8", "::1/128", "192.168.0.0/16", "2001:db8::/32"))
STRANGER = "203.0.113.9"
OURS = "ours.example"


def policy(**more: object) -> Policy:
    return Policy(PolicySettings("gateway.ours.example", NETWORKS, (OURS, ".lan.example"), **more))


def asked(ip: str, path: str, which: Policy | None = None, service: Service = Service.RELAY) -> Verdict:
    which = which or policy()
    address, end = parse_path(path)
    assert address is not None and end == len(path)
    return which.recipient(which.client(ip), service, address)


@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "127.255.0.1", "::1", "192.168.7.7", "2001:db8:1::2", "::ffff:192.168.7.7", "::ffff:7f00:1"]
)
def test_a_client_in_our_networks_may_relay_anywhere(ip: str) -> None:
    assert isinstance(asked(ip, "<ann@elsewhere.example>"), Accepted)


@pytest.mark.parametrize(
    "ip",
    [STRANGER, "192.169.0.1", "2001:db9::1", "::ffff:203.0.113.9", "::192.168.7.7", "::2", "unknown", "fe80::1%eth0"],
)
def test_a_stranger_may_not_relay(ip: str) -> None:
    """::192.168.7.7 is the old IPv4-compatible form, which is not IPv4-mapped (RFC 4291 §2.5.5.1)."""
    verdict = asked(ip, "<ann@elsewhere.example>")
    assert isinstance(verdict, Refused)
    assert (verdict.reply.code, verdict.reply.enhanced) == (550, "5.7.1")
    assert verdict.place == "accept.networks"


def test_a_mapped_address_is_told_as_the_ipv4_address() -> None:
    assert policy().client("::ffff:192.168.7.7").ip == "192.168.7.7"


def test_a_mapped_network_holds_ipv4_clients() -> None:
    networks = Networks([ipaddress.IPv6Network("::ffff:10.0.0.0/104")])
    address = client_address("10.200.0.1")
    assert address is not None and networks.containing(address)


def test_everything_is_a_network_too() -> None:
    networks = Networks([ipaddress.IPv4Network("0.0.0.0/0")])
    assert networks.containing(ipaddress.IPv4Address("203.0.113.9"))
    assert not networks.containing(ipaddress.IPv6Address("2001:db8::1"))


@pytest.mark.parametrize(
    "path", ["<ann@ours.example>", "<ann@OURS.Example>", "<ann@a.lan.example>", "<ann@a.b.lan.example>"]
)
def test_anybody_may_send_to_our_domains(path: str) -> None:
    assert isinstance(asked(STRANGER, path), Accepted)


@pytest.mark.parametrize(
    "path",
    [
        "<ann@elsewhere.example>",
        "<ann@lan.example>",  # below it is ours, itself is not
        "<ann@notours.example>",
        "<ann@ours.example.evil.example>",
        "<ann@xlan.example>",
        "<ann%elsewhere.example@ours.example>",
        "<ann%elsewhere.example@a.lan.example>",
        "<elsewhere.example!ann@ours.example>",
        "<ours.example!ann@elsewhere.example>",
        '<"ann@elsewhere.example"@ours.example>',
        '<"@elsewhere.example:ann"@ours.example>',
        '<"ann%elsewhere.example"@ours.example>',
        '<"elsewhere.example!ann"@ours.example>',
        '<"ann@elsewhere.example">' + "",
        "<@ours.example:ann@elsewhere.example>",
        "<@a.lan.example,@ours.example:ann@elsewhere.example>",
        "<@ours.example:ann%elsewhere.example@ours.example>",
        "<ann@[203.0.113.1]>",
        "<ann@[127.0.0.1]>",
        "<ann@[192.168.0.1]>",
        "<ann@[IPv6:::1]>",
        "<ann@[IPv6:::ffff:127.0.0.1]>",
        "<ann%elsewhere.example@[127.0.0.1]>",
        "<ann@gateway.ours.example>",
        "<ann@localhost>",
        "<ann@ours>",
        "<postmaster@elsewhere.example>",
        "<postmaster%elsewhere.example@ours.example>",
        "<ann@elsewhere.example@ours.example>",
        "<ann@elsewhere.example,bob@ours.example>",
        "<ann@elsewhere.example ann@ours.example>",
        "<ours.example:ann@elsewhere.example>",
        "<ann@ours.example\x00.elsewhere.example>",
        "<elsewhere.example!ann>",
        "<ann%elsewhere.example>",
        "<ann>",
    ],
)
def test_no_form_of_address_opens_the_relay(path: str) -> None:
    """RFC 2505 §2.1, RFC 5321 §3.6: quoted local parts, %, !, source routes and literals are the known ways round."""
    try:
        verdict = asked(STRANGER, path)
    except (AddressFault, AssertionError):
        return  # it is no address, and never comes so far
    assert isinstance(verdict, Refused), verdict
    assert (verdict.reply.code, verdict.reply.enhanced) == (550, "5.7.1")


def test_a_local_part_with_a_route_is_taken_where_the_list_has_it() -> None:
    which = policy(recipients_listed=True)
    which.recipients = parse_recipients("ann%home@ours.example")
    assert isinstance(asked(STRANGER, "<ann%home@ours.example>", which), Accepted)
    assert asked(STRANGER, "<bob%home@ours.example>", which).reply.code == 550


def test_our_own_clients_may_use_any_local_part() -> None:
    verdict = asked("127.0.0.1", "<ann%elsewhere.example@ours.example>")
    assert isinstance(verdict, Accepted)
    assert verdict.recipients[0].address == Address("ann%elsewhere.example", "ours.example")


def test_a_list_of_networks_is_not_searched_from_end_to_end() -> None:
    networks = Networks(ipaddress.IPv4Network((number << 8, 24)) for number in range(100_000))
    assert len(networks._by_prefix) == 1
    assert networks.containing(ipaddress.IPv4Address(99_999 << 8))
    assert not networks.containing(ipaddress.IPv4Address(100_000 << 8))


def test_the_narrowest_network_is_the_rule_that_is_told() -> None:
    networks = Networks([ipaddress.IPv4Network("10.0.0.0/8"), ipaddress.IPv4Network("10.1.0.0/16")])
    assert str(networks.containing(ipaddress.IPv4Address("10.1.2.3"))) == "10.1.0.0/16"


def test_an_internationalized_domain_of_ours_is_ours_in_both_forms() -> None:
    which = Policy(PolicySettings(networks=(), domains=("bücher.example",)))
    assert isinstance(asked(STRANGER, "<ann@bücher.example>", which), Accepted)
    assert isinstance(asked(STRANGER, "<ann@xn--bcher-kva.example>", which), Accepted)


def test_an_address_literal_is_below_no_domain() -> None:
    assert Domains([".1]"]).containing("[10.0.0.1]") is None


@pytest.mark.parametrize("path", ["<Postmaster>", "<postmaster@ours.example>", "<POSTMASTER@gateway.ours.example>"])
@pytest.mark.parametrize("ip", [STRANGER, "127.0.0.1"])
def test_postmaster_is_always_accepted_and_forwarded(ip: str, path: str) -> None:
    """RFC 5321 §4.5.1, whoever asks and whatever the lists say."""
    which = policy(recipients_listed=True, postmaster=Address("admin", "elsewhere.example"))
    verdict = asked(ip, path, which)
    assert isinstance(verdict, Accepted)
    (recipient,) = verdict.recipients
    assert recipient.address == Address("admin", "elsewhere.example")
    assert recipient.orcpt is not None and recipient.orcpt.lower().startswith("rfc822;postmaster@")


def test_without_an_address_for_postmaster_its_mail_goes_to_our_first_domain() -> None:
    verdict = asked(STRANGER, "<Postmaster>")
    assert isinstance(verdict, Accepted)
    assert str(verdict.recipients[0].address).lower() == "postmaster@ours.example"


def test_submission_is_for_our_networks_only() -> None:
    which = policy()
    assert isinstance(which.sender(which.client("127.0.0.1"), Service.SUBMISSION, Address("a", "b.example")), Accepted)
    refused = which.sender(which.client(STRANGER), Service.SUBMISSION, Address("a", OURS))
    assert isinstance(refused, Refused) and refused.reply.code == 550


def test_submission_wants_qualified_domains() -> None:
    """RFC 6409 §4.2: 554 for a MAIL or RCPT with a domain that is not fully qualified."""
    which = policy()
    us = which.client("127.0.0.1")
    assert which.sender(us, Service.SUBMISSION, Address("root", "nas")).reply.code == 554
    assert which.sender(us, Service.RELAY, Address("root", "nas")).reply.code == 250
    assert which.sender(us, Service.SUBMISSION, None).reply.code == 250
    assert asked("127.0.0.1", "<ann@nas>", service=Service.SUBMISSION).reply.code == 554
    assert asked("127.0.0.1", "<ann@nas>").reply.code == 250


def test_a_verdict_names_its_rule_and_place() -> None:
    which = policy(place=lambda key: f"relay.yaml:{len(key)}")
    verdict = asked(STRANGER, "<ann@ours.example>", which)
    assert (verdict.rule, verdict.place) == ("accept.domains: ours.example", "relay.yaml:17")
