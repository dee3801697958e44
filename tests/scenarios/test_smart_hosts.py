"""A provider that is not ours: Postfix with TLS, which asks Dovecot who may log in."""

from __future__ import annotations

import json
import re
import smtplib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.authority import authority_file, issue
from tests.scenarios.peers import Relay, free_port, greets, needs_root, program, running_relay, wait_until

pytestmark = pytest.mark.endtoend

NAME = "localhost"
ANN, PASSWORD = "ann@provider.example", "geheim, mit = und ü"


@dataclass
class Provider:
    """ports  by what they are: ``starttls``, ``tls`` from the first octet"""

    folder: Path
    ports: dict[str, int]

    def sets_password(self, password: str) -> None:
        """Ann's password is this one from now on."""
        write_users(self.folder / "dovecot" / "users", password)

    def arrived(self) -> list[str]:
        return [file.read_text(encoding="utf-8") for file in (self.folder / "mail").rglob("new/*")]

    def log(self) -> str:
        return (self.folder / "postfix.log").read_text(encoding="utf-8", errors="replace")


@contextmanager
def dovecot(folder: Path) -> Iterator[int]:
    """Dovecot's auth service alone; gives its port."""
    port = free_port()
    folder.mkdir()
    users = folder / "users"
    write_users(users, PASSWORD)
    config = folder / "dovecot.conf"
    config.write_text(
        f"""
base_dir = {folder}/run
log_path = {folder}/log
protocols =
ssl = no
auth_mechanisms = plain login cram-md5 scram-sha-256
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
passdb {{
  driver = passwd-file
  args = username_format=%u {users}
}}
service auth {{
  chroot =
  inet_listener {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
""",
        encoding="utf-8",
    )
    with (folder / "out").open("wb") as out:
        server = subprocess.Popen([program("dovecot"), "-F", "-c", config], stdout=out, stderr=out)
    try:
        wait_until(lambda: listens(port) or server.poll() is not None, "Dovecot listens")
        assert server.poll() is None, (folder / "out").read_text() + (folder / "log").read_text()
        yield port
    finally:
        server.terminate()
        server.wait(20)


def write_users(path: Path, password: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(f"{ANN}:{{PLAIN}}{password}::::::\n", encoding="utf-8")
    beside.chmod(0o644)
    beside.replace(path)


def listens(port: int) -> bool:
    """Whether somebody listens there, without talking to him."""
    local = f"0100007F:{port:04X}"
    rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return any(row.split()[1] == local and row.split()[3] == "0A" for row in rows)


@contextmanager
def postfix(folder: Path, auth: int, certificate: tuple[Path, Path]) -> Iterator[Provider]:
    """A provider's Postfix: who logs in may send, nobody else."""
    command = program("postfix")
    ports = {"starttls": free_port(), "tls": free_port()}
    config, mail, data = folder / "etc", folder / "mail", folder / "data"
    for each in (config, folder / "queue", mail, data):
        each.mkdir()
    mail.chmod(0o777)
    subprocess.run(["chown", "postfix", data], check=True)
    (config / "main.cf").write_text(
        f"""
queue_directory = {folder}/queue
data_directory = {data}
compatibility_level = 3.6
maillog_file = /dev/stdout
maillog_file_prefixes = /dev, /var
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = provider.test
mydestination =
mynetworks = 192.0.2.0/24
virtual_mailbox_domains = elsewhere.example
virtual_mailbox_base = {mail}
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_tls_chain_files = {certificate[1]}, {certificate[0]}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_loglevel = 1
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{auth}
smtpd_sasl_authenticated_header = yes
smtpd_tls_received_header = yes
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
""",
        encoding="ascii",
    )
    services = Path("/etc/postfix/master.cf").read_text(encoding="ascii")
    kept = [line for line in services.splitlines() if not line.startswith("smtp ")]
    listeners = [
        f"127.0.0.1:{ports['starttls']} inet n - n - - smtpd",
        f"127.0.0.1:{ports['tls']} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes",
    ]
    (config / "master.cf").write_text("\n".join([*listeners, *kept]) + "\n", encoding="ascii")
    with (folder / "postfix.log").open("wb") as log:
        server = subprocess.Popen([command, "-c", config, "start-fg"], stdout=log, stderr=log)
    try:
        wait_until(lambda: greets(ports["starttls"]), "Postfix answers")
        yield Provider(folder, ports)
    finally:
        subprocess.run([command, "-c", config, "stop"], check=False, capture_output=True)
        server.wait(20)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    needs_root()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-")))
        folder.chmod(0o777)
        auth = stack.enter_context(dovecot(folder / "dovecot"))
        yield stack.enter_context(postfix(folder, auth, issue(NAME, "127.0.0.1").write(folder)))


@pytest.fixture(autouse=True)
def nothing_arrived(provider: Provider) -> None:
    for file in (provider.folder / "mail").rglob("new/*"):
        file.unlink()


def route(folder: Path, via: str, *lines: str, password: str = PASSWORD, host: str = NAME) -> str:
    """A configuration that sends everything to the provider."""
    secret = folder / "password"
    secret.write_text(password + "\n", encoding="utf-8")
    authorities = authority_file(folder)
    usual = [f"via: {via}", f"user: {ANN}", f"password_file: {secret}", f"authorities: {authorities}"]
    kept = [line for line in usual if line.partition(":")[0] not in [each.partition(":")[0] for each in lines]]
    return "routes:\n  - to: '*'\n" + "".join(f"    {line}\n" for line in (*kept, *lines))


def send(relay: Relay) -> None:
    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        letter = "Subject: a letter\r\n\r\nHello\r\n"
        assert client.sendmail("ann@client.example", ["bob@elsewhere.example"], letter) == {}


@pytest.mark.parametrize("mechanism", ["", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_provider_lets_us_in(provider: Provider, tmp_path: Path, mechanism: str) -> None:
    more = [f"mechanisms: [{mechanism}]"] if mechanism else []
    config = route(tmp_path, f"smtp://{NAME}:{provider.ports['starttls']}", *more)
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(provider.arrived, f"the message at the provider: {relay.said()}")
        (text,) = provider.arrived()
        assert f"(Authenticated sender: {ANN})" in text
        assert re.search(r"\(using TLSv1\.[23] with cipher", text)
        assert "with ESMTPSA id" in text
        used = re.findall(r"sasl_method=([\w-]+)", provider.log())
        assert used[-1] == (mechanism or "SCRAM-SHA-256")
        assert PASSWORD not in relay.said()


def test_tls_from_the_first_octet(provider: Provider, tmp_path: Path) -> None:
    """RFC 8314."""
    config = route(tmp_path, f"smtps://{NAME}:{provider.ports['tls']}")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(provider.arrived, f"the message at the provider: {relay.said()}")


def test_a_wrong_password_keeps_the_mail_and_says_so_loudly(provider: Provider, tmp_path: Path) -> None:
    """OpenSMTPD #64, #65: an expired password must not bounce the queue."""
    config = route(tmp_path, f"smtp://{NAME}:{provider.ports['starttls']}", password="wrong")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(lambda: "the login was refused" in relay.said(), "a loud line")
        wait_until(lambda: "535" in relay.command("status", "--json").stdout, "the destination's last error")
        assert '"messages": 1' in relay.command("status", "--json").stdout
        assert relay.said().count("the login was refused") == 1
        assert not provider.arrived()
        (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
        relay.command("queue", "flush")
        wait_until(provider.arrived, "the message, once the password is right")


def test_a_password_that_is_changed_under_way_and_back_loses_nothing(provider: Provider, tmp_path: Path) -> None:
    """The destination rests, mail stays, one loud line, the status shows it, nothing bounces; then all of it goes."""
    config = "delivery: {idle: 1s}\n" + route(tmp_path, f"smtp://{NAME}:{provider.ports['starttls']}")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(lambda: len(provider.arrived()) == 1, "the first message")
        wait_until(
            lambda: "disconnect from localhost" in provider.log().rpartition("sasl_method")[2], "an idle session"
        )
        before = provider.log().count("authentication failed")
        provider.sets_password("another one")
        try:
            for _ in range(3):
                send(relay)
            wait_until(lambda: "the login was refused" in relay.said(), "a loud line")
            wait_until(lambda: destination(relay).get("resting_until"), "the destination's rest")
            told = destination(relay)
            assert "535" in told["error"] and told["waiting"] == 3
            assert "535" in relay.command("status").stdout, "a person sees it too"
            refused = provider.log().count("authentication failed")
            assert refused == before + 1, "who knows that it is wrong does not try it for each message"
            relay.command("queue", "flush")
            wait_until(lambda: provider.log().count("authentication failed") > refused, "another try")
            assert relay.said().count("the login was refused") == 1
            steps = json.loads(relay.command("status", "--json").stdout)["steps"]
            assert (steps["failed"], steps["reported"], steps["delivered"]) == (0, 0, 1)
            assert len(provider.arrived()) == 1
        finally:
            provider.sets_password(PASSWORD)
        relay.command("queue", "flush")
        wait_until(lambda: len(provider.arrived()) == 4, f"all of it: {relay.said()}")
        assert json.loads(relay.command("status", "--json").stdout)["queue"]["messages"] == 0


def destination(relay: Relay) -> dict[str, Any]:
    """The one destination, as the status shows it."""
    (row,) = json.loads(relay.command("status", "--json").stdout)["destinations"]
    return dict(row)


@pytest.mark.parametrize("level", ["verify", "verify-system"])
def test_no_password_for_who_is_not_the_provider(provider: Provider, tmp_path: Path, level: str) -> None:
    """The certificate is for localhost; we look for another name, or do not know the authority."""
    port = provider.ports["starttls"]
    if level == "verify":
        config = route(tmp_path, f"smtp://other.localhost:{port}")
    else:
        config = route(tmp_path, f"smtp://{NAME}:{port}")
        config = "".join(line + "\n" for line in config.splitlines() if "authorities" not in line)
    before = provider.log().count("sasl_")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(lambda: '"attempts": 1' in relay.command("queue", "list", "--json").stdout, "the first attempt")
        assert not provider.arrived()
        assert provider.log().count("sasl_") == before


def test_fail_over_to_the_second_host(provider: Provider, tmp_path: Path) -> None:
    port = provider.ports["starttls"]
    config = route(tmp_path, f"[smtp://{NAME}:{free_port()}, smtp://{NAME}:{port}]")
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(provider.arrived, "the message at the second host")


def test_each_sender_by_his_own_account(provider: Provider, tmp_path: Path) -> None:
    """``from:`` in a route; a connection of one is not used for another."""
    port = provider.ports["starttls"]
    config = route(tmp_path, f"smtp://{NAME}:{port}", "from: client.example")
    config += "  - to: '*'\n    via: reject:550 5.7.1 No account for this sender\n"
    with running_relay(tmp_path / "r", config) as relay:
        send(relay)
        wait_until(provider.arrived, "the message of the sender with an account")
