"""The manual pages say what ``--help`` and the settings say, and every reader of them takes them without complaint."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from relay.operate.cli import relay
from relay.operate.manual import roff
from relay.operate.manual.__main__ import manual, write
from relay.operate.reference import reference

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "man"
PAGES = sorted(manual())
WRITE_THEM = "written anew by: python -m relay.operate.manual docs/man"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == manual()[name], WRITE_THEM


def test_there_is_no_other_page() -> None:
    assert sorted(one.name for one in FOLDER.iterdir()) == PAGES, WRITE_THEM


def test_a_command_that_is_no_more_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "relay-gone.1").write_text("")
    (tmp_path / "other.1").write_text("")
    write(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([*PAGES, "other.1"])


def commands(command: click.Command, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield names, command
    for name, inner in (command.commands if isinstance(command, click.Group) else {}).items():
        yield from commands(inner, (*names, name))


def test_every_command_and_option_is_in_them() -> None:
    for names, command in commands(relay):
        page = manual()["-".join(["relay", *names[:1]]) + ".1"].replace(r"\-", "-")
        assert roff.literal(" ".join(["relay", *names])) in page
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"\\fB{option}\\fR" in page, (names, option)


def test_who_asks_for_help_gets_it_and_no_folder_of_that_name(tmp_path: Path) -> None:
    module, there = "relay.operate.manual", {**os.environ, "PYTHONPATH": str(FOLDER.parents[1])}
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, text=True, check=True)
    assert "FOLDER" in done.stdout and list(tmp_path.iterdir()) == []


def test_a_command_that_writes_its_own_help_has_it_in_its_page() -> None:
    page = manual()["relay-sendmail.1"].replace(r"\-", "-")
    for flag in ("-t", "-f ADDRESS", "-i, -oi", "-bp", "--spool DIR"):
        assert f"\n.TP\n\\fB{flag}\\fR\n" in page, flag
    assert "Exit codes" not in page and "75 try again later" in page.replace("\n", " ")


def test_every_key_is_in_relay_yaml() -> None:
    page = manual()["relay.yaml.5"]
    keys = re.findall(r"^\| `(\w+)` \|", reference(), re.MULTILINE)
    assert len(keys) > 50
    for key in keys:
        assert f"\n.TP\n\\fB{key}\\fR" in page, key


def test_nothing_is_taken_for_a_macro_or_an_escape() -> None:
    text = ".SH no heading\n'br\n\\fBno bold\n\n- a\n- .b"
    told = "\n".join(roff.markdown(text))
    lines = told.splitlines()
    assert [line for line in lines if line.startswith((".", "'"))] == [".PP", ".IP \\(bu 2", ".IP \\(bu 2"]
    assert r"\efBno bold" in told
    assert roff.example([".dot", ""]).splitlines()[3:5] == [r"\&.dot", r"\&"]
    assert roff.quoted('say "x"') == r'"say \(dqx\(dq"'


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_finds_nothing_wrong(name: str) -> None:
    """A page has no date: it is as old as the version that it names."""
    said = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", FOLDER / name], capture_output=True, text=True, check=False
    )
    assert [line for line in said.stdout.splitlines() if "missing date" not in line] == []


@pytest.mark.skipif(
    shutil.which("man") is None or shutil.which("groff") is None, reason="man-db and groff are not installed"
)
@pytest.mark.parametrize("name", PAGES)
def test_man_shows_it_without_a_warning(name: str) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANROFFSEQ": ""}
    shown = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", FOLDER / name],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert shown.stderr == ""
    assert len(shown.stdout) > 1000
