"""Writes the pages: ``python -m relay.operate.manual FOLDER``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from relay.operate.cli import relay
from relay.operate.manual import commands, configuration


def manual() -> Mapping[str, str]:
    """All pages, by the names of their files."""
    return {**commands.pages(relay), "relay.yaml.5": configuration.page()}


def write(folder: Path) -> None:
    """Writes the pages; one of a command that is no more is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    written = manual()
    for old in folder.glob("relay*.[15]"):
        if old.name not in written:
            old.unlink()
    for name, page in written.items():
        (folder / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    asked = argparse.ArgumentParser(prog="python -m relay.operate.manual", description="Writes the manual pages.")
    asked.add_argument("folder", metavar="FOLDER", type=Path, help="where to: docs/man")
    write(asked.parse_args().folder)
