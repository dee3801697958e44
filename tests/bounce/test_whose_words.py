"""A report says who has said what: a reply that came by SMTP is told as it came, our own words are called ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relay.testing.hop import NextHop
from relay.testing.world import RelayWorld
from tests.bounce.cases import Read, read_octets

REMOTE = "dns; mx.example.org"


def report_of(world: RelayWorld, prepare: Callable[[NextHop], None], content: str = "It works.\n") -> Read:
    """The one that comes back of a message to a next hop that was prepared."""
    prepare(world.next_hop("mx.example.org", domain="example.org"))
    home = world.next_hop("mx.example.net", domain="example.net")
    world.send("me@example.net", ["ann@example.org"], f"Subject: hello\n\n{content}")
    world.wait_until(lambda: home.messages, hours=3)
    return read_octets(home.messages[0].content)


@pytest.mark.parametrize(
    ("prepare", "status", "ours"),
    [
        (lambda hop: hop.is_down(), "4.4.1", "connection refused"),
        (lambda hop: hop.drops("RCPT"), "4.4.2", "the connection was lost"),
        (lambda hop: hop.offers("SIZE 1000"), "5.3.4", "larger than the next host takes"),
        (lambda hop: hop.says_garbage("EHLO"), "4.4.2", "not a reply"),
    ],
)
def test_no_reply_is_put_into_a_hosts_mouth(
    relay_world: RelayWorld, prepare: Callable[[NextHop], None], status: str, ours: str
) -> None:
    """RFC 3464 §2.3.5, §2.3.6: a Remote-MTA would say that the diagnostic code is that host's."""
    relay_world.configure({"retry": {"give_up_after": "1h", "warn_after": "never"}})
    report = report_of(relay_world, prepare, "It works.\n" * 200)
    [fields] = report.of_recipients
    assert fields["Status"] == status
    assert fields["Diagnostic-Code"].startswith("x-relay; ") and ours in fields["Diagnostic-Code"]
    assert "Remote-MTA" not in fields
    people = " ".join(report.text.split())
    assert "was tried on" in people and "answered" not in people


@pytest.mark.parametrize(
    ("reply", "status", "shown"),
    [
        ("550-5.1.1 no such\r\n550 5.1.1 user here", "5.1.1", "550-5.1.1 no such 550 5.1.1 user here"),
        ("550-5.1.1 no such\r\n550 user here", "5.1.1", "550-5.1.1 no such 550 user here"),
        ("550 no user", "5.0.0", "550 no user"),
        ("550 4.1.1 mixed class", "5.0.0", "550 4.1.1 mixed class"),
        ("501 syntax", "5.5.4", "501 syntax"),
        ("550 ", "5.0.0", "550"),
        ("550 5.01.1 zero", "5.1.1", "550 5.01.1 zero"),
        ("550-5.1.1 a\x1b[31m\r\n550 5.1.1 b\x00", "5.1.1", "550-5.1.1 a?[31m 550 5.1.1 b?"),
    ],
)
def test_a_hosts_reply_is_told_as_it_came(relay_world: RelayWorld, reply: str, status: str, shown: str) -> None:
    """RFC 3461 §9.2: a transcription, to which nothing is added; what the code means stands in Status."""
    report = report_of(relay_world, lambda hop: hop.says("RCPT", reply))
    [fields] = report.of_recipients
    assert fields["Status"] == status
    assert (fields["Remote-MTA"], fields["Diagnostic-Code"]) == (REMOTE, f"smtp; {shown}")
    people = " ".join(report.text.split())
    assert "mx.example.org [" in people and f"answered on {fields['Last-Attempt-Date']}: {shown} What" in people


def test_of_a_forwarded_address_that_address_is_not_called_the_original(relay_world: RelayWorld) -> None:
    """RFC 3461 §6.3 (d): the sender gave no ORCPT.  A person is told what has become of the address that he wrote."""
    relay_world.configure({"forward": {"list@example.com": ["ann@example.org", "bob@example.org"]}})
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    home = relay_world.next_hop("mx.example.net", domain="example.net")
    hop.refuses("ann@example.org")
    relay_world.send("me@example.net", ["list@example.com"], "Subject: hello\n\nIt works.\n")
    relay_world.wait_until(lambda: home.messages and hop.messages)
    report = read_octets(home.messages[0].content)
    [fields] = report.of_recipients
    assert fields["Final-Recipient"] == "rfc822; ann@example.org"
    assert "Original-Recipient" not in fields
    assert "<ann@example.org> (forwarded from <list@example.com>)\n" in report.text
    assert any("ORCPT=rfc822;list@example.com" in line for line in hop.dialogue)


def test_a_reply_that_came_for_4_1_is_still_the_hosts(relay_world: RelayWorld) -> None:
    """A gateway that cannot reach the next says so with the code that we have for it too."""
    report = report_of(relay_world, lambda hop: hop.says("RCPT", "550 5.4.1 All recipients are refused"))
    assert report.of_recipients[0]["Diagnostic-Code"] == "smtp; 550 5.4.1 All recipients are refused"
    assert "answered" in report.text and "was tried" not in report.text


def test_a_certificate_that_will_not_do_is_our_finding(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("smtp.provider.example")
    home = relay_world.next_hop("mx.example.net", domain="example.net")
    hop.has_tls("expired")
    route = {
        "to": "example.org",
        "via": f"smtp://{hop.name}",
        "tls": "verify",
        "authorities": str(relay_world.authority),
    }
    relay_world.configure(
        {
            "retry": {"give_up_after": "1h", "warn_after": "never"},
            "routes": [{**route, "authorities": str(relay_world.authority)}, {"to": "*", "via": "mx:"}],
        }
    )
    relay_world.send("me@example.net", ["ann@example.org"], "Subject: hello\n\nIt works.\n")
    relay_world.wait_until(lambda: home.messages, hours=3)
    report = read_octets(home.messages[0].content)
    [fields] = report.of_recipients
    assert fields["Status"] == "4.7.5" and fields["Diagnostic-Code"].startswith("x-relay; 451 4.7.5 ")
    assert "Remote-MTA" not in fields
    assert "] was tried\n" in report.text and "] answered\n" not in report.text
