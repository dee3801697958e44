"""A message's journey as a person reads it: each entry of the journal as a heading, what was said, and the dialogue.

Pure.  An entry that is not known yet is shown with its fields, and not left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.operate.web.words import age, count, size

Row = Mapping[str, Any]

LINES_SHOWN = 400
USUAL = "250 2.1.5"
"""How a recipient is taken who needs no words."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A line of a dialogue.

    by  ``us``, ``them``, or ``remark`` for what neither of them said
    """

    offset_s: float
    by: str
    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """A place on the journey.

    kind        as the style sheet knows it
    facts       name and value, in the order in which they are read
    checks      what was asked of the policy, with rule and place
    recipients  rows with ``recipient``, ``step``, ``reply`` and what else there is
    talks       a hop, and the lines of the dialogue with it
    """

    at: float
    kind: str
    icon: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    checks: tuple[Row, ...] = ()
    recipients: tuple[Row, ...] = ()
    talks: tuple[tuple[str, tuple[Spoken, ...]], ...] = field(default=())


def journey_of(entries: Sequence[Row]) -> Sequence[Stop]:
    """The stops, oldest first."""
    stops = []
    attempts = 0
    for entry in entries:
        attempts += entry["step"] == "attempted"
        stops.append(_stop(entry, attempts))
    return stops


def _stop(entry: Row, attempts: int) -> Stop:
    match entry["step"]:
        case "accepted" if entry.get("report_of"):
            return _accepted(entry, "accepted", "Written here: a report to a sender")
        case "accepted":
            return _accepted(entry, "accepted", f"Accepted from {_client(entry)}")
        case "refused" if entry.get("count"):
            return _plain(entry, "refused", "bad", f"{count(entry['count'], 'more was', 'more were')} refused, unnamed")
        case "refused":
            return _accepted(entry, "refused", f"Refused to {_client(entry)}")
        case "attempted":
            return _attempted(entry, attempts)
        case "held":
            return _changed(entry, "hold", "Held")
        case "released":
            return _changed(entry, "release", "Released")
        case "retried":
            return _changed(entry, "retry", "To be tried at once")
        case "removed":
            return _changed(entry, "remove", "Removed")
        case "warned":
            return _plain(entry, "warned", "report", "The sender was told that it takes longer")
        case "expired":
            return _plain(entry, "expired", "bad", "Given up: it waited too long")
        case "reported":
            return _plain(entry, "reported", "report", "A report went to the sender")
    if entry["step"] == "set_aside":
        return _plain(entry, "failed", "bad", "Set aside: its row was broken")
    return _plain(entry, "other", "log", str(entry["step"]).replace("_", " ").capitalize())


def _client(entry: Row) -> str:
    name, ip = entry.get("client_name"), entry.get("client")
    if not ip:
        return "this machine"
    return f"{name} [{ip}]" if name and name != ip else f"[{ip}]"


def _accepted(entry: Row, kind: str, title: str) -> Stop:
    protocol, tls = entry.get("protocol"), entry.get("tls")
    octets = entry.get("size")
    facts = (
        ("Said to be", entry.get("helo")),
        ("By", f"{protocol or ''}{f' within {tls}' if tls else ''}"),
        ("At", entry.get("listener")),
        ("Logged in as", entry.get("login")),
        ("Sender", entry.get("sender")),
        ("Size", size(octets) if isinstance(octets, (int, float)) else octets),
        ("Message-ID", entry.get("message_id")),
        ("Report of", entry.get("report_of")),
        ("Answer", entry.get("reply")),
        ("Rule", _rule(entry)),
    )
    return Stop(
        entry["at"],
        kind,
        "mail" if kind == "accepted" else "bad",
        title,
        _told(facts),
        tuple(_check(one) for one in entry.get("checks") or ()),
        tuple(_named(one, entry) for one in entry.get("recipients") or ()),
    )


_CHECKED = {"client": "The client may send here", "sender": "The sender may be used", "recipient": "The recipient"}


def _check(row: Row) -> Row:
    return {"what": _CHECKED.get(str(row.get("what")), row.get("what", "")), "rule": _rule(row)}


def _named(row: Row, entry: Row) -> Row:
    """A recipient as the client named it, and what was said to that, where that was not what is always said."""
    known = [_rule(check) for check in entry.get("checks") or ()]
    reply, rule = str(row.get("reply", "")), _rule(row)
    return {
        "recipient": row.get("named", ""),
        "reply": "" if reply.startswith(USUAL) else reply,
        "rule": "" if rule in known else rule,
        "to": [address for address in row.get("to") or () if address != row.get("named")],
    }


def _attempted(entry: Row, number: int) -> Stop:
    recipients = tuple(entry.get("recipients") or ())
    steps = {str(one.get("step")) for one in recipients}
    kind = steps.pop() if len(steps) == 1 else "mixed"
    hop = entry.get("hop") or next((one["hop"] for one in recipients if one.get("hop")), "")
    became = _BECAME.get(kind, kind)
    took_s = entry["at"] - entry.get("began_at", entry["at"])
    facts = (
        ("Destination", entry.get("destination")),
        ("Way", entry.get("rule")),
        ("Host", hop),
        ("TLS", entry.get("tls") or ("none" if hop else "")),
        ("It took", _span(took_s)),
    )
    return Stop(
        entry.get("began_at", entry["at"]),
        kind,
        _ICONS.get(kind, "destinations"),
        f"Attempt {number}: {became}",
        _told(facts),
        recipients=recipients,
        talks=tuple(_talk(talk) for talk in entry.get("dialogue") or ()),
    )


def _span(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 60 else age(seconds)


_BECAME = {
    "delivered": "delivered",
    "deferred": "put off",
    "failed": "failed",
    "discarded": "thrown away",
    "held": "held",
    "expired": "given up",
    "mixed": "not the same for all",
}
_ICONS = {
    "delivered": "good",
    "deferred": "clock",
    "failed": "bad",
    "expired": "bad",
    "discarded": "remove",
    "held": "hold",
    "mixed": "warn",
}


def _talk(talk: Row) -> tuple[str, tuple[Spoken, ...]]:
    lines = tuple(_spoken(offset_s, text) for offset_s, text in talk.get("lines") or ())[:LINES_SHOWN]
    within = f", within {talk['tls']}" if talk.get("tls") else ""
    return f"{talk.get('hop') or ''}{within}", lines


def _spoken(offset_s: float, text: str) -> Spoken:
    mark, _, said = text.partition(" ")
    by = {">": "us", "<": "them"}.get(mark)
    return Spoken(offset_s, by, said) if by is not None else Spoken(offset_s, "remark", text.removeprefix("* "))


def _changed(entry: Row, icon: str, title: str) -> Stop:
    by = entry.get("by") or entry.get("place")
    numbers = entry.get("numbers")
    whom = f", {count(len(numbers), 'recipient')}" if isinstance(numbers, Sequence) and len(numbers) > 1 else ""
    said = "" if not by else f" by {_WHO.get(str(by), by)}"
    return Stop(entry["at"], str(entry["step"]), icon, f"{title}{said}{whom}", _told((("Why", entry.get("why")),)))


_WHO = {"control": "an operator", "operator": "an operator"}


def _plain(entry: Row, kind: str, icon: str, title: str) -> Stop:
    known = ("at", "step", "recipients", "dialogue", "checks", "numbers", "count", "since")
    facts = [
        (name.replace("_", " ").capitalize(), _plainly(value)) for name, value in entry.items() if name not in known
    ]
    return Stop(entry["at"], kind, icon, title, _told(tuple(facts)), recipients=tuple(_each(entry)))


def _plainly(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _each(entry: Row) -> Iterator[Row]:
    for one in entry.get("recipients") or ():
        yield one if isinstance(one, Mapping) else {"recipient": one}


def _rule(row: Row) -> str:
    rule, place = row.get("rule"), row.get("place")
    return f"{rule} ({place})" if rule and place else str(rule or place or "")


def _told(facts: Sequence[tuple[str, object]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in facts if value not in (None, "", [], {}))
