"""The way out that is explained is the one that the deliverer is given, whatever the routes and the DNS say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.deliver.classify import unreachable
from relay.message.account import Tried
from relay.message.address import parse_mailbox
from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.outcome import Deferred, Discarded, Failed, Outcome
from relay.operate.explaining.finding import Finding
from relay.route.dane import Tlsa
from relay.route.names import TLSA
from relay.route.via import Hop
from tests.operate.explaining import Asked, all_of, the

ADDRESSES = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "127.0.0.5", "10.1.1.1")
NAMES = ("mx0.example", "mx1.example", "mx2.example", "relay.example", "elsewhere.example", "192.0.2.77")
RECORD = Tlsa(3, 1, 1, b"x" * 32)

domains = st.fixed_dictionaries(
    {
        "mx": st.lists(st.tuples(st.sampled_from((0, 10, 20)), st.sampled_from((*NAMES, ""))), max_size=5),
        "addresses": st.dictionaries(
            st.sampled_from(NAMES), st.lists(st.sampled_from(ADDRESSES), min_size=1), max_size=6
        ),
        "trouble": st.sets(st.sampled_from((("elsewhere.example", "MX"), ("mx1.example", "A"), ("mx2.example", "A")))),
        "signed": st.sets(st.sampled_from(("elsewhere.example", "mx0.example", "mx1.example"))),
        "tlsa": st.sets(st.sampled_from(("mx0.example", "mx1.example"))),
    }
)
vias = st.sampled_from(
    (
        "",
        "via: 'mx:elsewhere.example'",
        "via: 'mx:', tls: verify",
        "via: 'mx:', tls: dane",
        "via: smtp://smarthost.lan:587",
        "via: [smtp://mx0.example:25, smtps://mx1.example, smtp://nowhere.example]",
        "via: smtp://mx0.example, tls: dane",
        "via: smtp://mx0.example, user: me, password_file: secret",
        "via: lmtp+unix:/run/lmtp.sock",
        "via: 'discard:'",
        "via: 'reject:550 5.7.1 Not here'",
        "via: 'reject:450 4.7.1 Not now'",
    )
)
recipients = st.sampled_from(("bob@elsewhere.example", "bob@[192.0.2.1]", "bob@[127.0.0.1]", "bob@other.example"))


def asked_about(folder: Path, via: str, said: dict[str, Any]) -> Asked:
    (folder / "secret").write_text("geheim\n", encoding="utf-8")
    routes = f"routes:\n  - {{to: '*', {via}}}\n" if via else ""
    asked = Asked(folder, f"dns: {{trusted: [127.0.0.1]}}\n{routes}")
    names = asked.names
    if said["mx"]:
        names.mx("elsewhere.example", *said["mx"])
    for name, addresses in said["addresses"].items():
        for kind, listed in (
            (names.a, [a for a in addresses if ":" not in a]),
            (names.aaaa, [a for a in addresses if ":" in a]),
        ):
            if listed:
                kind(name, *listed)
    for name, kind in said["trouble"]:
        names.trouble(name, kind)
    names.sign(*said["signed"])
    for name in said["tlsa"]:
        names.add(f"_25._tcp.{name}", TLSA, RECORD)
        names.sign(f"_25._tcp.{name}")
    return asked


def delivered(asked: Asked, to: str) -> tuple[list[tuple[Hop, tuple[str, ...]]], list[Outcome]]:
    """What connections the deliverer wants, none of which comes about, and what becomes of the recipient."""
    premises = asked.premises()
    wanted: list[tuple[Hop, tuple[str, ...]]] = []

    def lease(hop: Hop, addresses: Any, holder: Any, *, fresh: bool = False) -> None:
        wanted.append((hop, tuple(addresses)))
        holder.unreachable(unreachable("nobody is there", hop.host))

    premises.deliverer.pool.lease = lease  # type: ignore[method-assign]
    message = Message("id", Envelope(parse_mailbox("ann@ours.example")), Origin(), 0.0, b"", b"x\r\n", 3)
    address = parse_mailbox(to)
    lane = premises.router.route(message.envelope.reverse_path, address).lane
    ended: list[Tried] = []
    premises.deliverer.deliver(message, [Recipient(address)], lane).addCallback(ended.append)
    asked.clock.advance(0)
    return wanted, list(ended[0].outcomes)


def hosts_of(findings: list[Finding]) -> list[tuple[str, list[str], str]]:
    """The hosts that would be talked to: name, addresses, level of TLS."""
    tried = [one for one in all_of(findings, "host") if one.decision == "accepted"]
    return [(one.about, one.details["addresses"], one.details["tls"]["level"]) for one in tried]  # type: ignore[index]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(via=vias, said=domains, to=recipients)
def test_the_hosts_explained_are_those_that_a_delivery_wants(
    tmp_path: Path, via: str, said: dict[str, Any], to: str
) -> None:
    asked = asked_about(tmp_path, via, said)
    findings = asked.findings(to, sender="ann@ours.example")
    wanted, (outcome,) = delivered(asked, to)
    assert hosts_of(findings) == [(hop.name(), list(addresses), hop.security.level.value) for hop, addresses in wanted]
    route = the(findings, "route")
    if wanted:
        assert route.decision == "accepted"
    elif isinstance(outcome, Discarded):
        assert (route.decision, route.details["via"]) == ("accepted", "discard:")
    else:
        assert isinstance(outcome, (Failed, Deferred))
        decision = "refused" if isinstance(outcome, Failed) else "temporary"
        assert (route.decision, route.reply) == (decision, str(outcome.reply))
        assert route.remedy
    assert the(findings, "verdict").decision == route.decision


def test_asking_leaves_the_router_as_it_was(tmp_path: Path) -> None:
    asked = asked_about(
        tmp_path,
        "",
        {
            "mx": [(10, "mx0.example")],
            "addresses": {"mx0.example": ["192.0.2.1"]},
            "trouble": (),
            "signed": (),
            "tlsa": (),
        },
    )
    premises = asked.premises()
    asked.findings("bob@elsewhere.example")
    route = premises.router.route(None, parse_mailbox("bob@elsewhere.example"))
    assert premises.router.hops_now(route) is None


@pytest.mark.parametrize("tls", ["", "tls: none", "tls: require"])
def test_the_way_is_the_one_of_the_sender_too(tmp_path: Path, tls: str) -> None:
    text = f"routes:\n  - {{to: '*', from: ours.example, via: smtp://10.0.0.1{', ' + tls if tls else ''}}}\n"
    findings = Asked(tmp_path, text).findings("bob@elsewhere.example", sender="ann@ours.example")
    route = the(findings, "route")
    assert (route.rule, route.place) == ("routes[0]", f"{tmp_path}/relay.yaml:3")
    assert (route.details["to"], route.details["from"]) == ("*", "ours.example")
    assert the(Asked(tmp_path, text).findings("bob@elsewhere.example"), "route").rule == "default: by MX"
