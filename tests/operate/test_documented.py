"""Each command line of ours that a document or a help text prints is one that the program understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from relay.operate.cli import relay
from relay.operate.sendmail.flags import parse

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_PREFIXES = re.compile(r"^(?:[#$] |'[#$]' |sudo -u \w+ |(?:podman|docker) exec \w+ |\.venv/bin/|/opt/relay/bin/)*")


def command_lines(text: str) -> Iterator[str]:
    """Of shell blocks, with their continuation lines, and of code within the text."""
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`(relay [a-z][^`\n]* [^`\n]*)`", text)


def helps(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    yield path, command.help or ""
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        yield from helps(inner, f"{path} {name}")


def printed() -> Iterator[tuple[str, list[str]]]:
    for document in DOCUMENTS:
        for line in command_lines(document.read_text("utf-8")):
            if "relay " in line:
                for words in ours_in(line):
                    yield document.name, words
    for path, text in helps(relay, "relay"):
        for line in re.findall(r"^ *(relay .*?)(?:  .*)?$(?<!\.)", text, re.MULTILINE):
            for words in ours_in(line):
                yield f"{path} --help", words


def ours_in(line: str) -> Iterator[list[str]]:
    """The words behind ``relay`` of each command in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    is_file = False
    for word in [*lexer, ";"]:
        if set(word) <= set("<>"):
            is_file = True
        elif is_file:
            is_file = False
        elif set(word) <= set("|&;()"):
            text = _PREFIXES.sub("", shlex.join(command))
            if text.startswith("relay ") and "…" not in text:
                yield shlex.split(text)[1:]
            command = []
        else:
            command.append(word)


LINES = list(printed())


def test_there_are_many() -> None:
    assert len(LINES) > 60
    assert {where for where, _ in LINES} >= {"README.md", "operations.md", "tutorial.md", "recipes.md", "tls.md"}


@pytest.mark.parametrize(
    ("where", "words"), LINES, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_a_command_line_is_understood(
    where: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in words:
        if name.endswith(".pem"):
            Path(name).touch()
    command: click.Command = relay
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"{where}: there is no command {words[0]}"
        command, words = found, words[1:]
    if command.name == "sendmail":
        parse(words)
    elif not isinstance(command, click.Group):
        try:
            command.make_context("relay", list(words))
        except click.MissingParameter:  # in a sentence a command is named without its arguments
            assert where.endswith(".md")
