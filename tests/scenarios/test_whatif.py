"""``relay check NEW --replay``: what another configuration would change of the mail that came, by a real relay, its
journal and its files."""

from __future__ import annotations

import json
import signal
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.peers import (
    Relay,
    destination,
    free_port,
    running_relay,
    send_until_every_shard_has_mail,
    wait_until,
)

pytestmark = pytest.mark.endtoend

OLD = """\
accept: {{networks: [127.0.0.0/8], domains: [ours.example]}}
forward:
  sales@ours.example: ann@far.example
  moved@ours.example: {{refer: new@else.example}}
routes:
  - {{to: far.example, via: 'smtp://127.0.0.1:{port}'}}
  - {{to: '*', via: 'discard:'}}
"""
NEW = """\
accept:
  networks: [127.0.0.1]
  domains: [ours.example]
forward:
  sales@ours.example: [ann@far.example, eve@else.example]
routes:
  - {{to: far.example, via: 'smtp://127.0.0.2:{port}'}}
  - {{to: held.example, via: 'discard:', hold: true}}
  - {{to: '*', via: 'discard:'}}
"""
SOURCES = {"home": "127.0.0.1", "elsewhere": "127.0.0.9"}


def send(relay: Relay, source: str, *to: str) -> None:
    with smtplib.SMTP("127.0.0.1", relay.port, source_address=(SOURCES[source], 0)) as client:
        try:
            client.sendmail("ann@ours.example", list(to), "Subject: x\r\n\r\nx\r\n")
        except smtplib.SMTPRecipientsRefused as refused:
            assert to == ("moved@ours.example",), refused.recipients


def written(relay: Relay, name: str, text: str) -> Path:
    """A file of the same relay, with other rules."""
    head = relay.config.read_text(encoding="utf-8").partition("accept:")[0]
    path = relay.config.with_name(name)
    path.write_text(head + text, encoding="utf-8")
    return path


def checked(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).parent / "relay"
    return subprocess.run(
        [script, "check", *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=folder, check=False
    )


def changes(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)["replay"]
    return {kind: number for kind, number in told["changes"].items() if number}


def test_it_tells_exactly_what_would_change(tmp_path: Path) -> None:
    with destination() as hop, running_relay(tmp_path, OLD.format(port=hop.port)) as relay:
        for _ in range(3):
            send(relay, "home", "bob@far.example")
        send(relay, "home", "bob@far.example", "bob@held.example")
        send(relay, "home", "sales@ours.example")
        send(relay, "home", "moved@ours.example")
        send(relay, "home", "moved@ours.example", "carl@ours.example")
        send(relay, "elsewhere", "x@else.example")
        send(relay, "elsewhere", "carl@ours.example")
        wait_until(lambda: len(relay.command("trace", "--limit", "99").stdout.splitlines()) == 10, "the journal")
        old_lines = relay.config.read_text(encoding="utf-8").splitlines()
        new = written(relay, "new.yaml", NEW.format(port=hop.port))
        new_lines = new.read_text(encoding="utf-8").splitlines()

        def at(lines: list[str], text: str) -> int:
            return next(number for number, line in enumerate(lines, 1) if text in line)

        told = json.loads(checked(tmp_path, new, "--replay", "7d", "--json").stdout)
        replay: dict[str, Any] = told["replay"]
        expected = {"routed": 4, "refused": 1, "accepted": 2, "forwarded": 1, "held": 1}
        assert told["ok"]
        assert {kind: number for kind, number in replay["changes"].items() if number} == expected
        assert (replay["envelopes"], replay["recipients"], replay["otherwise_then"]) == (10, 11, 0)
        assert (replay["old"], replay["new"], replay["restart"]) == (str(relay.config), str(new), [])
        groups = {group["kind"]: group for group in replay["groups"]}
        assert len(groups) == len(replay["groups"])
        assert groups["routed"] == {
            "kind": "routed",
            "count": 4,
            "old": {
                "what": f"smtp://[127.0.0.1]:{hop.port}",
                "rule": "routes[0]",
                "place": f"{relay.config}:{at(old_lines, 'via: ')}",
            },
            "new": {
                "what": f"smtp://[127.0.0.2]:{hop.port}",
                "rule": "routes[0]",
                "place": f"{new}:{at(new_lines, 'via: ')}",
            },
            "examples": [
                {"client": "127.0.0.1", "login": "", "sender": "ann@ours.example", "recipient": "bob@far.example"}
            ],
        }
        assert groups["refused"]["new"]["what"].startswith("550 5.7.1 Relaying denied")
        assert groups["refused"]["new"]["place"] == f"{new}:{at(new_lines, 'networks')}"
        assert groups["accepted"]["old"]["rule"] == "forward: moved@ours.example"
        assert groups["forwarded"]["new"]["what"] == "ann@far.example, eve@else.example"

        # For people, and without the relay: by its spool, against the old file.
        words = checked(tmp_path, new, "--replay", "7 days").stdout
        assert f"{new}: good" in words
        assert (
            "1 recipient is now refused, 2 recipients are now accepted, 1 recipient is forwarded elsewhere, "
            "4 deliveries change route, 1 delivery is now held." in words
        )
        assert "ann@ours.example to bob@far.example" in words
        assert "10 envelopes with 11 recipients" in words
        assert relay.end() == 0
        asleep = checked(tmp_path, new, "--replay", "7d", "--against", relay.config, "--json")
        assert changes(asleep) == expected
        assert "no relay is running" in asleep.stderr
        nothing_to_compare = checked(tmp_path, new, "--replay", "7d")
        assert nothing_to_compare.returncode == 64
        assert "--against OLD.yaml" in nothing_to_compare.stderr


def test_what_is_in_force_counts_and_not_what_its_file_says_by_now(tmp_path: Path) -> None:
    """Who edits the file in place wants to know before the reload."""
    port = free_port()
    with running_relay(tmp_path, OLD.format(port=port)) as relay:
        send(relay, "elsewhere", "x@else.example")
        written(relay, relay.config.name, NEW.format(port=port))
        assert changes(checked(tmp_path, relay.config, "--replay", "7d", "--json")) == {"refused": 1}
        relay.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reloaded" in relay.said(), "the reload")
        again = checked(tmp_path, relay.config, "--replay", "7d", "--json")
        assert changes(again) == {}
        told = json.loads(again.stdout)["replay"]
        assert (told["envelopes"], told["otherwise_then"]) == (1, 1)
        assert "Nothing would be different." in checked(tmp_path, relay.config, "--replay", "7d").stdout


def test_all_workers_are_asked(tmp_path: Path) -> None:
    routes = "routes:\n  - {to: '*', via: 'discard:'}\n"
    with running_relay(tmp_path, f"workers: 2\naccept: {{networks: [127.0.0.1]}}\n{routes}") as relay:
        names = send_until_every_shard_has_mail(relay, 2)
        new = written(relay, "new.yaml", "accept: {networks: ['::1']}\n" + routes)
        assert changes(checked(tmp_path, new, "--replay", "1h", "--json")) == {"refused": len(names)}


def test_a_file_with_faults_is_not_replayed(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text("accept: {networks: [10.0.0.1/8]}\n", encoding="utf-8")
    done = checked(tmp_path, "new.yaml", "--replay", "7d", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["replay"]) == (78, False, None)
    assert checked(tmp_path, "new.yaml", "--replay", "soon").returncode == 64
    assert checked(tmp_path, "new.yaml", "--against", "old.yaml").returncode == 64


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_that_fails_keeps_the_old_configuration_and_says_why(tmp_path: Path, workers: int) -> None:
    text = f"workers: {workers}\naccept: {{networks: [127.0.0.0/8]}}\nroutes:\n  - {{to: '*', via: 'discard:'}}\n"
    with running_relay(tmp_path, text) as relay:
        good = relay.config.read_text(encoding="utf-8")
        broken = good.replace("127.0.0.0/8", "127.0.0.1").replace("via:", "vai:")
        relay.config.write_text(broken, encoding="utf-8")
        relay.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the old configuration stays in force" in relay.said(), "the reload")
        line = next(number for number, one in enumerate(broken.splitlines(), 1) if "vai" in one)
        assert f"{relay.config}:{line}:15: routes[0].vai: unknown key" in relay.said()
        assert " reloaded " not in relay.said()
        send(relay, "elsewhere", "x@else.example")  # whom only the old one lets in

        def complaints() -> list[dict[str, str]]:
            found: list[dict[str, str]] = json.loads(relay.command("status", "--json").stdout)["complaints"]
            return found

        wait_until(complaints, "the complaint")
        (complaint,) = complaints()
        assert complaint["about"] == "configuration"
        assert f"{relay.config}:{line}" in complaint["what"]
        words = relay.command("status").stdout
        assert "look: the last reload changed nothing, since the file has faults" in words
        assert "-> relay check FILE shows them all" in words
        relay.config.write_text(good, encoding="utf-8")
        relay.process.send_signal(signal.SIGHUP)
        wait_until(lambda: relay.said().count(" reloaded ") == workers, "the reload")
        assert complaints() == []
