"""How often what is different, in groups of the same change, with examples.

Pure, and bounded: of groups beyond so many only the number of their changes is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from relay.operate.whatif.differing import Difference, Kind, Side
from relay.operate.whatif.past import Past

GROUPS_LIMIT = 500
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Example:
    """
    client     IP address; empty for this machine itself, and for what is written here
    recipient  as he was named, or where his mail goes; empty where it is about the sender
    """

    client: str
    login: str
    sender: str
    recipient: str


@dataclass(slots=True)
class Group:
    """Changes that are the same: from one rule to another, with the same outcome.

    examples  none twice
    """

    kind: Kind
    old: Side
    new: Side
    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def row(self) -> Mapping[str, object]:
        return {
            "kind": self.kind.value,
            "count": self.count,
            "old": _row(self.old),
            "new": _row(self.new),
            "examples": [asdict(one) for one in self.examples],
        }


class Tally:
    """
    envelopes   that were replayed, and how many recipients they have
    untold      what could not be replayed, by why (relay.operate.whatif.past)
    otherwise   recipients that were accepted then and would not be by the old configuration, or the other way round
    changes     by kind
    ungrouped   changes of groups that there was no room for, by kind
    """

    def __init__(self) -> None:
        self.envelopes = 0
        self.recipients = 0
        self.untold: Counter[str] = Counter()
        self.otherwise = 0
        self.changes: Counter[Kind] = Counter()
        self.ungrouped: Counter[Kind] = Counter()
        self._groups: dict[tuple[Kind, Side, Side], Group] = {}

    def take(self, past: Past, differences: Iterable[Difference]) -> None:
        """Counts what is different for one envelope."""
        for one in differences:
            self.changes[one.kind] += 1
            key = one.kind, one.old, one.new
            group = self._groups.get(key)
            if group is None:
                if len(self._groups) >= GROUPS_LIMIT:
                    self.ungrouped[one.kind] += 1
                    continue
                group = self._groups[key] = Group(*key)
            group.count += 1
            if len(group.examples) < EXAMPLES:
                visitor = past.visitor
                who = (visitor.client, visitor.login) if visitor is not None else ("", "")
                example = Example(*who, past.sender or "<>", one.about)
                if example not in group.examples:
                    group.examples.append(example)

    def groups(self) -> list[Group]:
        """In the order of their kinds; of one kind the largest first."""
        order = list(Kind)
        return sorted(self._groups.values(), key=lambda one: (order.index(one.kind), -one.count))

    def row(self) -> Mapping[str, object]:
        """All of it, as plain data."""
        return {
            "envelopes": self.envelopes,
            "recipients": self.recipients,
            "not_replayed": {why: self.untold[why] for why in ("content", "more", "unreadable")},
            "otherwise_then": self.otherwise,
            "changes": {kind.value: self.changes[kind] for kind in Kind},
            "groups": [one.row() for one in self.groups()],
            "ungrouped": {kind.value: number for kind, number in self.ungrouped.items()},
        }


def _row(side: Side) -> Mapping[str, str]:
    return {"what": side.what, "rule": side.rule, "place": side.place}
