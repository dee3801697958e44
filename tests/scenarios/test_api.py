"""The API, the metrics, health and webhooks of a real relay with two workers, by curl and Prometheus."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relay.operate.metrics import METRICS
from tests.scenarios.peers import Relay, destination, free_port, program, running_relay, start_relay, wait_until

pytestmark = pytest.mark.endtoend

SECRET = "0123456789abcdef0123456789abcdef"
TOKEN = "a-token-of-twenty-four-or-so"
JSON = ("-H", "Content-Type: application/json")
MESSAGE = ("-H", "Content-Type: message/rfc822")


@dataclass
class House:
    """A relay and its API."""

    relay: Relay
    address: str
    config: str = ""

    def again(self) -> Relay:
        """The same relay, started once more."""
        return start_relay(self.relay.config.parent, self.config, self.relay.port)

    def curl(self, path: str, *more: str, body: bytes = b"") -> tuple[int, bytes]:
        """The status and the body of an answer."""
        done = subprocess.run(
            [program("curl"), "-s", "-o", "-", "-w", "\n%{http_code}", *more, f"{self.address}{path}"],
            input=body,
            capture_output=True,
            timeout=60,
            check=True,
        )
        said, _, status = done.stdout.rpartition(b"\n")
        return int(status), said

    def api(self, path: str, *more: str, body: bytes = b"", status: int = 200) -> Any:
        found, said = self.curl(f"/api/v1{path}", *more, body=body)
        assert found == status, said
        return json.loads(said)

    def submit(self, *recipients: str, text: str = "Hello.") -> Any:
        mail = {"from": "shop@example.org", "to": list(recipients), "subject": "hi", "text": text}
        return self.api("/messages", *JSON, "--data-binary", "@-", body=json.dumps(mail).encode(), status=202)

    def send(self, *recipients: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.relay.port) as client:
            client.sendmail("ann@client.example", list(recipients), b"Subject: hi\r\n\r\nHello\r\n")


@contextmanager
def house(folder: Path, next_hop: int, more: str = "", workers: int = 2) -> Iterator[House]:
    port = free_port()
    config = (
        f'admin: {{http: "tcp:{port}:interface=127.0.0.1"}}\nworkers: {workers}\n'
        f'routes:\n  - {{to: "*", via: "smtp://127.0.0.1:{next_hop}"}}\nretry: {{first: 1s, longest: 1s}}\n{more}'
    )
    with running_relay(folder, config) as relay:
        yield House(relay, f"http://127.0.0.1:{port}", config)


# -- mail and the queue ----------------------------------------------------------------------------------------


def test_mail_by_http_arrives_whole(tmp_path: Path) -> None:
    with destination() as hop, house(tmp_path, hop.port) as found:
        said = found.submit("bob@a.example", "eve@a.example", text="Grüße\n.\nFrom here")
        assert [one["taken"] for one in said["recipients"]] == [True, True]
        query = "/messages?from=shop@example.org&to=max@a.example"
        as_it_is = found.api(query, *MESSAGE, "--data-binary", "@-", body=b"Subject: unix\n\n.\none\n", status=202)
        wait_until(lambda: len(hop.arrived) == 2, "both arrive")
        first, second = sorted(hop.arrived, key=lambda one: len(one.recipients), reverse=True)
        assert set(first.recipients) == {"bob@a.example", "eve@a.example"}
        assert b"Gr=C3=BC=C3=9Fe" in first.content
        assert second.recipients == ["max@a.example"]
        assert second.content.endswith(b"Subject: unix\r\n\r\n.\r\none\r\n")
        assert b"Message-ID: <" in second.content
        wait_until(lambda: found.api("/status")["queue"]["messages"] == 0, "the queue is empty")
        journeys = {row["id"]: row["state"] for row in found.api("/journeys?address=shop@example.org")["rows"]}
        assert journeys == {said["id"]: "delivered", as_it_is["id"]: "delivered"}
        steps = [row["step"] for row in found.api(f"/journeys/{said['id']}")["rows"]]
        assert steps == ["accepted", "attempted"]


def test_what_was_answered_with_202_survives_kill_9(tmp_path: Path) -> None:
    with house(tmp_path, free_port(), workers=1) as found:
        said = found.submit("bob@a.example")
        os.kill(found.relay.pid, signal.SIGKILL)
        found.relay.process.wait(30)
        again = found.again()
        try:
            rows = again.command("queue", "list", "--json").stdout.splitlines()
            assert [json.loads(row)["id"] for row in rows] == [said["id"]]
        finally:
            again.end()


def test_the_queue_of_both_workers_is_one_and_is_changed_as_one(tmp_path: Path) -> None:
    with house(tmp_path, free_port()) as found:
        for number in range(20):
            found.send(f"u{number}@a.example")
        found.submit("bob@b.example")
        pages, after = [], ""
        while after is not None:
            page = found.api(f"/queue?limit=4&after={after}" if after else "/queue?limit=4")
            pages += page["rows"]
            after = page["next"]
        _, lines = found.curl("/api/v1/queue", "-H", "Accept: application/x-ndjson")
        rows = [json.loads(line) for line in lines.splitlines()]
        assert [row["id"] for row in rows] == [row["id"] for row in pages] == sorted(row["id"] for row in rows)
        assert len(rows) == 21
        held = found.api("/queue/hold", *JSON, "-d", '{"domain": "a.example"}')
        assert held == {"changed": 20}
        assert found.api("/status")["queue"]["recipients"]["held"] == 20
        one = rows[0]["id"]
        assert found.api(f"/queue/{one}")["recipients"][0]["state"] == "held"
        assert found.curl(f"/api/v1/queue/{one}/content")[1].endswith(b"\r\n\r\nHello\r\n")
        assert found.api("/queue/remove", *JSON, "-d", '{"all": true}') == {"changed": 21}
        found.api(f"/queue/{one}", status=404)
        lane = found.api("/destinations")["rows"]
        assert lane == [] or lane[0]["waiting"] == 0


def test_a_destination_is_named_by_its_host_in_both_workers(tmp_path: Path) -> None:
    """By the command line and by the API, whichever worker has the mail."""
    with house(tmp_path, free_port()) as found:
        for number in range(20):
            found.send(f"u{number}@a.example")
        rows = [json.loads(line) for line in found.relay.command("queue", "list", "--json").stdout.splitlines()]
        lanes = sorted({row["destination"] for row in rows})
        by_host = ("--destination", "127.0.0.1", "--json")
        newest = found.relay.command("queue", "list", "--newest-first", *by_host).stdout.splitlines()
        assert [json.loads(line)["id"] for line in newest] == [row["id"] for row in reversed(rows)]
        held = json.loads(found.relay.command("queue", "hold", *by_host).stdout)
        assert held == {"changed": 20, "destinations": lanes}
        assert len(lanes) == 1
        released = found.api("/queue/release", *JSON, "-d", '{"destination": "127.0.0.1"}')
        assert released == held
        unknown = found.relay.command("queue", "remove", "--destination", "127.0.0.2", check=False)
        assert unknown.returncode == 65
        assert len(found.api("/queue?destination=127.0.0.1")["rows"]) == 20


def test_a_destination_rests_in_every_worker_until_it_is_woken(tmp_path: Path) -> None:
    with destination() as hop, house(tmp_path, hop.port) as found:
        name, lane = f"smtp%3A%5B127.0.0.1%5D%3A{hop.port}", f"smtp:[127.0.0.1]:{hop.port}"
        told = {"changed": 1, "destinations": [lane]}
        assert found.api(f"/destinations/{name}/rest", *JSON, "-d", '{"seconds": 3600}') == told
        for number in range(10):
            found.send(f"u{number}@a.example")
        found.relay.process.send_signal(signal.SIGHUP)
        time.sleep(2)  # the wish outlives a reload; nothing tells that nothing has been sent
        assert hop.arrived == []
        assert found.api("/destinations/127.0.0.1/wake", "-X", "POST") == told
        wait_until(lambda: len(hop.arrived) == 10, "all arrive")


def test_with_a_token_nothing_is_told_to_who_does_not_show_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    port = free_port()
    config = f'admin: {{http: "tcp:{port}:interface=127.0.0.1", token_file: {token}}}\n'
    with running_relay(tmp_path, config) as relay:
        found = House(relay, f"http://127.0.0.1:{port}")
        bearer = ("-H", f"Authorization: Bearer {TOKEN}")
        for path in ("/api/v1/status", "/api/v1/openapi.json", "/metrics"):
            assert found.curl(path)[0] == 401
            assert found.curl(path, *bearer)[0] == 200
        assert json.loads(found.curl("/health")[1]) == {"status": "ok"}
        query = "/messages?from=a@b.example&to=c@d.example"
        found.api(query, *MESSAGE, "--data-binary", "@-", body=b"x" * 1_000_000, status=401)


# -- numbers and health ----------------------------------------------------------------------------------------


def test_what_each_worker_tells_is_what_there_is_a_sentence_for(tmp_path: Path) -> None:
    with destination() as hop, house(tmp_path, hop.port) as found:
        for number in range(10):
            found.send(f"u{number}@a.example")
        wait_until(lambda: len(hop.arrived) == 10, "all arrive")
        text = found.curl("/metrics")[1].decode()
        shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        assert shown == {metric.name for metric in METRICS}
        summed = found.curl("/metrics?workers=sum")[1].decode()
        assert "\nrelay_recipients_delivered_total 10.0\n" in summed
        assert "\nrelay_delivery_delay_seconds_count 10.0\n" in summed
        assert 'relay_worker_up{worker="1"} 1.0' in text


def test_a_worker_that_is_stopped_is_told_of_and_hangs_nobody(tmp_path: Path) -> None:
    with house(tmp_path, free_port()) as found:
        pids = {worker["shard"]: worker["pid"] for worker in found.api("/status")["workers"]}
        os.kill(pids[1], signal.SIGSTOP)
        try:
            status, said = found.curl("/health")
            assert (status, json.loads(said)["status"]) == (503, "wrong")
            assert "worker 1 does not answer" in str(json.loads(said)["complaints"])
            assert b'relay_worker_up{worker="1"} 0.0' in found.curl("/metrics")[1]
        finally:
            os.kill(pids[1], signal.SIGCONT)
        wait_until(lambda: found.curl("/health")[0] == 200, "it is well again")


def test_health_names_a_list_of_recipients_that_cannot_be_read(tmp_path: Path) -> None:
    recipients = tmp_path / "recipients"
    recipients.write_text("bob@example.org\n")
    more = f"accept: {{domains: [example.org], recipients: {recipients}}}\n"
    with house(tmp_path, free_port(), more) as found:
        assert found.curl("/health")[0] == 200
        recipients.write_text("no address at all\n")
        wait_until(lambda: found.curl("/health")[0] == 503, "it is noticed")
        (complaint,) = json.loads(found.curl("/health")[1])["complaints"]
        assert (complaint["about"], complaint["level"]) == ("file", "wrong")
        assert f"{recipients}:1" in complaint["what"]
        recipients.write_text("bob@example.org\neve@example.org\n")
        wait_until(lambda: found.curl("/health")[0] == 200, "it is well again")


def test_health_tells_of_a_reload_that_failed_whoever_is_asked(tmp_path: Path) -> None:
    """The parent has read the file, and the workers are asked how they do."""
    with house(tmp_path, free_port()) as found:

        def reloaded(text: str) -> None:
            found.relay.config.write_text(text)
            os.kill(found.relay.process.pid, signal.SIGHUP)

        good = found.relay.config.read_text()
        reloaded(f"{good}\nfoo: bar\n")
        wait_until(lambda: b"foo: unknown key" in found.curl("/health")[1], "it is told")
        assert json.loads(found.curl("/health")[1])["status"] == "warning"
        reloaded(good)
        wait_until(lambda: json.loads(found.curl("/health")[1])["status"] == "ok", "it is well again")


def test_who_dribbles_keeps_nobody_else_out(tmp_path: Path) -> None:
    """Slowloris: more connections than there may be, each with a request that never ends."""
    with house(tmp_path, free_port(), workers=1) as found:
        port = int(found.address.rpartition(":")[2])
        dribbling = [socket.create_connection(("127.0.0.1", port)) for _ in range(250)]
        try:
            for one in dribbling:
                with suppress(OSError):  # some are away already
                    one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            assert found.api("/status")["queue"]["messages"] == 0
        finally:
            for one in dribbling:
                one.close()


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_prometheus_reads_it_and_the_alerts_are_quiet(tmp_path: Path) -> None:
    with destination() as hop, house(tmp_path, hop.port) as found:
        found.send("bob@a.example")
        port = free_port()
        rules = Path(__file__).resolve().parent.parent.parent / "etc" / "prometheus" / "relay.rules.yml"
        config = tmp_path / "prometheus.yml"
        target = found.address.removeprefix("http://")
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{rules}]\n"
            f"scrape_configs: [{{job_name: relay, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        prometheus = House(found.relay, f"http://127.0.0.1:{port}")
        command = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/tsdb"]
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:

            def asked(query: str) -> list[Any]:
                try:
                    status, said = prometheus.curl("/api/v1/query", "-G", "--data-urlencode", f"query={query}")
                except subprocess.CalledProcessError:  # it is not up yet
                    return []
                return list(json.loads(said)["data"]["result"]) if status == 200 else []

            wait_until(lambda: asked("sum(relay_recipients_delivered_total) == 1"), "it has read the metrics")
            assert [one["value"][1] for one in asked('up{job="relay"}')] == ["1"]
            groups = json.loads(prometheus.curl("/api/v1/rules")[1])["data"]["groups"]
            rules_read = [rule for group in groups for rule in group["rules"]]
            assert len(rules_read) > 15
            wait_until(
                lambda: all(
                    rule["health"] == "ok"
                    for group in json.loads(prometheus.curl("/api/v1/rules")[1])["data"]["groups"]
                    for rule in group["rules"]
                ),
                "every rule was evaluated",
            )
            assert asked('ALERTS{alertstate="firing"}') == []
        finally:
            process.terminate()
            process.wait(30)


# -- webhooks --------------------------------------------------------------------------------------------------


@dataclass
class Receiver:
    """A web server that is told what became of mail; it checks each signature.

    status  what it answers
    """

    status: int = 204
    events: list[Any] = field(default_factory=list)
    forged: int = 0
    port: int = 0

    def told(self, fields: Any, body: bytes) -> None:
        signed = f"{fields['webhook-id']}.{fields['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
        if fields["webhook-signature"] != f"v1,{expected}":
            self.forged += 1
        if self.status == 204:
            self.events += json.loads(body)["data"]["events"]

    def kinds(self) -> list[tuple[str, str]]:
        return [(one["event"], one["id"]) for one in self.events]


@contextmanager
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.told(self.headers, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def hooks(folder: Path, port: int) -> str:
    secret = folder / "secret"
    secret.write_text(SECRET)
    events = "[accepted, delivered, deferred, failed]"
    return f"webhooks:\n  - {{url: 'http://127.0.0.1:{port}/', events: {events}, secret_file: {secret}}}\n"


def test_a_receiver_is_told_of_every_message_of_both_workers(tmp_path: Path) -> None:
    with destination() as hop, receiver() as told, house(tmp_path, hop.port, hooks(tmp_path, told.port)) as found:
        time.sleep(1.5)  # a new receiver is told of what comes once it is there
        ids = [found.submit(f"u{number}@a.example")["id"] for number in range(5)]
        for number in range(20):
            found.send(f"v{number}@a.example")
        wait_until(lambda: len(told.events) == 50, "all is told")
        assert told.forged == 0
        kinds = told.kinds()
        for one in ids:
            assert [kind for kind, of in kinds if of == one] == ["accepted", "delivered"]
        delivered = [one for one in told.events if one["event"] == "delivered"]
        assert len({one["recipient"] for one in delivered}) == 25
        assert len({one["event_id"] for one in told.events}) == 50
        (row,) = found.api("/webhooks")["webhooks"]
        assert (row["sent"], row["dropped"], row["error"]) == (50, 0, "")
        assert "50" in found.relay.command("webhooks").stdout


def test_what_a_dead_receiver_has_missed_is_told_after_a_restart_in_order(tmp_path: Path) -> None:
    with (
        destination() as hop,
        receiver() as told,
        house(tmp_path, hop.port, hooks(tmp_path, told.port), workers=1) as found,
    ):
        time.sleep(1.5)
        told.status = 503
        ids = [found.submit(f"u{number}@a.example")["id"] for number in range(10)]
        wait_until(lambda: len(hop.arrived) == 10, "mail does not wait for it")
        wait_until(lambda: found.api("/webhooks")["webhooks"][0]["error"] == "it answers 503", "it fails")
        found.relay.end()
        told.status = 204
        assert told.events == []
        again = found.again()
        try:
            wait_until(lambda: len(told.events) == 20, "all is told")
            for one in ids:
                assert [kind for kind, of in told.kinds() if of == one] == ["accepted", "delivered"]
            assert [of for kind, of in told.kinds() if kind == "accepted"] == ids
        finally:
            again.end()
