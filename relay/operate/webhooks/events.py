"""What happened to mail, as a receiver of webhooks hears it.  Pure.

An event is about one recipient where it can be; names are those of the log.  Its ``event_id`` is the same however often
it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from relay.message.journey import Row, read
from relay.queue.store import Noted

Kind = Literal[
    "accepted",
    "refused",
    "delivered",
    "deferred",
    "failed",
    "expired",
    "discarded",
    "held",
    "released",
    "removed",
    "warned",
    "reported",
]
KINDS: Sequence[str] = get_args(Kind)
USUAL: tuple[Kind, ...] = ("delivered", "failed", "expired")

Event = dict[str, Any]


def events_of(noted: Noted, wanted: Collection[str]) -> list[Event]:
    """The events of an entry, those that somebody wants."""
    step = _step_of(noted.entry[1])
    make, kinds = _MADE.get(step, (_nothing, frozenset()))
    if not kinds & set(wanted):
        return []
    row = read(noted.entry)
    if row["step"] not in _MADE:
        return []  # unreadable
    about = {"at": noted.entry[0], "id": noted.message, "sender": noted.sender, "message_id": noted.message_id}
    return [
        {"event": kind, "event_id": f"{noted.message}.{noted.n}.{number}", **about, **fields}
        for number, (kind, fields) in enumerate(make(row))
        if kind in wanted
    ]


def _step_of(entry: bytes) -> str:
    """The step alone, without looking at the rest: most entries are not asked for."""
    return entry[2 : entry.find(b'"', 2)].decode("ascii", "replace")


_Made = Iterator[tuple[str, Event]]


def _nothing(row: Row) -> _Made:
    yield from ()


def _accepted(row: Row) -> _Made:
    names = [one["named"] for one in row["recipients"]]
    told = ("client", "client_name", "helo", "protocol", "login", "size", "recipient_count")
    yield "accepted", {**_some(row, told), "recipients": names}


def _refused(row: Row) -> _Made:
    if "stage" in row:  # or it is the number of those of which nothing is kept
        names = [one["named"] for one in row["recipients"]]
        yield (
            "refused",
            {**_some(row, ("client", "client_name", "helo", "login", "stage", "reply")), "recipients": names},
        )


def _attempted(row: Row) -> _Made:
    for one in row["recipients"]:
        told = _some(one, ("number", "recipient", "reply", "hop", "next_at", "in_doubt"))
        yield str(one["step"]), {**told, "destination": row["destination"]}


def _each(row: Row) -> _Made:
    for one in row["recipients"]:
        yield str(row["step"]), _some(one, ("number", "recipient", "reply", "hop"))


def _reported(row: Row) -> _Made:
    yield "reported", _some(row, ("report", "to", "numbers"))


def _changed(row: Row) -> _Made:
    yield str(row["step"]), _some(row, ("by", "why", "numbers"))


def _some(row: Mapping[str, Any], names: Sequence[str]) -> Event:
    return {name: row[name] for name in names if row.get(name) is not None}


_MADE: Mapping[str, tuple[Callable[[Row], _Made], frozenset[str]]] = {
    "accepted": (_accepted, frozenset({"accepted"})),
    "refused": (_refused, frozenset({"refused"})),
    "attempted": (_attempted, frozenset({"delivered", "deferred", "failed", "expired", "discarded", "held"})),
    "expired": (_each, frozenset({"expired"})),
    "warned": (_each, frozenset({"warned"})),
    "reported": (_reported, frozenset({"reported"})),
    "held": (_changed, frozenset({"held"})),
    "released": (_changed, frozenset({"released"})),
    "removed": (_changed, frozenset({"removed"})),
}
