"""``relay explain`` against live mail: what it says is what a client on the wire hears, in a generated set of cases."""

from __future__ import annotations

import contextlib
import json
import random
import re
import smtplib
import socket
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiosmtpd.smtp import AuthResult

from relay.operate.together import Together
from relay.queue.ids import shard_of
from relay.smtp.replies import ReplyReader
from tests.fakes.dns_server import DnsServer
from tests.scenarios.peers import (
    Relay,
    destination,
    free_port,
    needs_root,
    running_relay,
    send_until_every_shard_has_mail,
    wait_until,
)
from tests.scenarios.secured import Papers

pytestmark = pytest.mark.endtoend

CASES_OF_EACH = 150
PASSWORD = "geheim"
TRUSTED, STRANGER = "127.0.0.1", "127.0.0.9"
SERVICES = ("relay", "submission", "submissions", "lmtp", "strict", "old")
SENDERS = ("ann@ours.example", "eve@else.example", "printer@lan", "<>", "änn@ours.example", "no address", "a@b..c")
RECIPIENTS = (
    ("bob@ours.example",),
    ("far@else.example",),
    ("nobody@ours.example", "bob@ours.example"),
    ("sales@ours.example",),
    ("moved@ours.example", "postmaster", "far@else.example"),
    ("bob%else.example@ours.example", "x@[192.0.2.1]"),
    ("bøb@ours.example", "sales@ours.example"),
    ("not an address", "far@lan"),
    ("a@one.sub.example", "b@sub.example", "c@else.example", "d@else.example", "e@else.example"),
)


@dataclass(frozen=True)
class Case:
    """One client with one message."""

    service: str
    client: str
    login: str
    tls: bool
    sender: str
    recipients: tuple[str, ...]
    size: int | None
    smtputf8: bool


def cases(services: tuple[str, ...], logins: tuple[str, ...]) -> list[Case]:
    """Some of all there are; the same ones every time."""
    every = product(
        services, (TRUSTED, STRANGER), logins, (False, True), SENDERS, RECIPIENTS, (None, 5_000, 500_000), (False, True)
    )
    return [Case(*one) for one in random.Random(3).sample(list(every), CASES_OF_EACH)]


class Client:
    """A client on the wire, which takes each reply as text."""

    def __init__(self, port: int, source: str, implicit: bool) -> None:
        self._socket: Any = socket.create_connection(("127.0.0.1", port), 20, (source, 0))
        if implicit:
            self.begin_tls()
        self._reader = ReplyReader()

    def begin_tls(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._socket = context.wrap_socket(self._socket)

    def reply(self) -> str:
        while (found := self._reader.next_reply()) is None:
            data = self._socket.recv(65536)
            assert data, "the relay has closed the connection"
            self._reader.feed(data)
        return str(found)

    def say(self, line: str) -> str:
        self._socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def close(self) -> None:
        self._socket.close()


def lived(port: int, case: Case, password: str = PASSWORD) -> list[tuple[str, str]]:
    """What a client hears: (which step, reply)."""
    with contextlib.closing(Client(port, case.client, case.service == "submissions")) as client:
        heard = [("connection", client.reply())]
        hello = f"{'LHLO' if case.service == 'lmtp' else 'EHLO'} client.example"
        heard.append(("hello", client.say(hello)))
        if case.tls and case.service != "submissions":
            heard.append(("tls", client.say("STARTTLS")))
            if not heard[-1][1].startswith("2"):
                return heard
            client.begin_tls()
            heard.append(("hello", client.say(hello)))
        if case.login:
            initial = b64encode(f"\0{case.login}\0{password}".encode()).decode()
            heard.append(("login", client.say(f"AUTH PLAIN {initial}")))
            if not heard[-1][1].startswith("2"):
                return heard
        size = f" SIZE={case.size}" if case.size is not None else ""
        utf8 = " BODY=8BITMIME SMTPUTF8" if case.smtputf8 else ""
        heard.append(("sender", client.say(f"MAIL FROM:<{case.sender.strip('<>')}>{size}{utf8}")))
        if not heard[-1][1].startswith("2"):
            return heard
        heard += [("recipient", client.say(f"RCPT TO:<{one}>")) for one in case.recipients]
        if any(what == "recipient" and reply.startswith("2") for what, reply in heard):
            client.say("DATA")
            heard.append(("content", without_id(client.say("Subject: x\r\n\r\nx\r\n."))))
        return heard


def explained(control: Together, endpoint: str, case: Case) -> list[tuple[str, str]]:
    """What an explanation says that a client would hear."""
    rows = control.ask(
        "explain",
        listener=endpoint,
        client=case.client,
        helo="client.example",
        login=case.login or None,
        tls=case.tls,
        sender=case.sender,
        recipients=list(case.recipients),
        size=case.size,
        smtputf8=case.smtputf8,
    )
    said = [row for row in rows if row["part"] == "in" and row["reply"]]
    for row in said:
        positive = row["reply"][0] in "23"
        assert (row["decision"] == "accepted") == positive, row
        assert positive or (row["rule"] and row["remedy"]), f"a refusal that helps nobody: {row}"
    return [(row["what"], without_id(row["reply"]) if row["what"] == "content" else row["reply"]) for row in said]


def without_id(reply: str) -> str:
    return reply.rpartition(" ")[0] if reply.startswith("250") else reply


def configuration(folder: Path, papers: Papers, ports: dict[str, int], users: bool) -> str:
    (folder / "recipients").write_text("bob@ours.example\nann@ours.example\n@sub.example\nbøb@ours.example\n")
    (folder / "users").write_text(
        f"ann@ours.example:{{PLAIN}}{PASSWORD}\n"
        f"printer:{{PLAIN}}{PASSWORD}::::::senders=printer@lan,.else.example\n"
        f"off@ours.example:{{PLAIN}}{PASSWORD}::::::nologin\n"
        f"home@ours.example:{{PLAIN}}{PASSWORD}::::::allow_nets=192.0.2.0/24\n"
    )
    at = {name: f"tcp:{port}:interface=127.0.0.1" for name, port in ports.items()}
    listen = [
        {"endpoint": at["relay"]},
        {"endpoint": at["submission"], "service": "submission"},
        *([{"endpoint": at["submissions"], "service": "submissions"}] if users else []),
        {"endpoint": at["lmtp"], "service": "lmtp"},
        {"endpoint": at["strict"], "tls": "required" if users else "offered", "login": "required" if users else None},
        {"endpoint": at["old"], "service": "submission", "tls": "none", "login_without_tls": True},
    ]
    accept: dict[str, Any] = {
        "networks": [f"{TRUSTED}/32"],
        "domains": ["ours.example", ".sub.example"],
        "message_size": 100_000,
        "max_recipients": 3,
    }
    if users:
        accept |= {"recipients": str(folder / "recipients"), "users": str(folder / "users")}
    config: dict[str, Any] = {
        "listen": [{key: value for key, value in one.items() if value is not None} for one in listen],
        "accept": accept,
        "forward": {
            "sales@ours.example": ["ann@else.example", "änn@else.example"] if users else ["ann@else.example"],
            "moved@ours.example": {"refer": "gone@else.example"},
            "@one.sub.example": "ann@else.example",
        },
        "tell": {"forwarding": "anybody" if users else "nobody"},
        "limits": {"failed_logins": 1000, "forget_failed_login": "1s"},
        "routes": [{"to": "*", "via": "discard:"}],
    }
    if users:
        config["tls"] = [{"certificate": str(papers.relay)}]
    return yaml.safe_dump(config, allow_unicode=True)


@dataclass
class World:
    relay: Relay
    ports: dict[str, int]

    def endpoint(self, case: Case) -> str:
        return f"tcp:{self.ports[case.service]}:interface=127.0.0.1"

    def agree(self, wanted: list[Case]) -> set[str]:
        """Explains each, and does it; gives all that was heard."""
        heard: set[str] = set()
        with Together(self.relay.spool) as control:
            for case in wanted:
                said = explained(control, self.endpoint(case), case)
                assert said == lived(self.ports[case.service], case), case
                heard.update(reply for _, reply in said)
        return heard


def kinds(heard: set[str]) -> set[str]:
    """Code and enhanced code, of all but EHLO's."""
    return {reply[:10] for reply in heard if not reply.startswith("250 relay.test")}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, World]]:
    """With users and a certificate, and without."""
    with ExitStack() as stack:
        made: dict[bool, World] = {}
        for users in (True, False):
            folder = tmp_path_factory.mktemp("users" if users else "plain")
            papers = Papers.issued(folder / "papers")
            ports = {name: free_port() for name in SERVICES}
            text = configuration(folder, papers, ports, users)
            relay = stack.enter_context(running_relay(folder, text, ports["relay"]))
            made[users] = World(relay, ports)
        yield made


def test_with_users_and_tls_what_is_explained_is_what_is_heard(worlds: dict[bool, World]) -> None:
    heard = worlds[True].agree(cases(SERVICES, ("", "ann@ours.example", "printer")))
    assert len(kinds(heard)) >= 20, "the cases tell little"


def test_without_them_too(worlds: dict[bool, World]) -> None:
    heard = worlds[False].agree(cases(tuple(one for one in SERVICES if one != "submissions"), ("", "ann@ours.example")))
    assert len(kinds(heard)) >= 13, "the cases tell little"


@pytest.mark.parametrize("login", ["nobody", "off@ours.example", "home@ours.example"])
def test_a_login_that_is_refused_is_refused_alike(worlds: dict[bool, World], login: str) -> None:
    case = Case("old", STRANGER, login, False, SENDERS[0], RECIPIENTS[0], None, False)
    worlds[True].agree([case])


# -- the command line -----------------------------------------------------------------------------------------


def rows_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_nothing_is_changed_by_asking(worlds: dict[bool, World]) -> None:
    """No step, no count, no line of the log, nothing in the queue."""
    relay = worlds[True].relay

    def state() -> object:
        status = json.loads(relay.command("status", "--json").stdout)
        return status["steps"], status["queue"], status["destinations"], relay.said()

    before = state()
    for arguments in (
        ("--to", "bob@ours.example"),
        ("--client", STRANGER, "--to", "far@else.example", "--login", "nobody"),
    ):
        relay.command("explain", *arguments, check=False)
    assert state() == before


def test_the_exit_code_says_what_would_become_of_it(worlds: dict[bool, World]) -> None:
    relay = worlds[False].relay
    codes = [
        relay.command("explain", *arguments, check=False).returncode
        for arguments in (
            ("--to", "bob@ours.example"),
            ("--client", STRANGER, "--to", "far@else.example"),
            ("--to", "a@else.example", "--to", "b@else.example", "--to", "c@else.example", "--to", "d@else.example"),
            (),
            ("--to", "bob@ours.example", "--listener", "tcp:1"),
            ("no-such-message",),
        )
    ]
    assert codes == [0, 1, 75, 64, 65, 65]


def test_another_file_than_the_relay_has_read_is_explained_by_itself(worlds: dict[bool, World]) -> None:
    relay = worlds[False].relay
    newer = relay.config.with_name("newer.yaml")
    newer.write_text(relay.config.read_text().replace("127.0.0.1/32", "192.0.2.0/24"), encoding="utf-8")
    asked = ("explain", "--to", "far@else.example", "--json")
    first = rows_of(relay.command(*asked).stdout)[0]
    assert (first["place"], first["details"]["running"]) == (str(relay.config), True)
    script = [Path(sys.executable).parent / "relay", *asked, "--config", newer]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    rows = rows_of(done.stdout)
    assert (done.returncode, rows[0]["place"], rows[0]["details"]["running"]) == (1, str(newer), False)
    line = newer.read_text().splitlines().index("  networks:") + 1
    assert [row["place"] for row in rows if row["decision"] == "refused"] == [f"{newer}:{line}"] * 2
    dry = rows_of(relay.command(*asked, "--dry").stdout)
    assert (dry[0]["details"]["running"], dry[-1]["decision"]) == (False, "accepted")


def test_a_file_of_no_relay_at_all(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text("spool: spool\naccept: {domains: [ours.example]}\n", encoding="utf-8")
    script = [Path(sys.executable).parent / "relay", "explain", "--config", "relay.yaml", "--to", "bob@[192.0.2.1]"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no relay is asked" in done.stdout
    assert [one.name for one in tmp_path.iterdir()] == ["relay.yaml"]


def test_workers_answer_as_one(tmp_path: Path) -> None:
    dead = free_port()
    config = (
        "workers: 2\naccept: {networks: [127.0.0.0/8]}\n"
        f"routes:\n  - {{to: down.example, via: 'smtp://127.0.0.1:{dead}'}}\n"
    )
    with running_relay(tmp_path, config) as relay:
        names = send_until_every_shard_has_mail(relay, 2, "down.example")
        wait_until(lambda: "connection refused" in relay.command("queue", "list", "--json").stdout, "an attempt")
        ids = [row["id"] for row in rows_of(relay.command("queue", "list", "--json").stdout)]
        for one in (min(ids, key=shard_of), max(ids, key=shard_of)):
            rows = rows_of(relay.command("explain", one, "--json").stdout)
            assert rows[0]["about"] == one
            (recipient,) = (row for row in rows if row["what"] == "recipient")
            assert recipient["details"]["state"] == "waiting"
            assert recipient["details"]["destination"] == f"smtp:[127.0.0.1]:{dead}"
        rows = rows_of(relay.command("explain", "--to", "x@down.example", "--json").stdout)
        (destination,) = (row for row in rows if row["what"] == "destination")
        assert destination["details"]["waiting"] == len(names)
        (summed,) = json.loads(relay.command("status", "--json").stdout)["destinations"]
        assert destination["details"]["window"] == summed["window"]


def test_a_probe_shows_the_dialogue_and_the_certificate_and_no_secret(tmp_path: Path) -> None:
    papers = Papers.issued(tmp_path / "papers")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.relay)
    secret = tmp_path / "secret"
    secret.write_text("sehr geheim\n", encoding="utf-8")
    logins: list[bytes] = []

    def authenticate(server: object, session: object, envelope: object, mechanism: str, data: Any) -> AuthResult:
        logins.append(data.password)
        return AuthResult(success=data.password == b"sehr geheim", handled=False)

    with destination(tls_context=context, authenticator=authenticate, auth_required=True) as hop:
        hop.refuse["eve@else.example"] = "550 5.1.1 Nobody here"
        config = (
            f"routes:\n  - {{to: '*', via: 'smtp://127.0.0.1:{hop.port}', user: me, password_file: {secret}, "
            f"authorities: {papers.ca}}}\n"
        )
        with running_relay(tmp_path / "relay", config) as relay:
            asked = ("explain", "--probe", "--from", "ann@ours.example", "--to", "bob@else.example")
            done = relay.command(*asked)
            refused = relay.command(*asked, "--to", "eve@else.example", check=False)
            told = rows_of(relay.command(*asked, "--json").stdout)
            assert logins == [b"sehr geheim"] * 3
            secret.write_text("veraltet\n", encoding="utf-8")
            kept_out = relay.command(*asked, check=False)
        assert kept_out.returncode == 75 and "< 535" in kept_out.stdout and "veraltet" not in kept_out.stdout
        assert f"-> look at the user of its route (me) and at the password ({secret})" in kept_out.stdout
        assert not hop.arrived
    assert "TLSv1.3" in done.stdout and "certificate of relay.test" in done.stdout
    assert "> AUTH PLAIN ..." in done.stdout and "< 235" in done.stdout
    assert "> RCPT TO:<bob@else.example>" in done.stdout and "> QUIT" in done.stdout
    assert not re.search(r"> (DATA|BDAT)", done.stdout + refused.stdout)
    assert (refused.returncode, "550 5.1.1 Nobody here" in refused.stdout) == (1, True)
    for output in (done.stdout, refused.stdout, json.dumps(told)):
        assert "geheim" not in output
        assert b64encode(b"\0me\0sehr geheim").decode() not in output
    (host,) = (row for row in told if row["part"] == "probe" and row["what"] == "host")
    assert host["details"]["tls"]["is_known"]
    assert "127.0.0.1" in host["details"]["tls"]["certificate"]["names"]


def test_the_probe_goes_by_mx_and_its_limits_are_nobody_elses(tmp_path: Path) -> None:
    """With one connection allowed in all, which a delivery holds, a probe still comes through."""
    needs_root()
    with DnsServer() as dns, destination(25, "127.0.0.31") as hop:
        dns.mx("else.example", (10, "mx.else.example"), (20, "mx2.else.example"))
        dns.a("mx.else.example", "127.0.0.31")
        dns.a("mx2.else.example", "127.0.0.32")
        config = (
            f"dns: {{servers: ['{dns.text}'], unreachable: [], timeout: 2s, ipv6: false}}\n"
            "delivery: {connections: 1, idle: 60s}\n"
        )
        with running_relay(tmp_path, config) as relay:
            with smtplib.SMTP("127.0.0.1", relay.port) as client:
                client.sendmail("ann@ours.example", ["bob@else.example"], "Subject: x\r\n\r\nx\r\n")
            wait_until(lambda: hop.arrived, "the message")
            rows = rows_of(relay.command("explain", "--to", "eve@else.example", "--probe", "--json").stdout)
    assert [row["about"] for row in rows if row["what"] == "host" and row["part"] == "out"] == [
        "mx.else.example:25",
        "mx2.else.example:25",
    ]
    assert [(row["about"], row["decision"]) for row in rows if row["part"] == "probe"] == [
        ("mx.else.example:25", "accepted"),
        ("eve@else.example", "accepted"),
    ]
