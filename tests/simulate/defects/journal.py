"""What the journal says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from relay.message import journey
from relay.queue.store import Settlement
from relay.schedule import runner as runners
from tests.simulate.defects import Around, around, breakage


@breakage(kills=60.0)
def journal_afterwards() -> Sequence[Any]:
    """What became of mail is journaled in a transaction of its own, a moment later."""

    def apart(record: Around, ledger: Any, entry: Any) -> None:
        settlement = entry.settlement
        record(ledger, replace(entry, settlement=replace(settlement, entries=())))
        later = Settlement(settlement.message_id, entries=settlement.entries)
        ledger._clock.callLater(5.0, lambda: ledger._store.record(later).addErrback(lambda _: None))

    return [around(runners.Ledger, "record", apart)]


@breakage(bad_hours=0.8)
def journal_all_as_delivered() -> Sequence[Any]:
    """Whatever became of a recipient, the journal says that it was delivered."""

    def rosy(became: Around, number: int, recipient: str, step: str, *args: Any) -> str:
        return str(became(number, recipient, "delivered", *args))

    return [around(journey, "became", rosy)]
