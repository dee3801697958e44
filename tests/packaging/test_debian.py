"""The Debian package: built from the checkout, installed in a plain root, and used there as people and programs do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay import __version__
from tests.packaging.conftest import CHECKOUT
from tests.packaging.plain_root import PlainRoot, Running

RECIPE = CHECKOUT / "etc/debian"
CATCH = [sys.executable, str(Path(__file__).with_name("catch.py")), "2599"]
NOBODY = "65534:65534"
LETTER = "Subject: from a program\n\nIt works.\n"
ROUTES = '\nroutes: [{to: "*", via: "smtp://127.0.0.1:2599"}]\n'


# -- what needs no root -----------------------------------------------------------------------


def test_the_version_is_ours() -> None:
    first = (RECIPE / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"relay ({__version__}) ")


@pytest.mark.parametrize("script", ["build", "relay.postinst", "relay.prerm", "relay.postrm"])
def test_scripts_are_good_shell(script: str) -> None:
    assert subprocess.run(["sh", "-n", RECIPE / script], check=False).returncode == 0


# -- what is done, in truth --------------------------------------------------------------------


@pytest.fixture(scope="module")
def packages(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [one for one in ("dpkg-buildpackage", "dh") if shutil.which(one) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("packages")
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": "/dev/null",
    }
    done = subprocess.run(
        [RECIPE / "build", folder], env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def install(root: PlainRoot, *names: str) -> None:
    root.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *names)


@pytest.fixture(scope="module")
def machine(plain_root: PlainRoot, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> PlainRoot:
    root = plain_root.copy(tmp_path_factory.mktemp("machine") / "root")
    for package in packages.glob("*.deb"):
        shutil.copy(package, root.folder / "tmp" / re.sub(r"_.*", ".deb", package.name))
    root.run("apt-get", "update", "-qq")
    install(root, "/tmp/relay.deb")
    return root


def lines_of_unit(root: PlainRoot, key: str) -> list[list[str]]:
    unit = (root.folder / "lib/systemd/system/relay.service").read_text()
    return [line.lstrip("+").split() for line in re.findall(rf"^{key}=(.*)", unit, re.MULTILINE)]


@pytest.fixture
def service(machine: PlainRoot, tmp_path: Path) -> Iterator[Running]:
    """Started as systemd would, but for what systemd locks away."""
    config = machine.folder / "etc/relay/relay.yaml"
    as_shipped = config.read_text()
    config.write_text(as_shipped + ROUTES)
    for command in lines_of_unit(machine, "ExecStartPre"):
        machine.run(*command)
    ((program, *arguments),) = lines_of_unit(machine, "ExecStart")
    running = machine.start(program, *arguments, log=tmp_path / "log")
    until = time.monotonic() + 60
    while running.within("relay", "status", "--json").returncode != 0:
        assert time.monotonic() < until and running.process.poll() is None, running.log.read_text()
        time.sleep(0.5)
    yield running
    running.kill()
    config.write_text(as_shipped)


@pytest.mark.slow
@pytest.mark.endtoend
def test_a_program_sends_mail_on_a_machine_that_has_it(machine: PlainRoot, service: Running) -> None:
    """By sendmail(1), as a user whom nobody trusts, and by SMTP."""
    sending = machine.command(["sh", "-c", f"printf '%s' '{LETTER}' | /usr/sbin/sendmail ann@example.net"], user=NOBODY)
    caught = service.beside(*CATCH, "1", *sending)
    assert caught.returncode == 0, caught.stderr + service.log.read_text()
    message = json.loads(caught.stdout)
    assert message["recipients"] == ["ann@example.net"]
    assert "It works." in message["content"]
    assert "(nobody)" in message["content"]
    assert "Mail queue is empty" in service.within("mailq").stdout
    process = Path(f"/proc/{service.process.pid}/status").read_text()
    uid = machine.run("id", "-u", "relay").strip()
    assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", process, re.MULTILINE), "it is still root"
    assert service.stop() == 0, service.log.read_text()


@pytest.mark.slow
@pytest.mark.endtoend
def test_what_is_where(machine: PlainRoot) -> None:
    def mode(path: str) -> str:
        return machine.run("stat", "-c", "%A %U:%G", path).strip()

    assert mode("/var/spool/relay") == "drwx------ relay:relay"
    assert mode("/var/spool/relay-maildrop") == "drwx-ws-wt relay:relay"
    assert mode("/etc/relay/relay.yaml") == "-rw-r--r-- root:root"
    assert "/etc/relay/relay.yaml" in machine.run("cat", "/var/lib/dpkg/info/relay.conffiles")
    assert machine.run("relay", "check").endswith("/etc/relay/relay.yaml: good\n")
    assert machine.run("relay", "--version") == f"relay, version {__version__}\n"
    assert machine.run("sh", "-c", "ls /usr/lib/relay/bin | grep -v '^python\\|^twist'") == "relay\n"
    where_it_was_made = "grep -rlI /tmp/tmp /usr/lib/relay/bin /usr/lib/relay/pyvenv.cfg || true"
    assert machine.run("sh", "-c", where_it_was_made) == ""
    for name in ("usr/share/man/man1/relay.1.gz", "usr/share/man/man5/relay.yaml.5.gz"):
        assert (machine.folder / name).exists()


@pytest.mark.slow
@pytest.mark.endtoend
def test_another_mail_server_keeps_its_names_until_it_goes(
    plain_root: PlainRoot, machine: PlainRoot, tmp_path: Path
) -> None:
    root = machine.copy(tmp_path / "root")
    links = ("/usr/sbin/sendmail", "/usr/bin/mailq")

    def whose() -> list[str]:
        return [root.run("readlink", "-f", link).strip() for link in links]

    assert whose() == ["/usr/lib/relay/bin/relay"] * 2
    install(root, "msmtp-mta")
    assert whose()[0] == "/usr/bin/msmtp"
    root.run("apt-get", "install", "-y", "-qq", "--reinstall", "/tmp/relay.deb")
    assert whose()[0] == "/usr/bin/msmtp"
    root.run("apt-get", "purge", "-y", "-qq", "msmtp-mta")
    assert whose() == ["/usr/lib/relay/bin/relay"] * 2
    install(root, "/tmp/relay-mta.deb", "bsd-mailx")
    assert "exim4" not in root.run("dpkg-query", "-W", "-f", "${Package} ")
    root.run("apt-get", "remove", "-y", "-qq", "relay")
    assert root.run("sh", "-c", "ls /usr/sbin/sendmail /usr/bin/mailq 2>/dev/null || true") == ""
    assert (root.folder / "var/spool/relay").exists()
    root.run("apt-get", "purge", "-y", "-qq", "relay")
    for gone in ("var/spool/relay", "var/spool/relay-maildrop", "etc/relay", "usr/lib/relay", "usr/bin/relay"):
        assert not (root.folder / gone).exists(), gone
    assert "relay" not in (root.folder / "etc/passwd").read_text()
