"""Findings as a person sees them: aligned, coloured only on a terminal, each refusal with what would let it pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from relay.operate.cli import findings
from relay.operate.cli.findings import Drawing, lines_of
from tests.fakes.next_hop import NextHop
from tests.operate.explaining import START, Asked

CONFIG = """\
accept:
  networks: [192.168.0.0/16]
  domains: [ours.example]
forward:
  sales@ours.example: [ann@elsewhere.example, bob@elsewhere.example]
retry: {warn_after: never}
"""


def asked(folder: Path) -> Asked:
    found = Asked(folder, CONFIG)
    found.names.mx("elsewhere.example", (10, "mx.elsewhere.example"), (20, "relay.example"))
    found.names.a("mx.elsewhere.example", "192.0.2.1")
    return found


def drawn(asked: Asked, capsys: pytest.CaptureFixture[str], *to: str, **wishes: Any) -> str:
    drawing = Drawing()
    for finding in asked.findings(*to, **wishes):
        drawing.draw(finding.row())
    return capsys.readouterr().out.replace(str(asked.file), "relay.yaml")


def test_a_message_that_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        drawn(asked(tmp_path), capsys, "sales@ours.example", client="192.168.1.20", sender="printer@lan")
        == """\
The way in
  configuration         as the file has it; no relay is asked
                        relay.yaml
  listener              tcp:2525:interface=127.0.0.1: relay, no TLS, no login
                        built-in default
  connection   ok       192.168.1.20, trusted
                        with it 1 of 2,000 connections
                        accept.networks: 192.168.0.0/16  (relay.yaml:3)
                        220 relay.example Simple Mail Transfer Service Ready
  hello        ok       client.example, in the clear
  sender       ok       <printer@lan>
                        accept.networks: 192.168.0.0/16  (relay.yaml:3)
                        250 2.1.0 OK
  recipient    ok       sales@ours.example
                        becomes ann@elsewhere.example, bob@elsewhere.example
                        forward: sales@ours.example  (relay.yaml:6)
                        250 2.1.5 OK
  content      ok       at most 50M, of it 256K header; 1,000 recipients, 50 hops
                        250 2.0.0 OK rehearsed

The way out
  route        ok       ann@elsewhere.example, bob@elsewhere.example via mx:elsewhere.example
                        default: by MX  (built-in default)
  dns                   MX elsewhere.example: 10 mx.elsewhere.example, 20 relay.example  [300 s]
  dns                   AAAA mx.elsewhere.example: no records  [60 s]
  dns                   A mx.elsewhere.example: 192.0.2.1  [300 s]
  dns                   AAAA relay.example: no such name  [60 s]
  dns                   A relay.example: no such name  [60 s]
  host         ok       1. mx.elsewhere.example:25 (MX 10)  192.0.2.1
                           TLS opportunistic, by neither DANE nor MTA-STS
  host                  -  relay.example (MX 20)
                           left out: it is this machine
  destination           elsewhere.example: nothing waits there
  times                 if it is put off: again after 1m, 3m, 7m, 15m, 31m, 1h, 2h ..., every 1h at last
                        the sender has it back after 5d
                        relay.yaml:7

It would be taken, and has a way.
"""
    )


def test_one_that_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remedy = (
        "-> accept.networks in relay.yaml:3 does not hold 10.1.2.3; add it; "
        "if else.example is ours, add that to accept.domains"
    )
    text = drawn(asked(tmp_path), capsys, "far@else.example", client="10.1.2.3")
    assert text.endswith(
        f"""\
  recipient    refused  far@else.example
                        not in accept.networks  (relay.yaml:3)
                        550 5.7.1 Relaying denied: your network is not in accept.networks, the domain not in \
accept.domains
                        {remedy}

It would be refused: the recipient far@else.example
{remedy}
"""
    )


def test_a_probe_is_a_dialogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(tmp_path)
    found.hop("192.0.2.1", NextHop(("8BITMIME",)))
    text = drawn(found, capsys, "bob@elsewhere.example", client="192.168.1.20", probe=True)
    assert (
        text.partition("Asked in truth\n")[2]
        == """\
  host         ok       mx.elsewhere.example:25
                        with mx.elsewhere.example [192.0.2.1]
                          0.000 < 220 hop.example ESMTP
                          0.000 > EHLO relay.example
                          0.000 < 250-hop.example
                          0.000 < 250 8BITMIME
                          0.000 > MAIL FROM:<>
                          0.000 < 250 2.1.0 ok
                          0.000 > RCPT TO:<bob@elsewhere.example>
                          0.000 < 250 2.1.5 ok
                          0.000 > QUIT
                          0.000 < 221 2.0.0 bye
                        250 2.1.5 ok
  way          ok       it would be asked for the content
                        250 2.1.5 ok

It would be taken, and has a way.
"""
    )


def finding(what: str, part: str = "queue", **said: Any) -> Mapping[str, Any]:
    usual = {"about": "", "decision": "told", "rule": "", "place": "", "reply": "", "remedy": "", "details": {}}
    return {"part": part, "what": what, **usual, **said}


def test_a_recipient_that_waits() -> None:
    details = {
        "state": "waiting",
        "attempts": 3,
        "destination": "x.example",
        "destination_now": "smtp:other",
        "next_at": START + 120,
        "attempts_at": [START + 120, START + 400, START + 4000],
        "warned": True,
        "warns_at": None,
        "expires_at": START + 9000,
    }
    row = finding(
        "recipient", about="bob@x.example", rule="its destination rests", remedy="relay queue flush", details=details
    )
    texts = [text.strip() for text, _ in lines_of(row, START)]
    assert texts[0] == "recipient             bob@x.example: waiting, 3 attempts, to x.example"
    assert texts[1] == "by the routes of now it goes to smtp:other"
    assert texts[2].startswith("next attempt in 2m, ")
    assert texts[3] == "if that fails, in 6m, 1h ..."
    assert texts[4].startswith("the sender has been warned, and has it back ")
    assert texts[5:] == ["its destination rests", "-> relay queue flush"]


def test_what_a_peer_said_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Drawing().draw(finding("recipient", "in", about="x", reply="550 \x1b[2J gone"))
    assert "\x1b" not in capsys.readouterr().out


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    refused = finding("recipient", "in", about="x", decision="refused", remedy="do this")
    Drawing().draw(refused)
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr(findings.click, "echo", lambda text="", **_: print(text))
    monkeypatch.setattr(findings.click, "secho", lambda text="", **style: print(click.style(text, **style)))
    Drawing().draw(refused)
    assert "\x1b[31m" in capsys.readouterr().out
