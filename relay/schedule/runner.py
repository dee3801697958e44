"""What to try, and when: the runner takes due mail from the store, tries it, and records what became of it.

The store is the truth; memory holds a bounded part of it.  (Public names; the working parts follow.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from relay.message.address import Address
from relay.message.envelope import Composed, Envelope, Message, Origin, Recipient
from relay.message.outcome import Final, Outcome
from relay.message.step import Tell, tell_nobody
from relay.queue.store import Draft, Store
from relay.schedule.settings import ScheduleSettings

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime


class Deliverer(Protocol):
    """Makes one attempt."""

    def deliver(self, message: Message, recipients: Sequence[Recipient], lane: str) -> Deferred[Sequence[Outcome]]:
        """Fires with an outcome for each recipient, in their order; does not fail in the normal case."""
        ...


class Reporter(Protocol):
    """Writes reports.  Pure."""

    def compose(
        self,
        message: Message,
        finals: Sequence[tuple[Recipient, Final]],
        content: bytes | None,
        now: float,
        retry_until: float | None,
    ) -> Composed | None: ...


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    lane: str
    window: int
    in_flight: int
    waiting: int
    resting_until: float | None
    failures: int
    last_error: str


LaneOf = Callable[[Address | None, Address], str]


class Runner:
    def __init__(
        self,
        *,
        store: Store,
        clock: IReactorTime,
        random: Random,
        deliverer: Deliverer,
        lane_of: LaneOf,
        reporter: Reporter,
        settings: ScheduleSettings,
        tell: Tell = tell_nobody,
    ) -> None: ...

    def start(self) -> None: ...

    def stop(self, bound_s: float) -> Deferred[None]: ...

    def enqueue(
        self, draft: Draft, envelope: Envelope, origin: Origin, head: bytes, recipients: Sequence[Recipient]
    ) -> Deferred[Message]: ...

    def wake(self) -> None: ...

    def routes_changed(self, lane_of: LaneOf) -> None: ...

    def flush(self, lane: str | None = None) -> None: ...

    def rest(self, lane: str, seconds: float) -> None: ...

    def destinations(self) -> Sequence[DestinationStatus]: ...

    def reconfigure(self, settings: ScheduleSettings) -> None: ...
