"""What the recipes stand on, made once: a plain root, and the packages that relay depends on as wheels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.plain_root import PlainRoot, need_root

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def plain_root(tmp_path_factory: pytest.TempPathFactory) -> PlainRoot:
    need_root()
    return PlainRoot.make(tmp_path_factory.mktemp("plain") / "root")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that pip needs to install relay, so that a recipe can be followed without an index."""
    need_root()
    folder = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([*build, "setuptools>=77", "wheel"], check=True)
    subprocess.run([*build, str(CHECKOUT)], check=True)
    for own in folder.glob("relay-*.whl"):
        own.unlink()  # that is for the recipe to make
    return folder
