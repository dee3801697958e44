"""What an explanation stands on: the parts of a relay, be it at work or only put together to be asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.deliver.deliverer import Deliverer
from relay.operate.config import Config
from relay.operate.settings.receiving import Listen
from relay.receive.attendance import Attendance
from relay.receive.factory import SmtpServerFactory
from relay.route.router import Router

Row = Mapping[str, Any]
AskDestinations = Callable[[Sequence[str]], Awaitable[Mapping[str, Row]]]
"""Lanes -> how each of them stands, as ``relay status`` has it; one that is not there is at rest and does well."""


@dataclass(frozen=True, slots=True)
class Premises:
    """The parts, as they are now.

    is_running    they are at work; else nothing waits, nobody is connected
    loaded_at     when the configuration was read, seconds since the epoch
    listeners     in the order of ``listen`` in the configuration
    attendance    who is connected to them
    """

    config: Config
    is_running: bool
    loaded_at: float
    listeners: Sequence[tuple[SmtpServerFactory, Listen]]
    attendance: Attendance
    router: Router
    deliverer: Deliverer
    destinations: AskDestinations
