"""A line of the relay's log, as a test wants to look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """A step that the relay told.

    at      seconds since the epoch
    name    ``accepted``, ``delivered``, ``deferred`` …; see relay.message.step
    fields  as there
    """

    at: float
    name: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.fields.items())])
