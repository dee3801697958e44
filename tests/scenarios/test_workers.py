"""Several workers: the running program with its processes, killed and ended in every way."""

from __future__ import annotations

import gzip
import json
import os
import pwd
import signal
import smtplib
import time
from contextlib import ExitStack, suppress
from email import message_from_bytes
from pathlib import Path

import pytest

from relay.deliver.tlsrpt import DAY_S, Tally
from relay.route.tls import Policed
from tests.fakes.dns_server import DnsServer
from tests.scenarios.peers import (
    Destination,
    Relay,
    destination,
    free_port,
    greets,
    needs_root,
    running_relay,
    send_until_every_shard_has_mail,
    start_relay,
    wait_until,
)
from tests.scenarios.promise import Load, check_promise, fates

pytestmark = pytest.mark.endtoend

MESSAGE = b"From: ann@client.example\r\nSubject: a letter\r\n\r\nHello\r\n"
RETRY = "retry: {first: 1s, longest: 1s}\n"


def config(workers: int, port: int, more: str = "") -> str:
    return f'workers: {workers}\nroutes:\n  - to: "*"\n    via: smtp://127.0.0.1:{port}\n{more}'


def workers_of(relay: Relay) -> list[int]:
    """The process ids of the workers that answer, by shard; none when one ends while it is asked."""
    done = relay.command("status", "--json", check=False)
    return [worker["pid"] for worker in json.loads(done.stdout)["workers"]] if done.returncode == 0 else []


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False


def send(port: int, *names: str) -> None:
    """One connection for each, so that every worker has a chance."""
    for name in names:
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("ann@client.example", [f"{name}@elsewhere.example"], MESSAGE)


def arrived(hop: Destination) -> set[str]:
    return {name.partition("@")[0] for one in list(hop.arrived) for name in one.recipients}


def test_all_workers_take_mail_and_are_seen_as_one(tmp_path: Path) -> None:
    with running_relay(tmp_path, config(2, free_port())) as relay:
        names = send_until_every_shard_has_mail(relay, 2)
        pids = workers_of(relay)
        assert len(set(pids)) == 2
        assert relay.pid not in pids
        status = json.loads(relay.command("status", "--json").stdout)
        assert status["queue"]["messages"] == len(names)
        with smtplib.SMTP("127.0.0.1", relay.port) as client:
            assert f"Queue: {len(names)} messages".encode() in client.docmd("HELP", "STATUS")[1]
            client.ehlo()
            assert client.docmd("ETRN", "elsewhere.example") == (
                253,
                f"2.0.0 OK, {len(names)} pending messages for node elsewhere.example started".encode(),
            )
        assert "held" in relay.command("queue", "hold", "--all", "--yes").stdout
        rows = [json.loads(row) for row in relay.command("queue", "list", "--json").stdout.splitlines()]
        assert {row["state"] for row in rows} == {"held"}
        assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


def test_nothing_is_lost_by_kill_9_of_a_worker(tmp_path: Path) -> None:
    port = free_port()
    with fates() as hop, running_relay(tmp_path, config(2, hop.port, RETRY), port) as relay:
        with Load(port, seed=4) as load:
            for number in range(4):
                load.wait_for(30)
                dead = workers_of(relay)[number % 2]
                os.kill(dead, signal.SIGKILL)
                wait_until(lambda: not is_alive(dead) and len(set(workers_of(relay))) == 2, "another worker")  # noqa: B023
            load.wait_for(30)
        check_promise(load, hop, relay, crashes=4)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """Nobody would mind them, or restart them; and the next parent wants the ports and the spool."""
    port = free_port()
    with fates() as hop:
        relay = start_relay(tmp_path, config(2, hop.port, RETRY), port)
        pids = workers_of(relay)
        with Load(port, seed=5) as load:
            load.wait_for(30)
            relay.end(signal.SIGKILL)
            wait_until(lambda: not any(map(is_alive, pids)), "the workers have ended")
            relay = start_relay(tmp_path, config(2, hop.port, RETRY), port)
            load.wait_for(30)
        check_promise(load, hop, relay, crashes=1)
        assert relay.end() == 0


def test_an_orderly_end_ends_all(tmp_path: Path) -> None:
    with destination() as hop:
        relay = start_relay(tmp_path, config(3, hop.port), free_port())
        pids = workers_of(relay)
        send(relay.port, "bob", "eve")
        assert relay.end() == 0
        assert not any(map(is_alive, pids))
        wait_until(lambda: arrived(hop) == {"bob", "eve"}, "the mail was delivered before the end")


def test_a_reload_reaches_every_worker(tmp_path: Path) -> None:
    with destination() as first, destination() as second, running_relay(tmp_path, config(2, first.port)) as relay:
        text = relay.config.read_text(encoding="utf-8")
        relay.config.write_text(text.replace(str(first.port), str(second.port)), encoding="utf-8")
        relay.process.send_signal(signal.SIGHUP)
        wait_until(lambda: relay.said().count(" reloaded ") == 2, "both have reloaded")
        send(relay.port, *(f"n{number}" for number in range(10)))
        wait_until(lambda: len(arrived(second)) == 10, "the mail by the new route")
        assert not first.arrived


def test_mail_of_a_shard_without_a_worker_is_delivered(tmp_path: Path) -> None:
    """N was made smaller: nothing is moved by hand, and what is empty is cleared away."""
    dead, spool = free_port(), tmp_path / "spool"
    unjournaled = "journal: none\n"  # a shard stays for as long as its journal is kept
    with running_relay(tmp_path, config(3, dead, unjournaled)) as relay:
        names = send_until_every_shard_has_mail(relay, 3)
    assert (spool / "shards" / "2" / "queue.db").exists()
    rows = relay.command("queue", "list", "--json").stdout.splitlines()
    assert len(rows) == len(names), "while no relay is running, too"
    with destination(dead) as hop, running_relay(tmp_path, config(1, dead, unjournaled)) as relay:
        relay.command("queue", "flush")
        wait_until(lambda: arrived(hop) == names, "all mail of all shards")
        wait_until(lambda: not list((spool / "shards").iterdir()), "empty shards are removed", limit_s=60)
        assert len(hop.arrived) == len(names)


def test_workers_give_up_root(public_path: Path) -> None:
    needs_root()
    nobody = pwd.getpwnam("nobody")
    with destination() as hop, running_relay(public_path, "user: nobody\n" + config(2, hop.port), port=25) as relay:
        for pid in workers_of(relay):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
            assert uids == [str(nobody.pw_uid)] * 4
        for place in relay.spool.rglob("*"):
            assert place.stat().st_uid == nobody.pw_uid, place
            assert place.stat().st_mode & 0o077 == 0, place
        send(25, "bob")
        wait_until(lambda: hop.arrived, "the message")
        os.kill(workers_of(relay)[0], signal.SIGKILL)
        wait_until(lambda: relay.said().count(" started ") >= 5, "another worker, as the same user")


def test_a_unix_socket_is_shared_and_stays_while_workers_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "smtp"
    listen = f"listen:\n  - endpoint: unix:{path}\n  - endpoint: tcp:{{port}}:interface=127.0.0.1\n"
    port = free_port()
    with destination() as hop:
        file = tmp_path / "relay.yaml"
        text = f"hostname: relay.test\nspool: {tmp_path}/spool\n" + listen.format(port=port) + config(2, hop.port)
        file.write_text(text, encoding="utf-8")
        relay = start_again(tmp_path, file, port)
        try:
            os.kill(workers_of(relay)[0], signal.SIGTERM)
            wait_until(lambda: relay.said().count(" started ") >= 5, "another worker")
            assert path.is_socket()
        finally:
            assert relay.end() == 0
        assert not path.exists()


def start_again(folder: Path, file: Path, port: int) -> Relay:
    import subprocess
    import sys

    log = folder / "relay.log"
    with log.open("ab") as stream:
        command = [Path(sys.executable).parent / "twistd", "-n", "--pidfile=", "relay", "--config", file]
        process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=folder)
    wait_until(lambda: greets(port), "the relay answers")
    return Relay(port, folder / "spool", file, process, log)


def test_a_second_parent_on_the_same_spool_does_not_start(tmp_path: Path) -> None:
    with running_relay(tmp_path / "one", config(2, free_port()), spool=tmp_path / "spool") as relay:
        with pytest.raises(AssertionError, match="in use by process"):
            start_relay(tmp_path / "two", config(2, free_port()), free_port(), spool=tmp_path / "spool")
        with suppress(OSError):
            assert greets(relay.port)


def test_a_domain_gets_one_tls_report_of_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What two workers have counted yesterday goes out once, summed, soon after midnight: here within seconds."""
    hurry = "import relay.operate.tls_reports as reports\nreports.SPREAD_S, reports.SAVE_S = 2.0, 0.5\n"
    (tmp_path / "sitecustomize.py").write_text(hurry, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("RELAY_NURSERY", "no")  # what is forked has begun without it
    yesterday = time.time() - DAY_S
    spool = tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o700)
    for shard, sessions in enumerate((3, 4)):
        tally = Tally()
        for _ in range(sessions):
            tally.count(yesterday, Policed("elsewhere.example"), "mx.elsewhere.example [192.0.2.1]", "", "")
        (spool / f"tls-sessions.{shard}.json").write_text(tally.dump(), encoding="utf-8")
    with ExitStack() as stack:
        dns, hop = stack.enter_context(DnsServer()), stack.enter_context(destination())
        dns.add("_smtp._tls.elsewhere.example", "TXT", '"v=TLSRPTv1; rua=mailto:reports@elsewhere.example"')
        more = f"dns: {{servers: ['{dns.text}']}}\ntls_reports: {{send: true, sender: tls@relay.test}}\n"
        for _ in range(2):  # again after a restart: a day is told once
            with running_relay(tmp_path, config(2, hop.port, more), free_port(), spool) as relay:
                wait_until(lambda: hop.arrived, "the report")
                time.sleep(4)
                assert len(set(workers_of(relay))) == 2
    (report,) = hop.arrived
    assert report.recipients == ["reports@elsewhere.example"]
    (part,) = [one for one in message_from_bytes(report.content).walk() if "gzip" in one.get_content_type()]
    (policy,) = json.loads(gzip.decompress(part.get_payload(decode=True)))["policies"]
    assert policy["summary"] == {"total-successful-session-count": 7, "total-failure-session-count": 0}
