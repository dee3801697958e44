"""What a replay says of another configuration is what live sessions hear under it, in a generated set of them.

One relay writes the journal, once; of each configuration that is drawn there are two: a house, which replays that
journal, and a whole relay, to which the same clients come, say the same, and whose queue is looked at.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred

from relay.message.reply import Reply
from relay.operate.answers.trace import TraceAnswers
from relay.operate.config import configured
from relay.operate.control import Request
from relay.operate.whatif.fate import Fate
from relay.operate.whatif.house import House
from relay.operate.whatif.past import Past, past_of
from relay.queue.store import State
from relay.receive.tls import fingerprint_of
from relay.receive.visit import AS_IF_BY_TLS, Visit
from relay.testing import certificates
from relay.testing.world import RelayWorld

PASSWORD = "geheim"
OWN = certificates.pair("relay.example")
SHOWN = certificates.pair("device.example").certificate
FINGERPRINT = f"sha256:{fingerprint_of(SHOWN)}"
SERVICES = {"tcp:25": "relay", "tcp:587": "submission", "tcp:24": "lmtp"}


@dataclass(frozen=True)
class Caller:
    """A client with one message."""

    client: str
    endpoint: str
    sender: str
    recipients: tuple[str, ...]
    login: str = ""
    tls: bool = False
    certified: bool = False
    size: int = 60


FAR = ("bob@far.example",)
CALLERS = (
    Caller("192.0.2.1", "tcp:25", "ann@ours.example", FAR),
    Caller("192.0.2.1", "tcp:25", "", FAR),
    Caller("192.0.2.77", "tcp:25", "me@lan", ("bob@far.example", "sales@ours.example", "eve@else.example"), size=900),
    Caller("198.51.100.1", "tcp:25", "eve@else.example", ("ann@ours.example", "nobody@ours.example")),
    Caller("198.51.100.1", "tcp:25", "eve@else.example", FAR),
    Caller("198.51.100.1", "tcp:25", "eve@else.example", ("sales@ours.example", "moved@ours.example", "postmaster")),
    Caller("198.51.100.1", "tcp:25", "eve@else.example", ("x%far.example@ours.example", "bøb@ours.example")),
    Caller("198.51.100.1", "tcp:25", "ann@ours.example", FAR, certified=True, tls=True),
    Caller("192.0.2.1", "tcp:587", "ann@ours.example", ("bob@far.example", "all@ours.example")),
    Caller("198.51.100.9", "tcp:587", "ann@ours.example", FAR, login="ann@ours.example"),
    Caller("198.51.100.9", "tcp:587", "ann@ours.example", FAR, login="ann@ours.example", tls=True),
    Caller("198.51.100.9", "tcp:587", "boss@ours.example", FAR, login="ann@ours.example", tls=True, size=400),
    Caller("192.0.2.2", "tcp:24", "ann@ours.example", ("ann@ours.example", "held@held.example")),
)


def listen(**by_endpoint: Any) -> list[dict[str, Any]]:
    found = []
    for one, service in SERVICES.items():
        said = by_endpoint.get(one[4:], {})
        if said != "gone":
            found.append({"endpoint": one, "service": service, "login_without_tls": service != "lmtp", **said})
    return found


def configuration(folder: Path, drawn: dict[str, Any]) -> dict[str, Any]:
    """What relay.yaml would say."""
    (folder / "users").write_text(f"ann@ours.example:{{PLAIN}}{PASSWORD}{drawn['user']}\n", encoding="utf-8")
    (folder / "recipients").write_text("ann@ours.example\nall@ours.example\nbøb@ours.example\n", encoding="utf-8")
    accept = {
        "networks": drawn["networks"],
        "domains": drawn["domains"],
        "max_recipients": drawn["max_recipients"],
        "message_size": drawn["message_size"],
        "users": str(folder / ("users" if drawn["user"] != "gone" else "nobody")),
        "certificates": [FINGERPRINT] if drawn["certified"] else [],
    }
    (folder / "nobody").write_text(f"eve:{{PLAIN}}{PASSWORD}\n", encoding="utf-8")
    if drawn["listed"]:
        accept["recipients"] = str(folder / "recipients")
    (folder / "relay.crt").write_bytes(OWN.certificate_pem)
    (folder / "relay.key").write_bytes(OWN.key_pem)
    return {
        "hostname": "relay.example",
        "tls": {"certificate": str(folder / "relay.crt"), "key": str(folder / "relay.key")},
        "listen": listen(**drawn["listen"]),
        "accept": accept,
        "forward": drawn["forward"],
        "routes": [*drawn["routes"], {"to": "*", "via": "smtp://203.0.113.201"}],
        "limits": {"failed_logins": 1000},
        "admin": "none",
    }


OLD: dict[str, Any] = {
    "networks": ["192.0.2.0/24"],
    "domains": ["ours.example"],
    "max_recipients": 100,
    "message_size": "1 MiB",
    "user": "",
    "certified": True,
    "listed": False,
    "listen": {},
    "forward": {"sales@ours.example": "ann@far.example", "moved@ours.example": {"refer": "gone@else.example"}},
    "routes": [],
}

OF_LISTENERS = ({"tls": "required"}, {"tls": "none"}, {"login": "required"}, {"login": "none"}, {"service": "relay"})
drawings = st.fixed_dictionaries(
    {
        "networks": st.sampled_from((["192.0.2.0/24"], ["192.0.2.1"], ["198.51.100.0/24"], [])),
        "domains": st.sampled_from((["ours.example"], ["ours.example", "else.example"], [".ours.example"], [])),
        "max_recipients": st.sampled_from((1, 2, 100)),
        "message_size": st.sampled_from((300, 100_000)),
        "user": st.sampled_from(("", "::::::nologin", "::::::senders=boss@ours.example", "gone")),
        "certified": st.booleans(),
        "listed": st.booleans(),
        "listen": st.dictionaries(
            st.sampled_from(("25", "587", "24")), st.sampled_from((*OF_LISTENERS, "gone")), max_size=2
        ),
        "forward": st.dictionaries(
            st.sampled_from(("sales@ours.example", "moved@ours.example", "all@ours.example", "nobody@ours.example")),
            st.sampled_from(
                (
                    "ann@far.example",
                    ["ann@far.example", "eve@else.example", "bøb@ours.example"],
                    {"refer": "x@y.example"},
                )
            ),
            max_size=3,
        ),
        "routes": st.lists(
            st.sampled_from(
                (
                    {"to": "far.example", "via": "smtp://203.0.113.202"},
                    {"to": "*", "from": "<>", "via": "smtp://203.0.113.203", "tls": "verify"},
                    {"to": "held.example", "via": "smtp://203.0.113.204", "hold": True},
                    {"to": "ann@far.example", "from": "ann@ours.example", "via": "lmtp://203.0.113.205"},
                )
            ),
            unique_by=str,
            max_size=3,
        ),
    }
)


class Live:
    """A whole relay with this configuration."""

    def __init__(self, world: RelayWorld, config: dict[str, Any]) -> None:
        self.world = world
        world.configure(config)

    def bring(self, caller: Caller) -> tuple[list[tuple[str, Reply]], str]:
        """What a client hears, by step; and the id of its message in the queue."""
        return self.world.wait_for(ensureDeferred(self._bring(caller)))

    async def _bring(self, caller: Caller) -> tuple[list[tuple[str, Reply]], str]:
        factories = {one.endpoint: factory for factory, one in self.world.relay.inward.factories}
        heard: list[tuple[str, Reply]] = []
        shown = replace(AS_IF_BY_TLS, shown=(SHOWN,) if caller.certified else ())

        async def say(step: str, line: str) -> bool:
            heard.append((step, await visit.say(line)))
            return heard[-1][1].is_positive

        with Visit(factories[caller.endpoint], caller.client, pretended=shown, helo="client.example") as visit:
            await visit.hello()
            if caller.tls:
                if not await say("tls", "STARTTLS"):
                    return heard, ""
                await visit.hello()
            if caller.login:
                initial = b64encode(f"\0{caller.login}\0{PASSWORD}".encode()).decode()
                if not await say("login", f"AUTH PLAIN {initial}"):
                    return heard, ""
            utf8 = "" if all(one.isascii() for one in caller.recipients) else " SMTPUTF8"
            if not await say("sender", f"MAIL FROM:<{caller.sender}> SIZE={caller.size}{utf8}"):
                return heard, ""
            taken = [await say("recipient", f"RCPT TO:<{one}>") for one in caller.recipients]
            if not any(taken):
                return heard, ""
            said = await visit.content([b"Subject: x\r\n\r\n" + b"x" * (caller.size - 16) + b"\r\n"])
            return heard, said.lines[0].rpartition(" ")[2] if said.is_positive else ""

    def queued(self, message_id: str) -> set[tuple[str, str, bool]]:
        """Where a message is to go: address, lane, whether it is held."""
        found = self.world.wait_for(ensureDeferred(self._read(message_id)))
        return {(str(one.recipient.address), one.lane, one.state is State.HELD) for one in found[1]}

    async def _read(self, message_id: str) -> Any:
        return await self.world.relay.store.read(message_id)

    def journal(self) -> list[dict[str, Any]]:
        self.world.pass_time(seconds=3)  # refusals are gathered for a second

        async def rows() -> list[dict[str, Any]]:
            answers = TraceAnswers(self.world.relay.store)
            return [dict(row) async for row in answers.envelopes(Request({}))]

        return self.world.wait_for(ensureDeferred(rows()))


@pytest.fixture(scope="module")
def pasts(tmp_path_factory: pytest.TempPathFactory) -> list[Past]:
    """The journal of a relay to which all callers came."""
    with RelayWorld("whatif") as world:
        live = Live(world, configuration(tmp_path_factory.mktemp("old"), OLD))
        for caller in CALLERS:
            live.bring(caller)
        found = [past_of(row) for row in live.journal()]
    pasts = [one[0] for one in found if one is not None]
    assert len(pasts) == len(found) >= len(CALLERS)
    return pasts


def caller_of(past: Past) -> Caller:
    """The client of an envelope once more."""
    visitor = past.visitor
    assert visitor is not None
    return Caller(
        visitor.client,
        visitor.listener,
        past.sender,
        past.recipients,
        visitor.login,
        bool(visitor.tls),
        bool(visitor.certificate),
        past.size or 60,
    )


def heard_of(fates: Sequence[Fate], heard: Sequence[tuple[str, Reply]]) -> Iterator[tuple[str, str]]:
    """The last thing that a client heard about each recipient."""
    of_recipients = [one for one in heard if one[0] == "recipient"]
    for number in range(len(fates)):
        step, said = of_recipients[number] if number < len(of_recipients) else heard[-1]
        yield step, str(said)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=drawings)
def test_a_replay_says_what_live_clients_hear_and_where_their_mail_goes(
    tmp_path: Path, pasts: list[Past], drawn: dict[str, Any]
) -> None:
    config = configuration(tmp_path, drawn)
    with RelayWorld("whatif") as world, House(configured(config), world.clock.now) as house:
        live = Live(world, config)
        endpoints = [one["endpoint"] for one in config["listen"]]
        for past in pasts:
            caller, fates = caller_of(past), house.fates(past)
            if caller.endpoint not in endpoints:
                assert {(one.decision, one.stage) for one in fates} == {("refused", "listener")}
                continue
            heard, message_id = live.bring(caller)
            assert [(one.stage, one.reply) for one in fates] == list(heard_of(fates, heard)), (caller, heard)
            if message_id:
                goes = {(to.address, to.lane, to.hold) for one in fates for to in one.targets}
                assert goes == live.queued(message_id), caller
