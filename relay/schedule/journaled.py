"""How the runner journals what became of recipients (relay.message.journey)."""

from __future__ import annotations

from collections.abc import Sequence

from relay.message import journey
from relay.message.account import Account, Tried
from relay.message.journey import Entry
from relay.message.outcome import Deferred
from relay.queue.store import NewRecipient, QueuedRecipient
from relay.schedule.plan import Planned
from relay.schedule.told import About


def attempted(
    rows: Sequence[QueuedRecipient], planned: Sequence[Planned], abouts: Sequence[About], tried: Tried, now: float
) -> tuple[Entry, ...]:
    """What an attempt made of these: an entry for each way that it went.

    abouts  what is told of each
    """
    accounts = tried.accounts
    if len(rows) == 1 and accounts:  # nearly all mail
        became = [_became(rows[0], planned[0].step, abouts[0])]
        return ((now, journey.attempted(accounts[0][0], now, rows[0].lane, became)),)
    became = [_became(row, one.step, about) for row, one, about in zip(rows, planned, abouts, strict=True)]
    told = {place for _, places in accounts for place in places}
    if len(told) < len(rows):  # trouble of our own: it did not get as far
        accounts = [*accounts, (Account(now), [place for place in range(len(rows)) if place not in told])]
    return tuple(
        (now, journey.attempted(account, now, rows[places[0]].lane, [became[place] for place in places]))
        for account, places in accounts
    )


def _became(row: QueuedRecipient, step: str, about: About) -> str:
    said = about.get("reply") or about.get("error") or f"discarded by {about.get('place')}"
    hop, next_at = about.get("hop", ""), about.get("next_at")
    return journey.became(row.number, about["recipient"], step, said, hop, next_at, "in_doubt" in about)  # type: ignore[arg-type]


def expired(
    rows: Sequence[QueuedRecipient], planned: Sequence[Planned], why: Deferred, now: float
) -> tuple[Entry, ...]:
    """Those of these, which had waited too long to be tried, that are given up."""
    given_up = [row for row, one in zip(rows, planned, strict=True) if one.step == "expired"]
    if not given_up:
        return ()
    told = [(row.number, str(row.recipient.address), str(why.reply), why.hop) for row in given_up]
    return ((now, journey.expired(given_up[0].lane, told)),)


def held(rows: Sequence[NewRecipient], numbers: Sequence[int], now: float) -> tuple[Entry, ...]:
    """Those of a fresh message that are held from the beginning: an entry for each reason.

    rows     all recipients of the message
    numbers  which of them are held; empty for nearly all mail
    """
    reasons: dict[str, list[int]] = {}
    for number in numbers:
        reasons.setdefault(rows[number].note, []).append(number)
    return tuple((now, journey.changed("held", "", why, those)) for why, those in reasons.items())
