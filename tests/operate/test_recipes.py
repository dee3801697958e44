"""What the documents tell people to write into relay.yaml, ``relay check`` finds good."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relay.operate.cli import exit_code
from relay.testing import certificates

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks() -> list[tuple[str, str]]:
    """(where it stands, what it says) of each configuration in the documents."""
    return [
        (f"{document.name}:{text.count(chr(10), 0, block.start()) + 2}", block[1])
        for document in sorted(DOCS.glob("*.md"))
        for text in [document.read_text(encoding="utf-8")]
        for block in re.finditer(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def with_files(text: str, folder: Path) -> str:
    """The same, with the files that it names there, and a user that is on every machine."""
    pair = certificates.pair("mail.example.org")
    for name in set(re.findall(r"/(?:etc|var/spool)/relay/([\w.-]+)", text)):
        is_key, is_certificate = name.endswith(".key"), name.endswith((".crt", ".pem"))
        is_secret = name.endswith((".password", ".secret", ".token"))
        written = pair.key_pem if is_key else pair.certificate_pem if is_certificate else b""
        content = b"correct horse battery staple\n" if is_secret else written
        (folder / name).write_bytes(content)
    text = re.sub(r"^user: relay\b", "user: root", text, flags=re.MULTILINE)
    return re.sub(r"/(etc|var/spool)/relay/", f"{folder}/", text)


def test_there_are_recipes() -> None:
    names = {where.partition(":")[0] for where, _ in blocks()}
    assert {"recipes.md", "smarthosts.md", "tls.md"} <= names


@pytest.mark.parametrize(("where", "text"), blocks(), ids=lambda value: value if value[-1:].isdigit() else "")
def test_a_recipe_is_good(where: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(with_files(text, tmp_path), encoding="utf-8")
    code = exit_code(["check", str(file)])
    said = capsys.readouterr()
    assert code == 0, f"{where}\n{said.out}{said.err}"
