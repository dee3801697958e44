"""What is shipped in etc/ and docs/ works, and is about this version."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from relay.operate.config import load
from relay.operate.faults import every_key
from relay.operate.places import dotted
from relay.operate.reference import reference
from relay.operate.settings import Settings
from relay.operate.users.file import read_users
from relay.operate.users.passwords import is_right

ROOT = Path(__file__).resolve().parent.parent.parent
ETC = ROOT / "etc"


@pytest.mark.parametrize("path", sorted(ETC.glob("**/relay.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_configuration_in_etc_loads_without_a_warning(path: Path) -> None:
    """The name of the machine that the test runs on is not the file's fault."""
    assert [one for one in load(path).warnings if one.path != "hostname"] == []


def test_the_example_with_everything_switched_on_loads_too(tmp_path: Path) -> None:
    """A line that is commented out is believed as well."""
    _, _, body = (ETC / "relay.yaml").read_text(encoding="utf-8").partition("\nhostname:")
    body = re.sub(r"(?m)^( *)# ", r"\1", body)
    for name in set(re.findall(r"/etc/relay/([\w.-]+)", body)):
        (tmp_path / name).touch()
    body = body.replace("/etc/relay/", f"{tmp_path}/")
    (tmp_path / "relay.yaml").write_text("hostname:" + body, encoding="utf-8")
    config = load(tmp_path / "relay.yaml")
    assert len(config.listen) == 6
    assert config.tls and config.accept.users and config.accept.tokens and config.accept.certificates
    assert config.routes and config.forward and config.directory and config.dns.servers and config.log.file


def test_the_example_of_users_is_one() -> None:
    users = read_users(ETC / "users.example")
    assert set(users.users) == {"ann@example.org", "bob@example.org", "printer"}
    assert all(is_right(user.secret, "geheim") and not is_right(user.secret, "Geheim") for user in users.users.values())


def test_every_key_stands_in_the_example() -> None:
    text = (ETC / "relay.yaml").read_text(encoding="utf-8")
    for path in every_key(Settings):
        assert re.search(rf"(?m)(^[# ]*|[{{,] ?|- ){re.escape(str(path[-1]))}:", text), dotted(path)


def test_the_reference_is_the_one_written_from_the_settings() -> None:
    """python -m relay.operate.reference > docs/configuration.md"""
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == reference()


def test_every_key_stands_in_the_reference_with_what_it_means() -> None:
    page = reference()
    for path in every_key(Settings):
        (line,) = [line for line in _section(page, path[:-1]).splitlines() if line.startswith(f"| `{path[-1]}` |")]
        assert len(line.split("|")[-2].strip()) > 10, dotted(path)


def _section(page: str, path: tuple[str | int, ...]) -> str:
    if not path:
        return page.split("\n## The file\n")[1].split("\n## ")[0]
    name = r"(?:\[\]|\.NAME)?\.".join(re.escape(str(step)) for step in path)
    (found,) = re.findall(rf"\n## {name}(?:\[\]|\.NAME)?\n(.*?)(?=\n## |\Z)", page, re.DOTALL)
    return str(found)


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have case
    parser.read(ETC / name, encoding="utf-8")
    return parser


def test_the_unit_and_the_configuration_agree() -> None:
    service, socket = unit("relay.service")["Service"], unit("relay.socket")["Socket"]
    assert service["ExecStart"].endswith("relay run --config /etc/relay/relay.yaml")
    assert service["Type"] == "notify"
    text = (ETC / "relay.yaml").read_text(encoding="utf-8") + (ETC / "relay.service").read_text(encoding="utf-8")
    assert f"systemd:domain=INET6:name={socket['FileDescriptorName']}" in text
    config = load(ETC / "relay.yaml")
    assert str(config.spool).startswith(service["ReadWritePaths"])
    prepared = (ETC / "relay.service").read_text(encoding="utf-8")
    assert f"install -d -m 3733 -o {config.user} -g {config.user} {config.sendmail.maildrop}\n" in prepared
    assert str(config.sendmail.maildrop).startswith(service["ReadWritePaths"])
    assert float(service["TimeoutStopSec"].removesuffix("s")) > config.timeouts.shutdown_s
    for capability in ("CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"):
        assert capability in service["CapabilityBoundingSet"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name in ("relay.service", "relay.socket"):
        text = (ETC / name).read_text(encoding="utf-8").replace("/usr/local/bin/relay", "/bin/true")
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "relay.service", tmp_path / "relay.socket"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
