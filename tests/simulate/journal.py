"""The journal as another program reads it, and the law that it tells what really happened."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from relay.message.journey import Row, read
from relay.operate.shards import folder_of, shards_in
from relay.queue.ids import to_text
from tests.simulate.ledger import Fate, Key, Ledger, Letter, key_of

ENDS = ("delivered", "discarded", "failed", "expired", "removed")
EXCUSED_BEFORE, EXCUSED_AFTER = 3, 30  # minutes: how long results may wait for a disk, and the journal rests


@dataclass(slots=True)
class Told:
    """What the journal tells.

    came   what it says of the acceptance of each message, by id
    ends   how it says that each recipient ended
    tried  attempts of each recipient
    removed  numbers of the recipients of each message that an operator has removed
    """

    came: dict[str, Row] = field(default_factory=dict)
    ends: dict[Key, set[str]] = field(default_factory=dict)
    tried: dict[Key, int] = field(default_factory=dict)
    removed: dict[str, set[int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def read_journal(spool: Path) -> Told:
    """Reads it, in all shards."""
    told = Told()
    for shard in shards_in(spool):
        _read(folder_of(spool, shard), told)
    return told


def _read(folder: Path, told: Told) -> None:
    db = apsw.Connection(str(folder / "queue.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for message, at, entry in db.execute("SELECT message, at, entry FROM journal ORDER BY n").fetchall():
            _take(told, to_text(message), read((at / 1_000_000, entry)))
        counted = db.execute("SELECT journal, (SELECT coalesce(sum(length(entry) + 48), 0) FROM journal) FROM tally")
        for kept, there in counted.fetchall():
            if kept != there:
                told.faults.append(f"the journal is said to have {kept} octets, and has {there}")
    finally:
        db.close()


def _take(told: Told, message_id: str, row: Row) -> None:
    if row["step"] == "unreadable":
        told.faults.append(f"an entry of {message_id} cannot be read: {row['error']}")
    if row["step"] == "accepted":
        told.came[message_id] = row
    if row["step"] == "removed":
        told.removed.setdefault(message_id, set()).update(row["numbers"])
    for one in row["recipients"] if row["step"] in ("attempted", "expired") else ():
        key = key_of(one["recipient"])
        if key is not None:
            if row["step"] == "attempted":
                told.tried[key] = told.tried.get(key, 0) + 1
            if one["step"] in ENDS:
                told.ends.setdefault(key, set()).add(one["step"])


def journal_agrees(
    told: Told,
    ledger: Ledger,
    told_at: Mapping[Key, float],
    troubled: Collection[int],
    waiting: Collection[Key],
    violated: Callable[[str], None],
) -> None:
    """What is journaled is what really happened: of each recipient of an acknowledged message that has left the queue
    its end, and no end that it did not have.

    told_at   when the relay last told what became of it
    troubled  minutes in which our own disk failed: then the journal may have been left out
    waiting   those still in the queue
    """

    def excused(at: float) -> bool:
        minute = int(at // 60)
        return any(one in troubled for one in range(minute - EXCUSED_BEFORE, minute + EXCUSED_AFTER))

    for fault in told.faults:
        violated(fault)
    for letter in ledger.letters.values():
        if letter.acknowledged_at is None:
            continue
        if not excused(letter.acknowledged_at):
            _acceptance_agrees(told, letter, violated)
        for place in told.removed.get(letter.message_id, ()):
            told.ends.setdefault((letter.number, letter.taken[place]), set()).add("removed")
        for number in letter.taken:
            key = (letter.number, number)
            fate = ledger.fate(key)
            _end_agrees(told, key, fate, violated)
            if key in waiting or key in told.ends or (fate.may_be_removed and excused(fate.removal_asked_at)):
                continue
            if not excused(told_at.get(key, letter.acknowledged_at)):
                violated(f"m{key[0]}r{key[1]} has left the queue, and the journal does not say how")


def _acceptance_agrees(told: Told, letter: Letter, violated: Callable[[str], None]) -> None:
    came = told.came.get(letter.message_id)
    if came is None:
        violated(f"m{letter.number} was acknowledged as {letter.message_id}, and the journal does not know it")
        return
    named = [one["named"] for one in came["recipients"] if one["to"]]
    if (came["sender"], named) != (letter.sender or "<>", [letter.recipients[number] for number in letter.taken]):
        violated(f"m{letter.number} came from {letter.sender}, and the journal says {came}")


def _end_agrees(told: Told, key: Key, fate: Fate, violated: Callable[[str], None]) -> None:
    happened = {
        "delivered": bool(fate.delivered),
        "failed": fate.refused,
        "expired": fate.given_up,
        "removed": fate.may_be_removed,
    }
    for end in told.ends.get(key, ()):
        if not happened.get(end, False):
            violated(f"the journal says that m{key[0]}r{key[1]} was {end}, and it was not")
    if told.tried.get(key, 0) > fate.begun:
        violated(f"m{key[0]}r{key[1]} was tried {fate.begun} times, and the journal tells of {told.tried[key]}")
