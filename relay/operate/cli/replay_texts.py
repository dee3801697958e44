"""What a replay has found (relay.operate.whatif.tally), drawn for people: a sentence, then each kind of change.

Pure: plain data goes in, lines come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay.operate.cli.finding_texts import rule_of
from relay.operate.cli.speech import count, hour

Row = Mapping[str, Any]
Style = Mapping[str, Any]
Line = tuple[str, Style]

GROUPS_SHOWN = 10
"""Of a kind."""

PLAIN: Style = {}
DIM: Style = {"dim": True}
BOLD: Style = {"bold": True}
BAD: Style = {"fg": "red", "bold": True}
LEFT = " " * 9

_SENTENCES = {
    "refused": ("recipient is now refused", "recipients are now refused"),
    "put_off": ("recipient is now put off", "recipients are now put off"),
    "rejected": ("delivery is now rejected by its route", "deliveries are now rejected by their route"),
    "discarded": ("delivery is now thrown away", "deliveries are now thrown away"),
    "accepted": ("recipient is now accepted", "recipients are now accepted"),
    "forwarded": ("recipient is forwarded elsewhere", "recipients are forwarded elsewhere"),
    "routed": ("delivery changes route", "deliveries change route"),
    "held": ("delivery is now held", "deliveries are now held"),
    "not_held": ("delivery is no longer held", "deliveries are no longer held"),
    "reworded": ("refusal has another reply", "refusals have another reply"),
}


def lines_of(found: Row) -> Iterator[Line]:
    """The lines about it."""
    changes = {kind: number for kind, number in found["changes"].items() if number}
    old = f"{found['old']} as it is in force" if found["in_force"] else found["old"]
    envelopes = f"{count(found['envelopes'], 'envelope')} with {count(found['recipients'], 'recipient')}"
    yield f"{envelopes}, since {hour(found['since'])}, by {old} and by {found['new']}:", PLAIN
    if not found["envelopes"]:
        yield (
            "The journal holds nothing of that time (journal.keep); nothing is known of what would be different.",
            BOLD,
        )
    elif not changes:
        yield "Nothing would be different.", BOLD
    else:
        yield f"{', '.join(_sentence(kind, number) for kind, number in changes.items())}.", BOLD
    for kind, number in changes.items():
        yield "", PLAIN
        yield _sentence(kind, number), BAD if kind in ("refused", "put_off", "rejected", "discarded") else BOLD
        yield from _groups(number, [group for group in found["groups"] if group["kind"] == kind])
    yield "", PLAIN
    yield from ((line, DIM) for line in _remarks(found))


def _sentence(kind: str, number: int) -> str:
    one, more = _SENTENCES[kind]
    return f"{number:,} {one if number == 1 else more}"


def _groups(number: int, groups: Sequence[Row]) -> Iterator[Line]:
    for group in groups[:GROUPS_SHOWN]:
        yield from _side(f"{group['count']:,}", group["old"])
        yield from _side("->", group["new"])
        yield f"{LEFT}as {'; '.join(map(_example, group['examples']))}", DIM
    left = number - sum(group["count"] for group in groups[:GROUPS_SHOWN])
    if left:
        yield f"{left:>7,}  more, by other rules; --json has more of them", PLAIN


def _side(head: str, side: Row) -> Iterator[Line]:
    yield f"{head:>7}  {side['what']}", PLAIN
    yield f"{LEFT}{rule_of(side)}", DIM


def _example(one: Row) -> str:
    to = f" to {one['recipient']}" if one["recipient"] else ""
    client = f" from {one['client']}" if one["client"] else ""
    login = f" as {one['login']}" if one["login"] else ""
    return f"{one['sender']}{to}{client}{login}"


def _remarks(found: Row) -> Iterator[str]:
    """What is to be known of it."""
    yield from found["notes"]
    if found["beside"]:
        yield f"Both with {found['beside']}, as the relay was started."
    if found["restart"]:
        yield f"Only a restart takes what is new in {', '.join(found['restart'])}; a reload does not."
    if found["otherwise_then"]:
        fared = count(found["otherwise_then"], "recipient") + " fared otherwise then than by the old configuration now"
        yield f"{fared}: it, a list or a user has changed since, or it was the hour (crowds, a full disk)."
    untold = found["not_replayed"]
    if untold["content"]:
        yield f"{count(untold['content'], 'message')} refused for the content, which is not kept: not replayed."
    if untold["more"]:
        yield f"{count(untold['more'], 'more refusal')} came too quickly for the journal to hold: not replayed."
    if untold["unreadable"]:
        yield f"{count(untold['unreadable'], 'journey')} without an envelope in the journal: not replayed."
    yield "Replayed is what the journal holds, the envelopes: not content, nor clients and logins that were refused"
    yield "before they named a sender. Routes are those of the table; neither the DNS nor any host was asked."
