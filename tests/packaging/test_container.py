"""The Containerfile, step by step in plain roots: there is no engine here, and what one adds is not tested."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging.conftest import CHECKOUT
from tests.packaging.containerfile import Image, build, instructions
from tests.packaging.plain_root import PlainRoot, Running

FILE = CHECKOUT / "etc/container/Containerfile"
CATCH = [sys.executable, str(Path(__file__).with_name("catch.py")), "2599"]
SENDING = """
import smtplib
smtplib.SMTP("127.0.0.1", 2525).sendmail("me@example.org", ["ann@example.net"], "Subject: x\\n\\nx")
"""
SEND = [sys.executable, "-c", SENDING]
ROUTES = '\nroutes: [{to: "*", via: "smtp://127.0.0.1:2599"}]\nretry: {first: 1s, longest: 1s}\n'


# -- what needs no root -----------------------------------------------------------------------


def last(keyword: str) -> Any:
    return next(rest for one, rest in reversed(list(instructions(FILE.read_text()))) if one == keyword)


def test_the_example_of_compose_goes_with_the_image() -> None:
    service = yaml.safe_load(FILE.with_name("compose.yaml").read_text())["services"]["relay"]
    assert service["healthcheck"]["test"] == ["CMD", *json.loads(last("HEALTHCHECK").partition(" CMD ")[2])]
    assert service["ports"] == [f"25:{last('EXPOSE')}"]
    assert f"spool:{last('VOLUME')}" in service["volumes"]
    build_with = service["build"]
    assert (FILE.parent / build_with["context"]).resolve() == CHECKOUT
    assert CHECKOUT / build_with["dockerfile"] == FILE
    config = yaml.safe_load(FILE.with_name("relay.yaml").read_text())
    assert config["spool"] == last("VOLUME") == last("WORKDIR")
    assert config["listen"] == [{"endpoint": f"tcp:{last('EXPOSE')}"}]


def test_what_is_copied_is_not_ignored() -> None:
    kept = {
        line.removeprefix("!")
        for line in FILE.with_name("Containerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for keyword, rest in instructions(FILE.read_text()):
        if keyword == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert source.replace("[s]", "s") in kept, source


# -- what is done, in truth --------------------------------------------------------------------

built = [pytest.mark.slow, pytest.mark.endtoend]


@pytest.fixture(scope="module")
def image(plain_root: PlainRoot, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    context = tmp_path_factory.mktemp("context")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, context)
    for name in ("relay", "twisted", "docs", "etc"):
        shutil.copytree(CHECKOUT / name, context / name)
    shutil.copytree(wheels, context / "wheels")
    arguments = {"PIP_OPTIONS": "--no-index --find-links=/src/wheels"}
    image = build(FILE, context, plain_root, tmp_path_factory.mktemp("stages"), arguments)
    with (image.root.folder / "etc/relay/relay.yaml").open("a") as config:  # as a file that is mounted over it
        config.write(ROUTES)
    return image


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Iterator[Running]:
    running = started(image, image.root, tmp_path / "log")
    yield running
    running.kill()


def started(image: Image, root: PlainRoot, log: Path) -> Running:
    running = root.start(*image.entry, *image.command, user=image.user, at=image.at, log=log)
    until = time.monotonic() + 60
    while running.within(*image.health, user=image.user, at=image.at).returncode != 0:
        assert time.monotonic() < until and running.process.poll() is None, log.read_text()
        time.sleep(0.5)
    return running


@pytest.mark.slow
@pytest.mark.endtoend
def test_mail_goes_through_a_container(image: Image, container: Running) -> None:
    caught = container.beside(*CATCH, "1", *SEND)
    assert caught.returncode == 0, caught.stderr + container.log.read_text()
    assert json.loads(caught.stdout)["recipients"] == ["ann@example.net"]
    status = container.within("relay", "status", "--json", user=image.user, at=image.at)
    assert status.returncode == 0, status.stderr
    owner = (image.root.folder / "var/spool/relay/queue.db").stat()
    assert (owner.st_uid, owner.st_gid) == (2525, 2525)
    assert image.stop_signal == "SIGTERM"
    assert container.stop() == 0, container.log.read_text()


@pytest.mark.slow
@pytest.mark.endtoend
def test_the_queue_outlives_the_container(image: Image, container: Running, tmp_path: Path) -> None:
    assert container.beside(*SEND).returncode == 0
    assert container.stop() == 0
    (volume,) = image.volumes
    other = image.root.copy(tmp_path / "other")
    anew = started(image, other, tmp_path / "log2")
    assert volume == "/var/spool/relay"
    try:
        caught = anew.beside(*CATCH, "1")
        assert caught.returncode == 0, caught.stderr + anew.log.read_text()
    finally:
        anew.kill()
