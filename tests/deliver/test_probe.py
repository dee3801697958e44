"""A probe asks as a delivery asks, and sends nothing."""

from __future__ import annotations

import random

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock

from relay.deliver.keyring import Keyring
from relay.deliver.probe import PATIENCE_S, Probed, Prober
from relay.deliver.settings import DeliverySettings
from relay.message.address import parse_mailbox
from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.step import tell_nobody
from relay.route.tls import NO_TLS, Level, Security
from relay.route.via import Hop
from tests.deliver.way_out import shown
from tests.fakes.next_hop import EVERYTHING, SILENCE, MemoryNetwork, NextHop

BOB, CARL = (Recipient(parse_mailbox(one)) for one in ("bob@example.net", "carl@example.net"))


def asking(size: int = 0, sender: str = "ann@example.org", **wishes: bool) -> Message:
    return Message("", Envelope(parse_mailbox(sender), **wishes), Origin(), 0.0, b"", b"", size)


def probed(
    *hosts: NextHop | Exception | None,
    to: tuple[Recipient, ...] = (BOB,),
    message: Message | None = None,
    security: Security = NO_TLS,
    cut: int = 0,
    within_s: float = 0.0,
) -> Probed:
    clock = Clock()
    at = {f"10.0.0.{number}": host for number, host in enumerate(hosts) if host is not None}
    network = MemoryNetwork(clock, at, cut=cut)
    keyring = Keyring(clock, random.Random(), tell_nobody)
    prober = Prober(clock=clock, dial=network, hostname="relay.example", settings=DeliverySettings(), keyring=keyring)
    lmtp = any(isinstance(host, NextHop) and host.lmtp for host in hosts)
    hop = Hop("mx.example.net", 25, "lmtp" if lmtp else "smtp", security=security)
    addresses = tuple(f"10.0.0.{number}" for number in range(len(hosts)))
    results: list[Probed] = []
    Deferred.fromCoroutine(prober.probe(hop, addresses, message or asking(), to)).addCallback(results.append)
    end = clock.seconds() + within_s
    while calls := [call.getTime() for call in clock.getDelayedCalls() if call.getTime() <= max(end, clock.seconds())]:
        clock.advance(max(0.0, min(calls) - clock.seconds()))
    assert results, "it is not over"
    assert not clock.getDelayedCalls()
    return results[0]


def said(found: Probed) -> list[str]:
    return [text for _, _, text in found.account.lines()]


@pytest.mark.parametrize("cut", [0, 1, 5])
@pytest.mark.parametrize("extensions", [EVERYTHING, ("8BITMIME",), None], ids=["pipelined", "one by one", "HELO"])
def test_it_goes_as_far_as_the_recipients_and_takes_leave(extensions: tuple[str, ...] | None, cut: int) -> None:
    hop = NextHop(extensions, recipients={"carl@example.net": "550 5.1.1 nobody"})
    found = probed(hop, to=(BOB, CARL), cut=cut, within_s=1)
    assert shown(found.outcomes) == ["Delivered 250 2.1.5", "Failed 550 5.1.1"]
    assert found.is_decided
    assert not hop.taken
    verbs = [command.split(":")[0] for command in hop.commands]
    assert verbs[-4:] == ["MAIL FROM", "RCPT TO", "RCPT TO", "QUIT"]
    assert not any(command.startswith(("DATA", "BDAT")) for command in hop.commands)
    lines = said(found)
    assert lines[0] == "< 220 hop.example ESMTP"
    assert lines[-3:] == ["< 550 5.1.1 nobody", "> QUIT", "< 221 2.0.0 bye"]


def test_a_host_that_takes_none_is_asked_no_more() -> None:
    hop = NextHop(replies={"MAIL": "450 4.7.1 greylisted"})
    found = probed(hop, to=(BOB, CARL), within_s=1)
    assert shown(found.outcomes) == ["Deferred 450 4.7.1"] * 2
    assert not found.is_decided
    assert hop.commands[-1] == "QUIT"


def test_by_lmtp_too() -> None:
    hop = NextHop(lmtp=True)
    assert shown(probed(hop, within_s=1).outcomes) == ["Delivered 250 2.1.5"]
    assert hop.commands[0].startswith("LHLO")


def test_the_next_address_is_asked_when_one_turns_us_away() -> None:
    """RFC 5321 §5.1; what the first said is shown."""
    found = probed(NextHop(replies={"GREETING": "554 5.7.1 not you"}), NextHop(), within_s=10)
    assert shown(found.outcomes) == ["Delivered 250 2.1.5"]
    assert said(found)[0] == "< 554 5.7.1 not you"
    assert next(hop for _, hop, _ in found.account.lines()) == "mx.example.net [10.0.0.0]"


def test_a_host_that_cannot_be_reached() -> None:
    found = probed(ConnectionRefusedError(), within_s=1)
    assert shown(found.outcomes) == ["Deferred 451 4.4.1!"]
    assert "refused" in str(found.outcomes[0].reply)
    assert said(found) == []


@pytest.mark.parametrize("silent", [None, NextHop(replies={"GREETING": SILENCE}), NextHop(replies={"RCPT": SILENCE})])
def test_a_host_that_keeps_silent_is_not_waited_for_as_long_as_for_mail(silent: NextHop | None) -> None:
    found = probed(silent, within_s=PATIENCE_S + 10)
    assert shown(found.outcomes) == ["Deferred 451 4.4.1!"]


def test_what_a_delivery_would_not_even_begin_is_told() -> None:
    small = NextHop(("SIZE 1000",))
    assert shown(probed(small, message=asking(1001), within_s=1).outcomes) == ["Failed 552 5.3.4"]
    utf8 = asking(sender="änn@example.org", smtputf8=True)
    assert shown(probed(NextHop(("SIZE",)), message=utf8, within_s=1).outcomes) == ["Failed 550 5.6.7"]
    assert shown(probed(NextHop(), message=utf8, within_s=1).outcomes) == ["Delivered 250 2.1.5"]
    assert shown(probed(NextHop(), message=asking(require_tls=True), within_s=1).outcomes) == ["Failed 550 5.7.30"]


def test_a_host_that_must_not_be_talked_to_is_not() -> None:
    hop = NextHop()
    found = probed(hop, security=Security(Level.DANE, trouble="the DNS gives no answer"))
    assert shown(found.outcomes) == ["Deferred 451 4.7.5!"]
    assert not hop.sessions
