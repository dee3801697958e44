"""What the control socket can be asked of how the relay does: its numbers, and what is wrong with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from relay.operate import complaints
from relay.operate.answers.status import Destination, Scheduler, destination_rows
from relay.operate.control import Command, Request, Row
from relay.operate.metrics import DESTINATIONS_SHOWN, Numbers, Sample, histogram
from relay.operate.vitals import Vitals
from relay.queue.store import State, Store


@dataclass(frozen=True, slots=True)
class VitalsAnswers:
    """Answers how one shard does, and with it the process that serves it.

    give_up_s  ``retry.give_up_after``
    vitals     None: another shard of this process tells it
    """

    store: Store
    runner: Scheduler
    clock: IReactorTime
    give_up_s: Callable[[], float]
    vitals: Vitals | None

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {"metrics": self.metrics, "health": self.health, "webhooks": self.webhooks}

    async def metrics(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row: numbers by the name of their metric (relay.operate.metrics)."""
        request.no_more()
        active = self.runner.destinations()
        lanes = await self.store.lanes(DESTINATIONS_SHOWN)
        of_process = self.vitals.numbers() if self.vitals is not None else {}
        yield {**of_process, **self._of_queue(), **_of_destinations(active, lanes)}

    async def health(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row, ``complaints``: each with what it is ``about``, its ``level``, ``what`` is wrong, what to ``do``."""
        request.no_more()
        counts, condition = self.store.counts(), self.store.condition()
        held = counts.recipients.get(State.HELD, 0)
        found = [
            *complaints.of_store("" if condition.is_full else condition.trouble),
            *complaints.of_databases(counts.databases),
            *complaints.of_set_aside(counts.set_aside - len(counts.databases)),
            *complaints.of_age(self._oldest_s(counts.oldest_at), held, self.give_up_s()),
        ]
        if self.vitals is not None:
            found += self.vitals.complaints(condition.is_full)
        yield {"complaints": [complaint.row() for complaint in found]}

    async def webhooks(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row, ``webhooks``: how each receiver is told (relay.operate.webhooks.courier)."""
        request.no_more()
        yield {"webhooks": self.vitals.webhooks() if self.vitals is not None else []}

    def _oldest_s(self, oldest_at: float | None) -> float:
        return max(0.0, self.clock.seconds() - oldest_at) if oldest_at is not None else 0.0

    def _of_queue(self) -> Numbers:
        counts, condition = self.store.counts(), self.store.condition()
        return {
            "relay_queue_messages": counts.messages,
            "relay_queue_bytes": counts.octets,
            "relay_queue_recipients": [(state.value, counts.recipients.get(state, 0)) for state in State],
            "relay_queue_oldest_age_seconds": self._oldest_s(counts.oldest_at),
            "relay_queue_set_aside": counts.set_aside,
            "relay_store_full": int(condition.is_full),
            "relay_store_trouble": int(bool(condition.trouble)),
            "relay_store_batch_size": histogram(condition.batches),
            "relay_store_commit_seconds": histogram(condition.took_s),
        }


def _of_destinations(active: Sequence[Destination], lanes: Mapping[str, int]) -> Numbers:
    rows = destination_rows(active, lanes)[:DESTINATIONS_SHOWN]

    def of(name: str) -> list[Sample]:
        return [(str(row["destination"]), float(str(row[name]))) for row in rows if name in row]

    return {
        "relay_destinations": len(active),
        "relay_destinations_resting": sum(one.resting_until is not None for one in active),
        "relay_destination_waiting_recipients": of("waiting"),
        "relay_destination_window": of("window"),
        "relay_destination_in_flight": of("in_flight"),
        "relay_destination_failures": of("failures"),
    }
