"""How the answers of a relay's shards become one answer: the rules that the command line, the page and the API share.

Each shard has a control socket and answers for itself.  ``RULES`` says for each question what is made of the answers;
relay.operate.together (blocking, for the command line) and relay.operate.inquirer (within the relay) keep to it.

The rule that must not be broken: who changes the queue changes all of it, or hears before anything is done that a part
cannot be reached.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay.message.outline import FOUND_LIMIT
from relay.operate.asking import Refusal
from relay.schedule.forecast import BOUNCES_SHOWN

Row = dict[str, Any]
Answers = Sequence[tuple[int, Row]]
"""The one row of each shard that answered, with the shard's number."""


class Manner(enum.Enum):
    """
    IN_ORDER      the rows of all, in the order of one of their fields; none of them gathered
    OF_ONE        the rows of the shard that has what is asked for; the others refuse
    OF_ANY        all would say the same: the first that answers
    COMBINED      one row of each, and one made of them
    CHANGED       a change, made in all of them: the sum of what was changed
    AS_THEY_COME  the rows of all, without an end
    """

    IN_ORDER = enum.auto()
    OF_ONE = enum.auto()
    OF_ANY = enum.auto()
    COMBINED = enum.auto()
    CHANGED = enum.auto()
    AS_THEY_COME = enum.auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """What is made of the answers to one question.

    key           of IN_ORDER: the field by which the rows are ordered
    newest_first  of IN_ORDER: whether the largest comes first
    limit         the field of the question that says how many rows are wanted, of all shards together
    most          how many there are when it does not say
    lines         the same, and the last ones are meant
    combine       of COMBINED
    is_quick      who does not answer it within seconds does not answer at all
    """

    manner: Manner
    key: str = ""
    newest_first: bool = False
    limit: str = ""
    most: int | None = None
    lines: str = ""
    combine: Callable[[Answers], Row] | None = None
    is_quick: bool = False


def rule_of(do: str, fields: Mapping[str, object]) -> Rule:
    """The rule of a question.  Raises Refusal for one that nobody knows."""
    rule = RULES.get(do)
    if rule is None:
        raise Refusal(f"nothing is known of {do}; are relay and this program of the same version?", "request")
    if fields.get("follow"):
        return _FOLLOWED
    return replace(rule, newest_first=True) if fields.get("newest_first") else rule


def order_of(rule: Rule) -> Callable[[Row], Any]:
    """The key to order rows by."""
    return lambda row: row[rule.key]


def bound_of(name: str, fields: Mapping[str, object], most: int | None = None) -> int | None:
    """How many rows a question wants, by the field of this name; None: all."""
    found = fields.get(name) if name else None
    return found if isinstance(found, int) else most


def status_of(answers: Answers) -> Row:
    """One status: sums, and each process by itself under ``workers``."""
    workers = [
        {"shard": shard, "pid": row["pid"], "uptime_s": row["uptime_s"], "messages": row["queue"]["messages"]}
        for shard, row in answers
    ]
    if len(answers) == 1:
        return {**answers[0][1], "workers": workers}
    rows = [row for _, row in answers]
    queues = [row["queue"] for row in rows]
    oldest = min(rows, key=lambda row: float(row["started_at"]))
    return {
        **{name: oldest[name] for name in ("version", "hostname", "pid", "started_at", "uptime_s")},
        "queue": {
            **{name: sum(queue[name] for queue in queues) for name in ("messages", "octets", "set_aside")},
            "recipients": sums(queue["recipients"] for queue in queues),
            "oldest_at": of_those_known(min, (queue["oldest_at"] for queue in queues)),
        },
        "destinations": destinations_of(row["destinations"] for row in rows),
        "steps": sums(row["steps"] for row in rows),
        "workers": workers,
    }


def destinations_of(lists: Iterable[Sequence[Row]]) -> Sequence[Row]:
    """Destinations of several shards: one row each, those with most to do first."""
    found: dict[str, list[Row]] = {}
    for rows in lists:
        for row in rows:
            found.setdefault(row["destination"], []).append(row)
    summed = [rows[0] if len(rows) == 1 else _destination_of(rows) for rows in found.values()]
    return sorted(summed, key=lambda row: (-row["waiting"], row["destination"]))


def _destination_of(rows: Sequence[Row]) -> Row:
    at_work = [row for row in rows if "window" in row]
    summed: Row = {
        "destination": rows[0]["destination"],
        "waiting": sum(row["waiting"] for row in rows),
        "in_flight": sum(row["in_flight"] for row in rows),
    }
    if at_work:
        summed["window"] = sum(row["window"] for row in at_work)
        summed["resting_until"] = of_those_known(max, (row["resting_until"] for row in at_work))
        summed["failures"] = max(row["failures"] for row in at_work)
        summed["error"] = next((row["error"] for row in at_work if row["error"]), "")
    return summed


def named_of(answers: Answers) -> Row:
    """The destinations that a name means in any shard: the one that is called so, else all that lead there."""
    name = answers[0][1]["destination"]
    found = {lane for _, row in answers for lane in row["destinations"]}
    return {"destination": name, "destinations": [name] if name in found else sorted(found)}


def nobody_knows(name: str) -> str:
    """What is said of a name that means no destination in any shard."""
    return f"no mail is for a destination {name}, and none is at work that is called so or leads there"


def history_of(answers: Answers) -> Row:
    """One history: the minutes of all, side by side.  Who was asked just after a minute began has one more than who
    was asked just before it; the sum ends with the latest."""
    rows = [row for _, row in answers]
    every_s, from_at = rows[0]["every_s"], max(row["from_at"] for row in rows)
    summed: Row = {"every_s": every_s, "from_at": from_at, "now_at": max(row["now_at"] for row in rows), "steps": {}}
    for row in rows:
        late = round((from_at - row["from_at"]) / every_s)
        for step, numbers in row["steps"].items():
            into = summed["steps"].setdefault(step, [0] * len(numbers))
            for at, number in enumerate(numbers[late:]):
                into[at] += number
    return summed


def ages_of(answers: Answers) -> Row:
    """How long recipients have waited, of all shards."""
    rows = [row for _, row in answers]
    ages = [
        {**one, "recipients": sum(row["ages"][at]["recipients"] for row in rows)}
        for at, one in enumerate(rows[0]["ages"])
    ]
    return {"ages": ages, "at_least": any(row["at_least"] for row in rows)}


def forecast_of(answers: Answers) -> Row:
    """One forecast of those of the shards, which were asked with the same ``now``."""
    rows = [row for _, row in answers]
    first = rows[0]
    if len(rows) == 1:
        return first
    found: dict[str, list[Row]] = {}
    for row in rows:
        for one in row["destinations"]:
            found.setdefault(one["destination"], []).append(one)
    destinations = [_course_of(ones) for ones in found.values()]
    return {
        "from_at": first["from_at"],
        "every_s": first["every_s"],
        "events": {event: _added([row["events"][event] for row in rows]) for event in first["events"]},
        "messages": _added([row["messages"] for row in rows]),
        "octets": _added([row["octets"] for row in rows]),
        "destinations": sorted(destinations, key=lambda one: (-one["recipients"], one["destination"])),
        "bounces": sorted((one for row in rows for one in row["bounces"]), key=lambda one: one["at"])[:BOUNCES_SHOWN],
    }


def _course_of(rows: Sequence[Row]) -> Row:
    stands = "down" if any(row["stands"] == "down" for row in rows) else rows[0]["stands"]
    numbers = [{name: value for name, value in row.items() if isinstance(value, int)} for row in rows]
    return {
        "destination": rows[0]["destination"],
        "stands": stands,
        **sums(numbers),
        "next_at": of_those_known(min, (row["next_at"] for row in rows)),
        "first_bounce_at": of_those_known(min, (row["first_bounce_at"] for row in rows)),
        "last_bounce_at": of_those_known(max, (row["last_bounce_at"] for row in rows)),
    }


def _added(lists: Sequence[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*lists, strict=True)]


def webhooks_of(answers: Answers) -> Row:
    """How each receiver is told, over all journals."""
    found: dict[str, list[Row]] = {}
    for _, row in answers:
        for one in row["webhooks"]:
            found.setdefault(one["webhook"], []).append(one)
    return {"webhooks": [_webhook_of(rows) for rows in found.values()]}


def _webhook_of(rows: Sequence[Row]) -> Row:
    troubled = [row for row in rows if row["failing_since"] is not None]
    first = min(troubled, key=lambda row: float(row["failing_since"]), default=rows[0])
    counted = ("behind", "sent", "failures", "dropped")
    return {**first, **{name: sum(row[name] for row in rows) for name in counted}}


def numbers_of(answers: Answers) -> Row:
    """The numbers of each, by its shard: for Prometheus, which adds them up."""
    return {"workers": {str(shard): row for shard, row in answers}}


def health_of(answers: Answers) -> Row:
    """What anybody complains of; the same complaint of several is one."""
    found = {(one["about"], one["what"]): one for _, row in answers for one in row["complaints"]}
    return {"complaints": list(found.values())}


def sums(numbers: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Numbers by name, added up."""
    summed: dict[str, int] = {}
    for one in numbers:
        for name, number in one.items():
            summed[name] = summed.get(name, 0) + number
    return summed


def of_those_known(choose: Callable[..., float], times: Iterable[float | None]) -> float | None:
    """The least or greatest of those that are not None."""
    known = [at for at in times if at is not None]
    return choose(known) if known else None


_FOLLOWED = Rule(Manner.AS_THEY_COME)
_CHANGED = Rule(Manner.CHANGED)
_OF_ONE = Rule(Manner.OF_ONE)
_OF_ANY = Rule(Manner.OF_ANY)

RULES: Mapping[str, Rule] = {
    "status": Rule(Manner.COMBINED, combine=status_of, is_quick=True),
    "forecast": Rule(Manner.COMBINED, combine=forecast_of),
    "webhooks": Rule(Manner.COMBINED, combine=webhooks_of, is_quick=True),
    "metrics": Rule(Manner.COMBINED, combine=numbers_of, is_quick=True),
    "health": Rule(Manner.COMBINED, combine=health_of, is_quick=True),
    "history": Rule(Manner.COMBINED, combine=history_of, is_quick=True),
    "config": _OF_ANY,
    "log.tail": Rule(Manner.IN_ORDER, "at", lines="lines"),
    "queue.ages": Rule(Manner.COMBINED, combine=ages_of),
    "queue.list": Rule(Manner.IN_ORDER, "id"),
    "queue.show": _OF_ONE,
    "queue.content": _OF_ONE,
    "queue.flush": _CHANGED,
    "queue.hold": _CHANGED,
    "queue.release": _CHANGED,
    "queue.retry": _CHANGED,
    "queue.remove": _CHANGED,
    "destination.named": Rule(Manner.COMBINED, combine=named_of),
    "destination.awaited": _OF_ANY,
    "destination.rest": _CHANGED,
    "destination.wake": _CHANGED,
    "trace.find": Rule(Manner.IN_ORDER, "id", newest_first=True, limit="limit", most=FOUND_LIMIT),
    "trace.show": _OF_ONE,
    "trace.envelopes": Rule(Manner.IN_ORDER, "id", newest_first=True),
    "explain": _OF_ANY,
    "explain.destinations": Rule(Manner.IN_ORDER, "destination"),
    "explain.message": _OF_ONE,
}
"""Every question, and what is made of its answers."""
