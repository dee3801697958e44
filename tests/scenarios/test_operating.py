"""The running program, as an operator handles it: reload, end, a second one, giving up root."""

from __future__ import annotations

import json
import pwd
import signal
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.peers import (
    Relay,
    destination,
    free_port,
    needs_root,
    running_relay,
    start_relay,
    wait_until,
)

pytestmark = pytest.mark.endtoend

MESSAGE = b"From: ann@client.example\r\nSubject: a letter\r\n\r\nHello\r\n"


def via(port: int) -> str:
    return f'routes:\n  - to: "*"\n    via: smtp://127.0.0.1:{port}\n'


def rewrite(relay: Relay, old: str, new: str) -> None:
    text = relay.config.read_text(encoding="utf-8")
    assert old in text
    relay.config.write_text(text.replace(old, new), encoding="utf-8")
    relay.process.send_signal(signal.SIGHUP)


def test_a_reload_changes_the_way_and_drops_no_session(tmp_path: Path) -> None:
    """A session that was open goes on, and its next message goes by the new table."""
    with (
        destination() as first,
        destination() as second,
        running_relay(tmp_path, via(first.port)) as relay,
        smtplib.SMTP("127.0.0.1", relay.port) as client,
    ):
        client.sendmail("ann@client.example", ["bob@elsewhere.example"], MESSAGE)
        wait_until(lambda: first.arrived, "the message by the old route")
        rewrite(relay, str(first.port), str(second.port))
        wait_until(lambda: " reloaded " in relay.said(), "the reload")
        client.sendmail("ann@client.example", ["eve@elsewhere.example"], MESSAGE)
        wait_until(lambda: second.arrived, "the message by the new route")


def test_mail_that_waits_goes_by_the_new_route(tmp_path: Path) -> None:
    """A corrected route applies to what is in the queue already."""
    dead = free_port()
    with destination() as hop, running_relay(tmp_path, via(dead)) as relay:
        with smtplib.SMTP("127.0.0.1", relay.port) as client:
            client.sendmail("ann@client.example", ["bob@elsewhere.example"], MESSAGE)
        wait_until(lambda: " deferred " in relay.said(), "the first failure")
        rewrite(relay, str(dead), str(hop.port))
        wait_until(lambda: " reloaded " in relay.said(), "the reload")
        relay.command("queue", "flush")
        wait_until(lambda: hop.arrived, "the message by the new route")


def test_a_faulty_configuration_changes_nothing(tmp_path: Path) -> None:
    with destination() as hop, running_relay(tmp_path, via(hop.port)) as relay:
        rewrite(relay, "via: smtp://", "vai: smtp://")
        wait_until(lambda: "vai" in relay.said(), "the fault in the log")
        assert "relay.yaml:" in relay.said()
        with smtplib.SMTP("127.0.0.1", relay.port) as client:
            client.sendmail("ann@client.example", ["bob@elsewhere.example"], MESSAGE)
        wait_until(lambda: hop.arrived, "the message by the old route")


def test_a_message_under_way_is_finished_before_the_end(tmp_path: Path) -> None:
    """SIGTERM: the idle are told 421, who is in the midst of a message may end it, and it is on disk."""
    with destination() as hop:
        relay = start_relay(tmp_path, via(hop.port), free_port())
        try:
            idle = smtplib.SMTP("127.0.0.1", relay.port)
            busy = smtplib.SMTP("127.0.0.1", relay.port)
            for client in (idle, busy):
                client.ehlo()
            busy.mail("ann@client.example")
            busy.rcpt("bob@elsewhere.example")
            assert busy.docmd("DATA")[0] == 354
            busy.send(MESSAGE)
            relay.process.send_signal(signal.SIGTERM)
            assert idle.getreply()[0] == 421
            busy.send(b".\r\n")
            assert busy.getreply()[0] == 250
            assert relay.process.wait(20) == 0
        finally:
            relay.process.kill()
            relay.process.wait()
        again = start_relay(tmp_path, via(hop.port), free_port())
        again.command("queue", "flush")
        wait_until(lambda: hop.arrived, "the message, then or after the restart")
        assert again.end() == 0
        assert len(hop.arrived) == 1


def run_relay(*options: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "twistd", "-n", "--pidfile=", "relay", "--admin=none", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_second_relay_on_the_same_spool_does_not_start(tmp_path: Path) -> None:
    with running_relay(tmp_path, "") as relay:
        done = run_relay("--spool", str(relay.spool), "--listen", f"tcp:{free_port()}:interface=127.0.0.1")
        assert done.returncode != 0
        assert f"in use by process {relay.pid}" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with running_relay(tmp_path, "") as relay:
        done = run_relay("--spool", str(tmp_path / "other"), "--listen", f"tcp:{relay.port}:interface=127.0.0.1")
        assert done.returncode != 0
        assert "cannot listen" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_root_is_given_up_after_binding(public_path: Path) -> None:
    needs_root()
    nobody = pwd.getpwnam("nobody")
    with destination() as hop, running_relay(public_path, "user: nobody\n" + via(hop.port), port=25) as relay:
        status = Path(f"/proc/{relay.pid}/status").read_text(encoding="ascii")
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert uids == [str(nobody.pw_uid)] * 4
        assert relay.spool.stat().st_uid == nobody.pw_uid
        assert relay.spool.stat().st_mode & 0o777 == 0o700
        for file in relay.spool.rglob("*"):
            assert file.stat().st_mode & 0o077 == 0, file
        with smtplib.SMTP("127.0.0.1", 25) as client:
            client.sendmail("ann@client.example", ["bob@elsewhere.example"], MESSAGE)
        wait_until(lambda: hop.arrived, "the message")


def test_the_log_can_be_read_by_programs(tmp_path: Path) -> None:
    """One line a step, the same names everywhere, and the id ties them together."""
    log = tmp_path / "steps.json"
    with destination() as hop:
        with running_relay(tmp_path, f"log: {{format: json, file: {log}}}\n" + via(hop.port)) as relay:
            hop.refuse["eve@elsewhere.example"] = "550 5.1.1 No such person"
            with smtplib.SMTP("127.0.0.1", relay.port) as client:
                client.sendmail("ann@client.example", ["bob@elsewhere.example", "eve@elsewhere.example"], MESSAGE)
            wait_until(lambda: len(hop.arrived) == 2, "message and report")
        steps = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    accepted = next(step for step in steps if step["step"] == "accepted" and step["sender"] == "ann@client.example")
    mine = [step for step in steps if step.get("id") == accepted["id"]]
    assert [step["step"] for step in mine][:1] == ["accepted"]
    assert {step["step"] for step in mine} == {"accepted", "delivered", "failed", "reported"}
    assert next(step for step in mine if step["step"] == "failed")["reply"].startswith("550 5.1.1 No such person")
