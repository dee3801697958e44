"""What is different between what two configurations make of a recipient.

Pure.  That another rule decides, or a rule stands elsewhere, is no difference as long as the same comes of it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from relay.operate.whatif.fate import Fate, Target

TARGETS_SHOWN = 5


class Kind(enum.Enum):
    """In the order in which they are told: what loses mail first."""

    REFUSED = "refused"
    PUT_OFF = "put_off"
    REJECTED = "rejected"
    DISCARDED = "discarded"
    ACCEPTED = "accepted"
    FORWARDED = "forwarded"
    ROUTED = "routed"
    HELD = "held"
    NOT_HELD = "not_held"
    REWORDED = "reworded"


@dataclass(frozen=True, slots=True)
class Side:
    """What one configuration makes of it: what, and the rule with its place."""

    what: str
    rule: str
    place: str


@dataclass(frozen=True, slots=True)
class Difference:
    """
    about  the recipient as he was named, or where his mail goes; empty: it is about the sender
    """

    kind: Kind
    about: str
    old: Side
    new: Side


def differences(about: str, old: Fate, new: Fate) -> Iterator[Difference]:
    """Those of one recipient; none when it all comes to the same.

    about  as he was named
    """
    if old.decision == new.decision == "accepted":
        yield from _of_targets(about, old, new)
    elif new.decision != old.decision:
        kind = {"refused": Kind.REFUSED, "temporary": Kind.PUT_OFF}.get(new.decision, Kind.ACCEPTED)
        yield Difference(kind, about, _decided(old), _decided(new))
    elif old.reply != new.reply:
        yield Difference(Kind.REWORDED, about, _decided(old), _decided(new))


def _decided(fate: Fate) -> Side:
    return Side(fate.reply if fate.decision != "accepted" else "accepted", fate.rule, fate.place)


def _of_targets(about: str, old: Fate, new: Fate) -> Iterator[Difference]:
    before = {one.address: one for one in old.targets}
    after = {one.address: one for one in new.targets}
    if before.keys() != after.keys():
        yield Difference(Kind.FORWARDED, about, _forwarded(about, old), _forwarded(about, new))
        return
    for address, target in after.items():
        yield from _of_route(before[address], target)


def _forwarded(about: str, fate: Fate) -> Side:
    addresses = [one.address for one in fate.targets]
    if addresses == [about]:
        return Side("not forwarded", fate.rule, fate.place)
    more = f" and {len(addresses) - TARGETS_SHOWN} more" if len(addresses) > TARGETS_SHOWN else ""
    return Side(", ".join(addresses[:TARGETS_SHOWN]) + more, fate.rule, fate.place)


def _of_route(old: Target, new: Target) -> Iterator[Difference]:
    before, after = Side(old.via, old.rule, old.place), Side(new.via, new.rule, new.place)
    if old.lane != new.lane:
        kind = {"rejected": Kind.REJECTED, "discarded": Kind.DISCARDED}.get(new.ends, Kind.ROUTED)
        yield Difference(kind, new.address, before, after)
    if old.hold != new.hold:
        yield Difference(Kind.HELD if new.hold else Kind.NOT_HELD, new.address, _held(old), _held(new))


def _held(target: Target) -> Side:
    return Side(f"held, then {target.via}" if target.hold else target.via, target.rule, target.place)
