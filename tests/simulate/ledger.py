"""What really happened: who was promised what, what arrived where, and what the relay told.

The names of mail carry their story: the recipient ``m17r2@…`` is number 2 of letter ``m17``, whose sender is
``m17s@…``.  So a next hop knows by the envelope alone what it got.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAME = re.compile(r"m(\d+)(?:r(\d+)|s)$")

Key = tuple[int, int]
"""(letter, recipient number)."""

REPORTED = re.compile(rb"Final-Recipient: rfc822; ?m(\d+)r(\d+)@.*?\r\nAction: (\w+)", re.S | re.I)


def key_of(address: str) -> Key | None:
    """The recipient that an address names; None for a sender's, or one that is not of this world."""
    found = NAME.match(address.partition("@")[0])
    return (int(found[1]), int(found[2])) if found and found[2] else None


def letter_of(address: str) -> int | None:
    """The letter that a sender's address names."""
    found = NAME.match(address.partition("@")[0])
    return int(found[1]) if found and not found[2] else None


@dataclass(slots=True)
class Letter:
    """One attempt of a client to hand in a message.

    sender      None: the null sender
    recipients  addresses, in the order in which they are offered; taken: the numbers the relay said 250 to
    notify      number -> its NOTIFY, where there is one
    is_plain    arrives as it was sent, octet for octet
    is_forbidden  its client may not send it: it must not be taken
    """

    number: int
    sender: str | None
    recipients: list[str]
    content: bytes
    notify: dict[int, str] = field(default_factory=dict)
    body: str = ""
    is_plain: bool = True
    is_forbidden: bool = False
    taken: list[int] = field(default_factory=list)
    acknowledged_at: float | None = None
    message_id: str = ""


@dataclass(slots=True)
class Fate:
    """What has become of one recipient, as the world saw it.

    delivered    when and where a next hop took it
    refused      a hop said 5yz, or the DNS that there is no such domain
    given_up     it has expired
    heard        actions of which reports arrived
    reports      action -> the reports (message ids, or places) that told the sender
    begun        attempts, in all lives
    accepted_at  by the relay, as far as an attempt has shown it
    not_before   no attempt may begin before this
    is_open      an attempt began and its end was not told
    was_open     likewise, and then the relay's life ended
    in_doubt     the relay has recorded a doubt, or crashed, since the last delivery
    settled      nothing more is expected
    shard        in whose queue it is, as far as an attempt has shown it; -1 before
    is_held      the relay has said to an operator that it is held, and nobody has asked for its release since
    was_held     it was held at some time, or may have been
    released_at  when that was last asked for
    is_removed   the relay has said to an operator that it is removed
    may_be_removed  an operator has asked for that
    removal_asked_at  when he last did
    """

    delivered: list[tuple[float, str]] = field(default_factory=list)
    refused: bool = False
    given_up: bool = False
    reports: dict[str, set[str]] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    begun: int = 0
    accepted_at: float = 0.0
    not_before: float = 0.0
    is_open: bool = False
    was_open: bool = False
    in_doubt: bool = False
    settled: bool = False
    shard: int = -1
    is_held: bool = False
    was_held: bool = False
    released_at: float = float("-inf")
    is_removed: bool = False
    may_be_removed: bool = False
    removal_asked_at: float = 0.0


class Ledger:
    """The books of one world."""

    def __init__(self) -> None:
        self.letters: dict[int, Letter] = {}
        self.fates: dict[Key, Fate] = {}
        self.by_id: dict[str, int] = {}
        self.acknowledged = 0
        self.delivered = 0

    def fate(self, key: Key) -> Fate:
        fate = self.fates.get(key)
        if fate is None:
            fate = self.fates[key] = Fate()
        return fate

    def acknowledge(self, letter: Letter, message_id: str, now: float) -> None:
        """The client has read the 250 to its content."""
        letter.acknowledged_at = now
        letter.message_id = message_id
        self.by_id[message_id] = letter.number
        self.acknowledged += 1


def reported_in(content: bytes) -> list[tuple[Key, str]]:
    """Of whom a report tells, and what."""
    return [((int(m[1]), int(m[2])), m[3].decode().lower()) for m in REPORTED.finditer(content)]
