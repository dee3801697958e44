"""The recipes of the documents pass ``relay check`` as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.operate.cli import exit_code
from relay.operate.config import load
from relay.operate.rules import login_of, route_table, security_of

RSA = (
    rsa.generate_private_key(65537, 2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode("ascii")
)
PAIR = trustme.CA().issue_cert("relay.example.org")
ROOT = Path(__file__).resolve().parent.parent.parent


def recipes() -> list[tuple[str, str]]:
    """(heading, YAML) of each."""
    found = []
    for document in sorted((ROOT / "docs").glob("*.md")):
        heading = document.name
        for part in re.split(r"(?m)^## ", document.read_text(encoding="utf-8"))[1:]:
            heading = part.partition("\n")[0]
            found += [(heading, yaml) for yaml in re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)]
    return found


def _content(name: str) -> str:
    if name == "dkim.key":
        return RSA
    if name.endswith((".crt", ".key", ".pem")):
        return "".join(blob.bytes().decode() for blob in (PAIR.private_key_pem, *PAIR.cert_chain_pems))
    return "ann@example.org:{PLAIN}secret\n" if name == "users" else "secret\n"


@pytest.mark.parametrize(("heading", "text"), recipes(), ids=[heading for heading, _ in recipes()])
def test_a_recipe_is_a_right_configuration(
    heading: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, name in set(re.findall(r"(/etc/relay/|/var/spool/relay/)([\w.-]+)", text)):
        (tmp_path / name).write_text(_content(name))
        text = text.replace(folder + name, str(tmp_path / name))
    path = tmp_path / "relay.yaml"
    path.write_text("hostname: relay.example.org\n" + text)
    assert exit_code(["check", str(path)]) == 0, capsys.readouterr()
    config = load(path)
    assert config.warnings == ()
    route_table(config)
    for route in config.routes:
        login, security = login_of(route), security_of(route, "")
        if login is not None:
            assert login.unverified or (security is not None and security.level.verifies)


def test_there_is_a_recipe_for_each_provider_that_people_ask_for() -> None:
    headings = " ".join(heading for heading, _ in recipes())
    for provider in ("A printer on the LAN", "Gmail", "Microsoft 365", "Amazon SES", "generic"):
        assert provider in headings
