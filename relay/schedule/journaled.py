"""How the runner journals what became of recipients (relay.message.journey)."""

from __future__ import annotations

from collections.abc import Sequence

from relay.message import journey
from relay.message.account import Account, Tried
from relay.message.journey import Entry
from relay.message.outcome import Deferred, Discarded, Held, Outcome
from relay.queue.store import QueuedRecipient, State
from relay.schedule.plan import Planned


def attempted(
    rows: Sequence[QueuedRecipient], planned: Sequence[Planned], tried: Tried, now: float
) -> tuple[Entry, ...]:
    """What an attempt made of these: an entry for each way that it went."""
    accounts = tried.accounts
    if sum(len(places) for _, places in accounts) < len(rows):  # trouble of our own: it did not get as far
        told = {place for _, places in accounts for place in places}
        accounts = [*accounts, (Account(now), [place for place in range(len(rows)) if place not in told])]
    return tuple([_of_one_way(rows, planned, tried.outcomes, account, places, now) for account, places in accounts])


def _of_one_way(
    rows: Sequence[QueuedRecipient],
    planned: Sequence[Planned],
    outcomes: Sequence[Outcome],
    account: Account,
    places: Sequence[int],
    now: float,
) -> Entry:
    became = [_became(rows[place], planned[place], outcomes[place]) for place in places]
    return now, journey.attempted(account, now, rows[places[0]].lane, became)


def _became(row: QueuedRecipient, planned: Planned, outcome: Outcome) -> str:
    address = str(row.recipient.address)
    if isinstance(outcome, Held):
        return journey.became(row.number, address, planned.step, outcome.why, "")
    if isinstance(outcome, Discarded):
        return journey.became(row.number, address, planned.step, f"discarded by {outcome.rule}", "")
    later = planned.row.due_at if planned.row is not None and planned.row.state is State.WAITING else None
    in_doubt = isinstance(outcome, Deferred) and outcome.in_doubt
    return journey.became(row.number, address, planned.step, str(outcome.reply), outcome.hop, later, in_doubt)


def expired(
    rows: Sequence[QueuedRecipient], planned: Sequence[Planned], why: Deferred, now: float
) -> tuple[Entry, ...]:
    """Those of these, which had waited too long to be tried, that are given up."""
    given_up = [row for row, one in zip(rows, planned, strict=True) if one.step == "expired"]
    if not given_up:
        return ()
    told = [(row.number, str(row.recipient.address), str(why.reply), why.hop) for row in given_up]
    return ((now, journey.expired(given_up[0].lane, told)),)
