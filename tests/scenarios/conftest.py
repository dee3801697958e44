"""What several scenarios need."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that every user can reach and write to, for programs that give up root; tmp_path is root's alone."""
    with tempfile.TemporaryDirectory(prefix="relay-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
