"""``relay trace`` against the running program, against several workers, and when all of them are gone."""

from __future__ import annotations

import json
import signal
import smtplib
from pathlib import Path
from typing import Any

import pytest

from relay.queue.ids import shard_of
from tests.scenarios.peers import Relay, destination, free_port, running_relay, start_relay, wait_until

pytestmark = pytest.mark.endtoend

MESSAGE = b"From: ann@client.example\r\nMessage-ID: <%s@client.example>\r\nSubject: a letter\r\n\r\nHello\r\n"
RETRY = "retry: {first: 1s, longest: 1s}\n"


def config(port: int, more: str = "") -> str:
    return f'accept: {{domains: [ours.example]}}\nroutes:\n  - to: "*"\n    via: smtp://127.0.0.1:{port}\n{RETRY}{more}'


def send(port: int, *to: str, name: str = "1") -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP("127.0.0.1", port) as client:
        return client.sendmail("ann@client.example", to, MESSAGE % name.encode())


def traced(relay: Relay, *words: str) -> list[dict[str, Any]]:
    done = relay.command("trace", "--json", *words, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_whole_way_of_a_message_and_of_its_report(tmp_path: Path) -> None:
    """Accepted, deferred, delivered, failed, reported: with what the hop said, and all of it after a kill too."""
    with destination() as hop:
        hop.refuse["eve@else.example"] = "550 5.1.1 No such person"
        hop.refuse["late@else.example"] = "451 4.7.1 Greylisted"
        with running_relay(tmp_path, config(hop.port)) as relay:
            send(relay.port, "bob@else.example", "eve@else.example", "late@else.example")
            wait_until(lambda: len(hop.arrived) == 2, "the message for bob, and the report")
            wait_until(lambda: " deferred " in relay.said(), "the deferral")
            del hop.refuse["late@else.example"]
            wait_until(lambda: len(hop.arrived) == 3, "the message for late")
            (row,) = wait_for_state(relay, "bob@else.example", "mixed")
            assert (row["sender"], row["message_id"]) == ("ann@client.example", "<1@client.example>")
            steps = traced(relay, row["id"])
            assert [step["step"] for step in steps[:2]] == ["accepted", "attempted"]
            told = [one for step in steps for one in step.get("recipients", ()) if "number" in one]
            ends = {one["recipient"].partition("@")[0]: one["step"] for one in told if one["step"] != "warned"}
            assert ends == {"bob": "delivered", "eve": "failed", "late": "delivered"}
            said = [line for part in steps[1]["dialogue"] for _, line in part["lines"]]
            assert "> RCPT TO:<eve@else.example>" in said
            assert "< 550 5.1.1 No such person" in said
            (reported,) = [step for step in steps if step["step"] == "reported"]
            (came, delivered) = traced(relay, reported["report"])
            assert (came["report_of"], delivered["recipients"][0]["step"]) == (row["id"], "delivered")
            relay.process.send_signal(signal.SIGKILL)
            relay.process.wait()
            assert traced(relay, row["id"]) == steps
            drawn = relay.command("trace", "<1@client.example>").stdout
            assert "eve@else.example  failed, " in drawn
        report = next(one.content for one in hop.arrived if b"multipart/report" in one.content)
        assert b"What the servers said to each other" in report
        assert b"> RCPT TO:<eve@else.example>" in report
        assert b"bob@else.example" not in report.partition(b"message/delivery-status")[0]


def wait_for_state(relay: Relay, what: str, state: str) -> list[dict[str, Any]]:
    wait_until(lambda: [row for row in traced(relay, what) if row["state"] == state], f"{what} {state}")
    return [row for row in traced(relay, what) if row["state"] == state]


def test_a_refusal_is_found_too(tmp_path: Path) -> None:
    hop = free_port()
    more = "accept: {networks: [192.0.2.0/24], domains: [ours.example]}\n"
    text = config(hop).replace("accept: {domains: [ours.example]}\n", more)
    with running_relay(tmp_path, text) as relay:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(relay.port, "far@else.example")
        (row,) = wait_for_state(relay, "far@else.example", "refused")
        (step,) = traced(relay, row["id"])
        assert (step["rule"], step["stage"], step["client"]) == ("not in accept.networks", "recipient", "127.0.0.1")
        assert step["place"].startswith(f"{relay.config}:")


def test_workers_are_traced_as_one_and_a_shard_stays_until_it_is_forgotten(tmp_path: Path) -> None:
    """Fewer workers than before: the journal of the shard that is left is still there to be asked."""
    with destination() as hop:
        relay = start_relay(tmp_path, config(hop.port, "workers: 2\n"), free_port())
        held: list[smtplib.SMTP] = []
        try:
            rows: list[dict[str, Any]] = []

            def both() -> bool:
                for _ in range(8):
                    held.append(smtplib.SMTP("127.0.0.1", relay.port))  # it keeps the worker busy that answers first
                    held[-1].sendmail("ann@client.example", ["bob@else.example"], MESSAGE % str(len(held)).encode())
                rows[:] = traced(relay, "bob@else.example", "--limit", "500")
                return {shard_of(row["id"]) for row in rows} == {0, 1}

            wait_until(both, "mail through both workers")
            ids = [row["id"] for row in rows]
            assert ids == sorted(ids, reverse=True)
            assert all(len(traced(relay, one)) >= 1 for one in ids)
            wait_until(lambda: all(row["state"] == "delivered" for row in traced(relay, "--limit", "500")), "delivery")
        finally:
            for client in held:
                client.close()
            relay.end()
        asleep = [row["id"] for row in traced(relay, "--limit", "500")]
        assert set(ids) <= set(asleep)
        with running_relay(tmp_path, config(hop.port)) as fewer:
            wait_until(lambda: [row["id"] for row in traced(fewer, "--limit", "500")] == asleep, "the same journal")


def test_none_is_none(tmp_path: Path) -> None:
    with destination() as hop, running_relay(tmp_path, config(hop.port, "journal: none\n")) as relay:
        send(relay.port, "bob@else.example")
        wait_until(lambda: hop.arrived, "the message")
        done = relay.command("trace", "bob@else.example", check=False)
        assert (done.returncode, done.stdout) == (65, "")
