"""A provider that is not ours: Postfix with TLS, which asks Dovecot who may log in."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.authority import issue
from tests.scenarios.peers import free_port, greets, needs_root, program, wait_until

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


@contextmanager
def running_provider() -> Iterator[Provider]:
    needs_root()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-")))
        folder.chmod(0o777)
        auth = stack.enter_context(dovecot(folder / "dovecot"))
        yield stack.enter_context(postfix(folder, auth, issue(NAME, "127.0.0.1").write(folder)))
