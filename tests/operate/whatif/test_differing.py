"""What counts as a difference, and how differences are counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.operate.cli.replay_texts import lines_of
from relay.operate.whatif.differing import Difference, Kind, Side, differences
from relay.operate.whatif.fate import Fate, Target
from relay.operate.whatif.past import Past, Visitor
from relay.operate.whatif.replay import REMEMBERED_LIMIT, Replay
from relay.operate.whatif.tally import EXAMPLES, GROUPS_LIMIT, Tally

BOB = "bob@example.net"
BY_MX = Target(BOB, "example.net", "mx:", "default: by MX", "built-in default")
TO_HOST = Target(BOB, "smtp:h:25", "smtp://h:25", "routes[0]", "new.yaml:9")
TAKEN = Fate("accepted", "recipient", "250 2.1.5 OK", "accept.networks: 10.0.0.0/8", "old.yaml:3", (BY_MX,))
DENIED = Fate("refused", "recipient", "550 5.7.1 Relaying denied", "not in accept.networks", "new.yaml:3")
LATER = Fate("temporary", "recipient", "450 4.2.1 Not now", "accept.recipients", "new.yaml:4")
PAST = Past(Visitor("10.0.0.7", "tcp:25", "relay"), "ann@example.org", (BOB,))


def going(*targets: Target) -> Fate:
    return replace(TAKEN, targets=targets, place="new.yaml:3")


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        (TAKEN, TAKEN, []),
        (TAKEN, replace(TAKEN, rule="another", place="new.yaml:7", reply="251 2.1.5 elsewhere"), []),
        (TAKEN, going(replace(BY_MX, rule="routes[3]", place="new.yaml:20")), []),
        (TAKEN, DENIED, [Kind.REFUSED]),
        (TAKEN, LATER, [Kind.PUT_OFF]),
        (LATER, DENIED, [Kind.REFUSED]),
        (DENIED, LATER, [Kind.PUT_OFF]),
        (DENIED, TAKEN, [Kind.ACCEPTED]),
        (LATER, TAKEN, [Kind.ACCEPTED]),
        (DENIED, DENIED, []),
        (DENIED, replace(DENIED, reply="550 5.1.1 No such user"), [Kind.REWORDED]),
        (DENIED, replace(DENIED, rule="another"), []),
        (TAKEN, going(replace(BY_MX, address="eve@example.net")), [Kind.FORWARDED]),
        (TAKEN, going(BY_MX, replace(TO_HOST, address="eve@example.net")), [Kind.FORWARDED]),
        (TAKEN, going(TO_HOST), [Kind.ROUTED]),
        (TAKEN, going(replace(TO_HOST, ends="rejected")), [Kind.REJECTED]),
        (TAKEN, going(replace(TO_HOST, ends="discarded")), [Kind.DISCARDED]),
        (TAKEN, going(replace(BY_MX, hold=True)), [Kind.HELD]),
        (TAKEN, going(replace(TO_HOST, hold=True)), [Kind.ROUTED, Kind.HELD]),
        (going(replace(BY_MX, hold=True)), TAKEN, [Kind.NOT_HELD]),
    ],
)
def test_what_is_different(old: Fate, new: Fate, kinds: list[Kind]) -> None:
    assert [one.kind for one in differences(BOB, old, new)] == kinds


def test_both_sides_name_their_rule_and_its_place() -> None:
    (found,) = differences(BOB, TAKEN, DENIED)
    assert found == Difference(
        Kind.REFUSED,
        BOB,
        Side("accepted", "accept.networks: 10.0.0.0/8", "old.yaml:3"),
        Side("550 5.7.1 Relaying denied", "not in accept.networks", "new.yaml:3"),
    )
    (found,) = differences(BOB, TAKEN, going(TO_HOST))
    assert (found.old, found.new) == (
        Side("mx:", "default: by MX", "built-in default"),
        Side("smtp://h:25", "routes[0]", "new.yaml:9"),
    )


def test_the_same_change_is_one_group_with_some_examples() -> None:
    tally = Tally()
    for number in range(10):
        past = replace(PAST, sender=f"ann{number // 2}@example.org")
        tally.take(past, differences(BOB, TAKEN, DENIED))
    tally.take(PAST, differences(BOB, TAKEN, going(TO_HOST)))
    refused, routed = tally.groups()
    assert (refused.kind, refused.count, routed.kind, routed.count) == (Kind.REFUSED, 10, Kind.ROUTED, 1)
    assert [one.sender for one in refused.examples] == [f"ann{number}@example.org" for number in range(EXAMPLES)]
    assert tally.changes == {Kind.REFUSED: 10, Kind.ROUTED: 1}


def test_groups_have_a_bound_and_changes_are_counted_all_the_same() -> None:
    tally = Tally()
    for number in range(GROUPS_LIMIT + 7):
        tally.take(PAST, differences(BOB, TAKEN, replace(DENIED, rule=f"rule {number}")))
    assert len(tally.groups()) == GROUPS_LIMIT
    assert tally.changes[Kind.REFUSED] == GROUPS_LIMIT + 7
    assert tally.ungrouped[Kind.REFUSED] == 7


class Says:
    """A configuration that says the same of everybody."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.asked = 0

    def fates(self, past: Past) -> list[Fate]:
        self.asked += 1
        return [self.fate] * max(1, len(past.recipients))


def row(sender: str = "ann@example.org", taken: bool = True, recipients: int = 1) -> dict[str, object]:
    to = [{"named": f"{number}@example.net", "to": ["x"] if taken else []} for number in range(recipients)]
    who = {"client": "10.0.0.7", "listener": "tcp:25", "service": "relay", "checks": []}
    return {"step": "accepted" if taken else "refused", "stage": "recipient", "sender": sender, "recipients": to, **who}


def test_equal_envelopes_are_decided_once() -> None:
    old, new = Says(TAKEN), Says(DENIED)
    replay = Replay(old, new)
    for _ in range(5):
        replay.take(row())
    replay.take(row("eve@example.org"))
    replay.take(row(recipients=3))
    assert (old.asked, new.asked) == (3, 3)
    assert (replay.tally.envelopes, replay.tally.recipients) == (7, 9)
    assert replay.tally.changes == {Kind.REFUSED: 9}


def test_what_is_remembered_has_a_bound() -> None:
    replay = Replay(Says(TAKEN), Says(TAKEN))
    for number in range(REMEMBERED_LIMIT + 10):
        replay.take(row(f"{number}@example.org"))
    assert len(replay._remembered) <= REMEMBERED_LIMIT


def test_what_fared_otherwise_then_is_told() -> None:
    replay = Replay(Says(DENIED), Says(DENIED))
    replay.take(row())
    replay.take(row(taken=False))
    replay.take({"step": "refused", "count": 40, "since": 0.0})
    replay.take({"step": "unreadable", "error": "x"})
    assert replay.tally.otherwise == 1
    assert replay.tally.row()["not_replayed"] == {"content": 0, "more": 40, "unreadable": 1}


def told(tally: Tally, **also: object) -> list[str]:
    compared = {"since": 1_700_000_000.0, "old": "old.yaml", "in_force": True, "new": "new.yaml"}
    whole = {**compared, "beside": "", "restart": [], "notes": [], **tally.row(), **also}
    return [line for line, _ in lines_of(whole)]


def test_it_is_drawn_with_the_worst_first() -> None:
    tally = Tally()
    tally.envelopes = tally.recipients = 3
    tally.take(PAST, differences(BOB, TAKEN, going(TO_HOST)))
    tally.take(PAST, differences(BOB, TAKEN, DENIED))
    tally.take(PAST, differences(BOB, TAKEN, DENIED))
    lines = told(tally, restart=["listen"])
    assert lines[0].startswith("3 envelopes with 3 recipients, since ")
    assert lines[0].endswith(", by old.yaml as it is in force and by new.yaml:")
    assert lines[1:16] == [
        "2 recipients are now refused, 1 delivery changes route.",
        "",
        "2 recipients are now refused",
        "      2  accepted",
        "         accept.networks: 10.0.0.0/8  (old.yaml:3)",
        "     ->  550 5.7.1 Relaying denied",
        "         not in accept.networks  (new.yaml:3)",
        "         as ann@example.org to bob@example.net from 10.0.0.7",
        "",
        "1 delivery changes route",
        "      1  mx:",
        "         default: by MX  (built-in default)",
        "     ->  smtp://h:25",
        "         routes[0]  (new.yaml:9)",
        "         as ann@example.org to bob@example.net from 10.0.0.7",
    ]
    assert any("Only a restart takes what is new in listen" in line for line in lines)


def test_nothing_and_no_journal_are_told_apart() -> None:
    tally = Tally()
    assert "The journal holds nothing of that time" in told(tally)[1]
    tally.envelopes = 1
    assert told(tally)[1] == "Nothing would be different."
    assert any("not content" in line for line in told(tally))
