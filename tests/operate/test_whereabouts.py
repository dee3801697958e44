"""Which configuration is meant when none is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.operate import whereabouts
from relay.operate.whereabouts import NoConfig, chosen_config, keys_of, spool_in


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "system.yaml").touch()
    monkeypatch.setattr(whereabouts, "SYSTEM_CONFIG", tmp_path / "system.yaml")
    return tmp_path


def test_it_is_the_systems_unless_we_run_a_relay_here(here: Path) -> None:
    assert chosen_config() == here / "system.yaml"
    (here / "spool").mkdir()
    assert chosen_config() == here / "system.yaml"
    (here / "spool" / "control.sock").touch()
    assert chosen_config() is None


def test_a_relay_that_somebody_else_seems_to_run_here_is_not_ours(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In /tmp anybody can make ./spool, and answer there."""
    (here / "spool").mkdir()
    (here / "spool" / "control.sock").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert chosen_config() == here / "system.yaml"


def test_without_a_system_wide_one_there_is_none(here: Path) -> None:
    (here / "system.yaml").unlink()
    assert chosen_config() is None


def test_a_fault_in_one_key_does_not_hide_the_others(here: Path) -> None:
    (here / "relay.yaml").write_text("routs: x\nspool: here\nretry: {first: never}\n")
    assert spool_in(here / "relay.yaml", keys_of(here / "relay.yaml")) == here / "here"
    (here / "relay.yaml").write_text("")
    assert spool_in(here / "relay.yaml", keys_of(here / "relay.yaml")) == here / "spool"


@pytest.mark.parametrize(
    ("text", "why"),
    [("[a]", "is no configuration"), ("a: [", "is no configuration"), ("spool: 7", "does not name the spool")],
)
def test_what_is_no_configuration_is_said_to_be_none(here: Path, text: str, why: str) -> None:
    (here / "relay.yaml").write_text(text)
    with pytest.raises(NoConfig, match=why):
        spool_in(here / "relay.yaml", keys_of(here / "relay.yaml"))
    with pytest.raises(NoConfig, match="cannot be read"):
        keys_of(here / "nothing.yaml")
