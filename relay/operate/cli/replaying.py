"""``relay check --replay``: the journal's envelopes through the configuration in force and the new one."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.operate.cli.reach import chosen_config, journals, running_if_any
from relay.operate.cli.speech import EX_CONFIG, EX_USAGE, Stop, count, hour
from relay.operate.values import parse_duration
from relay.operate.whereabouts import has_own_relay

if TYPE_CHECKING:
    from relay.operate.config import Config
    from relay.operate.whatif.in_force import CommandLine

TOLD_EVERY_S = 0.25


def span(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """``7d``, in seconds."""
    try:
        return parse_duration(value) if value is not None else None
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from None


def replayed(
    new: Path | None, span_s: float, against: Path | None, config: Path | None, spool: Path | None
) -> Mapping[str, Any]:
    """What would be different, as plain data: relay.operate.whatif.tally, and what was compared.

    new      the file, which is without faults
    span_s   how far back
    against  the old file; None: what the relay has loaded
    config   by which the relay is found, if it is named

    Raises Stop.
    """
    from relay.operate.whatif.house import House
    from relay.operate.whatif.replay import Replay

    meant = against or config or chosen_config() or (None if has_own_relay(Path()) else new)
    old, is_in_force, beside, notes = _old(new, against, meant, spool)
    newer = _loaded(new, beside)
    now = time.time()
    progress = Progress(now, span_s)
    with House(old, now) as old_house, House(newer, now) as new_house, journals(meant, spool) as ask:
        replay = Replay(old_house, new_house)
        try:
            for row in ask("trace.envelopes", since=now - span_s):
                replay.take(row)
                progress.tell(replay.tally.envelopes, row["at"])
        finally:
            progress.end()
    return {
        "since": now - span_s,
        "until": now,
        "old": old.source,
        "in_force": is_in_force,
        "new": newer.source,
        "beside": str(beside) if beside is not None else "",
        "restart": list(old.needs_restart(newer)),
        "notes": notes,
        **replay.tally.row(),
    }


def _old(
    new: Path | None, against: Path | None, meant: Path | None, spool: Path | None
) -> tuple[Config, bool, CommandLine | None, list[str]]:
    """The configuration to compare with, whether it is the one that a relay has loaded, what that was started with
    beside its file, and what is to be said of it all."""
    from relay.operate.config import ConfigFaults
    from relay.operate.whatif.in_force import command_line, in_force

    with running_if_any(meant, spool) as control:
        row = control.ask_one("config") if control is not None else None
    beside = command_line(row) if row is not None else None
    if against is not None:
        return _loaded(against, beside), False, beside, []
    if row is not None:
        try:
            return in_force(row), True, beside, []
        except ConfigFaults as faults:  # as when a file that it names is gone
            why = (
                f"what the relay has loaded cannot be had any more ({faults.faults[0]}); its file is taken as it is now"
            )
            return _loaded(Path(row["source"]), beside), False, beside, [why]
    if meant is None or (new is not None and meant.resolve() == new.resolve()):
        what = "no relay is running that could say what is in force; name the old file: --against OLD.yaml"
        raise Stop(what, EX_USAGE)
    return _loaded(meant, None), False, None, []


def _loaded(path: Path | None, beside: CommandLine | None) -> Config:
    from relay.operate.config import ConfigFaults, load

    try:
        if beside is None:
            return load(path)
        return load(path, listen=beside.listen, smarthost=beside.smarthost)
    except ConfigFaults as faults:
        raise Stop(f"the configuration has faults\n{faults}", EX_CONFIG) from None


class Progress:
    """Tells on a terminal how far it is; nowhere else."""

    def __init__(self, now: float, span_s: float) -> None:
        self._until = now
        self._span_s = span_s
        self._is_told = sys.stderr.isatty()
        self._told_at = time.monotonic()
        self._was_told = False

    def tell(self, envelopes: int, at: float) -> None:
        """So many are done; the last one came at this time."""
        if self._is_told and time.monotonic() - self._told_at >= TOLD_EVERY_S:
            self._told_at, self._was_told = time.monotonic(), True
            part = min(1.0, max(0.0, (self._until - at) / self._span_s))
            click.echo(f"\r\x1b[K{part:4.0%}  {count(envelopes, 'envelope')}, back to {hour(at)}", nl=False, err=True)

    def end(self) -> None:
        if self._was_told:
            click.echo("\r\x1b[K", nl=False, err=True)
