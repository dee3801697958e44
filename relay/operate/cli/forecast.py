"""``relay status --forecast``: what becomes of the queue if nothing changes, drawn for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay.operate.cli.speech import count, hour, moment, say, size, until
from relay.operate.cli.tables import show_table

LINES = 12
BOUNCES_SHOWN = 5
EVENTS = (("tried", "TRIED"), ("delivered", "DELIVERED"), ("warned", "WARNED"), ("bounced", "BOUNCED"))
ALSO = {"held": "held as undeliverable", "dropped": "given up without a report"}

Row = Mapping[str, Any]


def show_forecast(found: Row) -> None:
    """A table of the time to come, the destinations, and the first messages that come back."""
    spans = len(found["messages"])
    if not any(found["messages"]) and not any(map(any, found["events"].values())):
        say("the queue is empty, so nothing is tried, warned of or given up")
        return
    say(f"if nothing changes, until {moment(found['from_at'] + spans * found['every_s'])}:")
    say()
    heads = ("UNTIL", *(head for _, head in EVENTS), "LEFT", "ON DISK")
    show_table(heads, list(_lines(found)), right=tuple(range(1, len(heads))))
    rare = [f"{sum(found['events'][event]):,} {words}" for event, words in ALSO.items() if any(found["events"][event])]
    if rare:
        say(f"also: {', '.join(rare)}")
    if found["destinations"]:
        say()
        heads = ("DESTINATION", "IS", "RECIPIENTS", "NEXT TRY", "WARNED", "BOUNCED", "FIRST BOUNCE")
        show_table(heads, [_destination(one) for one in found["destinations"]], right=(2, 4, 5))
    _say_bounces(found["bounces"], sum(found["events"]["bounced"]))


def _lines(found: Row) -> Iterator[Sequence[str]]:
    """Some spans together in each line."""
    spans = len(found["messages"])
    together = max(1, -(-spans // LINES))
    for first in range(0, spans, together):
        last = min(first + together, spans)
        numbers = [sum(found["events"][event][first:last]) for event, _ in EVENTS]
        yield (
            hour(found["from_at"] + last * found["every_s"]),
            *(f"{number:,}" if number else "" for number in numbers),
            f"{found['messages'][last - 1]:,}",
            size(found["octets"][last - 1]),
        )


def _destination(one: Row) -> tuple[str, ...]:
    return (
        one["destination"],
        "down" if one["stands"] == "down" else "",
        f"{one['recipients']:,}",
        until(one["next_at"]) if one["next_at"] else "",
        f"{one.get('warned', 0):,}",
        f"{one.get('bounced', 0):,}",
        hour(one["first_bounce_at"]) if one["first_bounce_at"] else "",
    )


def _say_bounces(bounces: Sequence[Row], all_of_them: int) -> None:
    if not bounces:
        return
    say()
    say(f"the first of {count(all_of_them, 'recipient')} to be given up:")
    for one in bounces[:BOUNCES_SHOWN]:
        say(f"  {moment(one['at'])}  {one['id']}  {one['sender']} -> {one['recipient']}")
