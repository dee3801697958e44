"""The house keeps its shape: who may import whom, and what stays pure.

The table is the one in docs/architecture.md; change both together, with the reason.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "relay"

MAY_IMPORT: dict[str, set[str]] = {
    "message": set(),
    "smtp": {"message"},
    "policy": {"message"},
    "bounce": {"message"},
    "route": {"message"},
    "queue": {"message"},
    "schedule": {"message", "queue.store"},
    "deliver": {"message", "smtp", "route", "wire"},
    "receive": {"message", "smtp", "policy", "queue.store", "wire"},
    "wire.py": set(),
    "landing.py": {"wire"},
}

PURE = (
    "message",
    "smtp",
    "policy",
    "bounce",
    "schedule/retry.py",
    "schedule/window.py",
    "schedule/plan.py",
    "schedule/forecast.py",
    "route/table.py",
    "route/mx.py",
    "route/plain.py",
    "route/records.py",
    "route/names.py",
    "route/via.py",
    "route/tls.py",
    "route/dane.py",
    "route/sts.py",
    "route/credentials.py",
    "deliver/classify.py",
    "deliver/downgrade.py",
    "operate/explaining/finding.py",
    "operate/explaining/causes.py",
    "operate/explaining/standing.py",
    "operate/explaining/times.py",
    "operate/explaining/last_attempts.py",
    "operate/whatif/past.py",
    "operate/whatif/fate.py",
    "operate/whatif/differing.py",
    "operate/whatif/tally.py",
    "operate/whatif/replay.py",
    "receive/maildrop/drop.py",
    "operate/sendmail/flags.py",
    "operate/sendmail/text.py",
    "operate/sendmail/letter.py",
    "operate/init/plan.py",
    "operate/init/unit.py",
)
IMPURE_MODULES = {"twisted", "socket", "ssl", "os", "time", "random", "threading", "sqlite3", "apsw"}


def modules_of(folder: str) -> list[Path]:
    place = HOUSE / folder
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


@cache
def imports_at_run_time(source: Path) -> Sequence[str]:
    """The dotted names a module imports, those for the type checker only left out."""
    return list(_imports_at_run_time(source))


def _imports_at_run_time(source: Path) -> Iterator[str]:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("stage", MAY_IMPORT)
def test_a_stage_imports_only_its_neighbours(stage: str) -> None:
    allowed = MAY_IMPORT[stage] | {stage}
    for source in modules_of(stage):
        for name in imports_at_run_time(source):
            if not name.startswith("relay."):
                continue
            inner = name.removeprefix("relay.")
            fits = any(inner == one or inner.startswith(one + ".") for one in allowed)
            prefix = any(one.startswith(inner + ".") for one in allowed if "." in one)
            assert fits or prefix, f"{source.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("place", PURE)
def test_what_is_pure_stays_pure(place: str) -> None:
    for source in modules_of(place):
        for name in imports_at_run_time(source):
            assert name.split(".")[0] not in IMPURE_MODULES, f"{source.relative_to(ROOT)} imports {name}"


def test_nothing_imports_what_is_for_tests() -> None:
    """Whoever runs a relay does not carry a simulated world about."""
    for source in modules_of("."):
        if not source.is_relative_to(HOUSE / "testing"):
            for name in imports_at_run_time(source):
                assert not name.startswith("relay.testing"), f"{source.relative_to(ROOT)} imports {name}"


def test_who_has_no_page_does_not_carry_it_about() -> None:
    """``admin: none``: neither its modules nor the templates and metrics of others are loaded."""
    said = "import sys, relay.operate.service; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout.split()
    assert "relay.operate.service" in loaded
    assert [name for name in loaded if name.startswith(("relay.operate.web.", "jinja2", "prometheus_client"))] == []


def test_sql_stands_only_in_the_stores() -> None:
    """And in the disk of a world in memory, which is under them."""
    allowed = ("queue/schema.py", "queue/writer.py", "queue/listing.py", "testing/database.py")
    for source in modules_of("."):
        if source.relative_to(HOUSE).as_posix() not in allowed:
            assert "apsw" not in {name.split(".")[0] for name in imports_at_run_time(source)}, source


def test_every_package_is_shipped() -> None:
    """A package that setup.cfg does not list is missing from the wheel, though every test in a checkout passes."""
    listed = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    for init in HOUSE.rglob("__init__.py"):
        package = ".".join(init.parent.relative_to(ROOT).parts)
        assert f"\n    {package}\n" in listed, package
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()
