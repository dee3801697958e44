"""The configuration that a running relay has loaded, from what it tells of it: its file may be another one by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.operate.config import Config, configured

_UNSHOWN = ("webhooks",)
"""Sections that are not shown whole, as there may be secrets in them; no envelope has to do with them."""

_FUNCTION = "function:"


def in_force(row: Mapping[str, Any]) -> Config:
    """The configuration of an answer to ``config``; each value with the place that it has there.  Raises
    ConfigFaults."""
    settings = {name: value for name, value in row["settings"].items() if name not in _UNSHOWN}
    settings["forward"] = {key: _one_of_two(entry) for key, entry in settings["forward"].items()}
    vias = [route["via"] for route in settings["routes"]]
    functions = [via.removeprefix(_FUNCTION) for via in vias if isinstance(via, str) and via.startswith(_FUNCTION)]
    return configured(settings, functions=functions).standing_at(row["source"], row["places"])


def _one_of_two(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """``to`` or ``refer``: both are shown, and one can be written."""
    return {name: value for name, value in entry.items() if value not in (None, [])}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What the relay was started with beside its file; that would hold for another file too."""

    listen: Sequence[str] = ()
    smarthost: str | None = None

    def __str__(self) -> str:
        said = [f"--listen {endpoint}" for endpoint in self.listen]
        return " ".join(said + ([f"--smarthost {self.smarthost}"] if self.smarthost else []))


def command_line(row: Mapping[str, Any]) -> CommandLine:
    """That of an answer to ``config``, as far as it has to do with envelopes."""
    places, settings = row["places"], row["settings"]
    endpoints = [one["endpoint"] for one in settings["listen"]] if places.get("listen") == "--listen" else []
    vias = [one["via"] for at, one in enumerate(settings["routes"]) if places.get(f"routes[{at}]") == "--smarthost"]
    return CommandLine(tuple(endpoints), vias[0].removeprefix("smtp://") if vias else None)
