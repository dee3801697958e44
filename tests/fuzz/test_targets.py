"""The targets of the fuzzer hold for their seeds, and for what a fuzzer makes of these in a minute."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import HERE, TARGETS

ROOT = HERE.parent.parent
RUNS = {"report": 1000, "server": 2000, "client": 6000}
OTHERWISE = 20_000
"""Inputs: a few seconds of each target."""


def seeds(target: str) -> list[Path]:
    return sorted((HERE / "corpus" / target).iterdir())


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_holds_for_its_seeds(target: str) -> None:
    run = importlib.import_module(f"tests.fuzz.targets.{target}").run
    run(b"")
    assert seeds(target)
    for seed in seeds(target):
        octets = seed.read_bytes()
        run(octets)
        for cut in range(0, len(octets), 7):
            run(octets[:cut])


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_holds_for_what_a_fuzzer_finds(target: str) -> None:
    """Half a minute for all of them together, and the same inputs each time; ``python -m tests.fuzz`` looks further."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install -e '.[fuzz]', where there is a wheel for this Python")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target, "--runs", str(RUNS.get(target, OTHERWISE))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs is not None and int(runs[1]) > 20, done.stderr[-2000:]
    print(f"{target}: {runs[1]} executions")
