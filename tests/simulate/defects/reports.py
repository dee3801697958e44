"""What senders are told, and not told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from relay.bounce import notify as reporting
from relay.bounce.notify import Reporter
from relay.message.address import Address
from relay.queue.store import Settlement
from relay.schedule import plan as planning
from relay.schedule import runner as runners
from tests.simulate.defects import Around, around, breakage


@breakage(bad_hours=0.8)
def lose_the_owed_report() -> Sequence[Any]:
    """What is owing is finished, and its report does not enter the queue."""

    def unreported(record: Around, ledger: Any, entry: Any) -> None:
        record(ledger, replace(entry, settlement=replace(entry.settlement, reports=()), admissions=()))

    return [around(runners.Ledger, "record", unreported)]


@breakage(kills=60.0, bad_hours=0.8, slow_disk_s=2.0)
def finish_before_the_report() -> Sequence[Any]:
    """The failed recipient is finished in one transaction, its report queued in the next, a moment later."""

    def in_two(record: Around, ledger: Any, entry: Any) -> None:
        if not entry.settlement.reports:
            record(ledger, entry)
            return
        record(ledger, replace(entry, settlement=replace(entry.settlement, reports=()), admissions=()))
        report = replace(entry, settlement=replace(entry.settlement, finished=(), changed=()))
        ledger._clock.callLater(5.0, record, ledger, report)

    return [around(runners.Ledger, "record", in_two)]


@breakage(bad_hours=0.8)
def report_to_the_null_sender() -> Sequence[Any]:
    """Mail without a sender is bounced to the postmaster of its recipient."""

    def bounced(_: Around, reporter: Any, message: Any, finals: Any, content: Any, now: float, said: Any) -> Any:
        reader = Address("postmaster", finals[0][0].address.domain)
        return reporter._composed(reader, message, finals, content, now, None, said)

    return [around(Reporter, "undeliverable", bounced)]


@breakage(bad_hours=0.8)
def report_twice() -> Sequence[Any]:
    """The report is put in the queue twice."""

    def twice(record: Around, ledger: Any, entry: Any) -> None:
        record(ledger, entry)
        if entry.settlement.reports:
            again = replace(entry, settlement=Settlement(entry.settlement.message_id, reports=entry.settlement.reports))
            ledger._store.record(again.settlement).addErrback(lambda _: None)

    return [around(runners.Ledger, "record", twice)]


@breakage(bad_hours=0.8)
def wishes_not_heard() -> Sequence[Any]:
    """Whoever said NOTIFY=NEVER is told all the same."""

    def told(wants: Around, recipient: Any, *args: Any) -> bool:
        return wants(replace(recipient, notify=None), *args)

    return [around(planning, "wants", told), around(reporting, "wants", told)]
