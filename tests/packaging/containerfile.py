"""Doing what a Containerfile says, without an engine: each stage is a folder, each RUN a command in it.

Only what our own file uses is understood, and what is not understood is a fault.  What an engine does besides, this
does not show: layers, its own networks, its seccomp and capabilities.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.packaging.plain_root import PlainRoot


@dataclass
class Image:
    """A stage as far as it got."""

    root: PlainRoot
    at: str = "/"
    user: str = "0:0"
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(instruction, its rest), lines that go on joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        keyword, _, rest = line.partition(" ")
        yield keyword, rest.strip()


def build(file: Path, context: Path, base: PlainRoot, into: Path, arguments: Mapping[str, str]) -> Image:
    """Builds the last stage."""
    told = dict(arguments)
    stages: dict[str, Image] = {}
    image: Image | None = None
    for keyword, rest in instructions(file.read_text()):
        if keyword == "ARG":
            name, _, value = rest.partition("=")
            told.setdefault(name, value.strip('"'))
            continue
        if keyword == "FROM":
            name = rest.partition(" AS ")[2] or f"stage{len(stages)}"
            assert rest.partition(" ")[0] == "${BASE}"
            image = stages[name] = Image(base.copy(into / name))
            continue
        assert image is not None
        _do(image, keyword, rest, context, told, stages)
    assert image is not None
    return image


def _do(
    image: Image, keyword: str, rest: str, context: Path, told: Mapping[str, str], stages: Mapping[str, Image]
) -> None:
    match keyword:
        case "RUN":
            image.root.run("/bin/sh", "-c", rest, user=image.user, at=image.at, **told)
        case "COPY":
            _copy(image, rest, context, stages)
        case "WORKDIR":
            image.at = rest
            image.root.run("mkdir", "-p", rest)
        case "USER":
            image.user = rest
        case "VOLUME":
            image.volumes.append(rest)
        case "STOPSIGNAL":
            image.stop_signal = rest
        case "ENTRYPOINT":
            image.entry = json.loads(rest)
        case "CMD":
            image.command = json.loads(rest)
        case "HEALTHCHECK":
            image.health = json.loads(rest.partition(" CMD ")[2])
        case "EXPOSE":
            assert rest.isdigit()
        case _:
            raise AssertionError(f"{keyword} is not understood")


def _copy(image: Image, rest: str, context: Path, stages: Mapping[str, Image]) -> None:
    """As an engine does it: of a folder its content, of a file itself; a pattern may stand for nothing."""
    words = shlex.split(rest)
    origin = context
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root.folder
    *sources, target = words
    place = image.root.folder / target.lstrip("/")
    found = [one for source in sources for one in sorted(origin.glob(source.lstrip("/")))]
    assert len(found) >= len([source for source in sources if "[" not in source]), f"COPY {rest}: something is missing"
    for one in found:
        if one.is_dir():
            shutil.copytree(one, place, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            into = place / one.name if target.endswith("/") or len(found) > 1 else place
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(one, into)
    subprocess.run(["chown", "-R", "0:0", place], check=True)
