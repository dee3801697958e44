"""The world of the fixture: one seed, virtual time, a disk that loses what was not synced, and nothing hidden."""

from __future__ import annotations

import smtplib
import subprocess
import sys
import time

import pytest
from twisted.internet.defer import Deferred

from relay.embed import ConfigFaults, NotTaken
from relay.testing.server import RelayServer
from relay.testing.world import RelayWorld

LETTER = "Subject: hello\n\nIt works.\n"


def test_one_seed_is_one_world() -> None:
    def log(seed: str) -> list[str]:
        with RelayWorld(seed) as world:
            hop = world.next_hop("mx.example.org", domain="example.org")
            hop.is_down()
            world.send("me@example.net", ["ann@example.org"], LETTER)
            world.pass_time(hours=1)
            return [f"{step.at} {step}" for step in world.log if step.name != "started"]

    assert log("a") == log("a") != log("b")


def test_nothing_that_was_acknowledged_is_lost_with_the_power(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    hop.is_down()
    for number in range(5):
        relay_world.send("me@example.net", [f"m{number}@example.org"], LETTER + "x" * 100_000 + "\n")
        relay_world.crash(power=number % 2 == 0)
    hop.is_well()
    relay_world.pass_time(hours=2)
    assert {one.recipients[0] for one in hop.messages} == {f"m{number}@example.org" for number in range(5)}
    assert all(one.content.endswith(b"x" * 100_000 + b"\r\n") for one in hop.messages)


def test_it_stops_and_starts(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    hop.is_down()
    relay_world.send("me@example.net", ["ann@example.org"], LETTER)
    relay_world.stop()
    assert relay_world.log[-1].name == "stopped"
    hop.is_well()
    relay_world.pass_time(hours=1)
    assert len(hop.messages) == 1


def test_a_full_disk_refuses_for_now(relay_world: RelayWorld) -> None:
    assert relay_world.queue == []
    relay_world.disk.capacity = relay_world.disk.used
    with pytest.raises(NotTaken) as refusal:
        relay_world.send("me@example.net", ["ann@example.org"], LETTER)
    assert refusal.value.is_temporary and refusal.value.reply.code == 452
    relay_world.disk.capacity = None
    relay_world.pass_time(minutes=5)
    assert relay_world.send("me@example.net", ["ann@example.org"], LETTER).id


def test_the_dns_is_down(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    relay_world.names_are_down()
    relay_world.send("me@example.net", ["ann@example.org"], LETTER)
    relay_world.pass_time(minutes=10)
    assert "SERVFAIL" in relay_world.queue[0].note
    relay_world.names_are_down(False)
    relay_world.pass_time(hours=2)
    assert len(hop.messages) == 1


def test_another_configuration_while_it_runs(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    relay_world.configure({"routes": [{"to": "example.org", "via": "reject:550 5.7.1 Not there"}]})
    relay_world.send("me@example.net", ["ann@example.org"], LETTER)
    relay_world.pass_time(minutes=1)
    assert hop.messages == []
    relay_world.configure({})
    relay_world.send("me@example.net", ["ann@example.org"], LETTER)
    relay_world.wait_until(lambda: hop.messages)
    with pytest.raises(ConfigFaults, match="routes"):
        relay_world.configure({"routes": 7})


def test_time_does_not_pass_for_a_client_that_is_owed_nothing(relay_world: RelayWorld) -> None:
    relay_world.next_hop("mx.example.org", domain="example.org").is_slow(3600)
    with smtplib.SMTP(*relay_world.address) as client:
        client.sendmail("me@example.net", ["ann@example.org"], LETTER.replace("\n", "\r\n"))
        before = relay_world.clock.now
        time.sleep(0.3)  # many looks at a client that says nothing
        assert relay_world.clock.now == before
        assert client.noop()[0] == 250
        assert 0 < relay_world.clock.now - before < 60


def test_what_breaks_behind_a_real_socket_is_heard() -> None:
    def breaks() -> None:
        raise LookupError("an event that breaks")

    with pytest.raises(LookupError, match="an event that breaks"), RelayWorld() as world:
        host, port = world.address
        world.clock.callLater(0, breaks)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtplib.SMTP(host, port)


def test_what_never_comes_is_said(relay_world: RelayWorld) -> None:
    with pytest.raises(AssertionError, match="not so within 2 hours"):
        relay_world.wait_until(lambda: False, hours=2)
    with pytest.raises(AssertionError, match="not so within 1 hours"):
        relay_world.wait_for(Deferred())


def test_a_server_that_cannot_start_says_so() -> None:
    with pytest.raises(ConfigFaults, match="listen"), RelayServer({"listen": [{"endpoint": "nonsense"}]}):
        pass


def test_pytest_loads_nothing_but_the_names() -> None:
    loading = "import relay.testing.plugin, sys; sys.exit(sorted({'twisted', 'apsw', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loading], check=False, capture_output=True).stderr == b"[]\n"
