"""The systemd unit with its paths filled in."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from relay.operate.init.unit import SHIPPED, text

ETC = Path(__file__).parents[3] / "etc"


def test_the_unit_in_etc_is_the_one_that_is_written() -> None:
    """python -m relay.operate.init.unit > etc/relay.service"""
    assert (ETC / "relay.service").read_text(encoding="utf-8") == text(SHIPPED)


def test_paths_are_filled_in() -> None:
    made = text(
        replace(SHIPPED, command="/opt/r/bin/relay", config=PurePath("/etc/r.yaml"), spool=PurePath("/data/mail/relay"))
    )
    assert "ExecStart=/opt/r/bin/relay run --config /etc/r.yaml\n" in made
    assert "ReadWritePaths=/data/mail /var/spool\n" in made and "ProtectHome=yes" in made
    assert text(replace(SHIPPED, maildrop=None)).count("ExecStartPre=") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"command": "/home/ann/.local/bin/relay"},
        {"config": PurePath("/root/relay.yaml")},
        {"spool": PurePath("/home/spool/relay")},
    ],
)
def test_what_lives_at_home_is_not_hidden_from_the_relay(change: dict[str, object]) -> None:
    assert "ProtectHome=no\n" in text(replace(SHIPPED, **change))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_it(tmp_path: Path) -> None:
    made = text(
        replace(SHIPPED, command="/bin/true", config=tmp_path / "relay.yaml", spool=tmp_path / "spool", maildrop=None)
    )
    (tmp_path / "relay.service").write_text(made)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "relay.service"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
