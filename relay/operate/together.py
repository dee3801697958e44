"""The shards of one relay, asked as one: their rows in the order of acceptance, their numbers summed.

Each shard has a control socket, whoever serves it: its own worker, or one that has adopted it.  The rule that must
not be broken: who changes the queue changes all of it, or hears before anything is done that a part cannot be reached.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from relay.message.outline import FOUND_LIMIT
from relay.operate.asking import CannotAsk, Control, NotRunning, Refusal
from relay.operate.shards import folder_of, number_of, shards_in
from relay.schedule.forecast import BOUNCES_SHOWN

Row = dict[str, Any]

OF_ONE_MESSAGE = ("queue.show", "queue.content", "explain.message", "trace.show")
OF_ONE_WORKER = ("explain",)
"""Asked of the first that answers: it asks the others itself for what they have part in."""


class Together:
    """Conversations with all shards.  Asked like relay.operate.asking.Control.  A context manager.

    silent  folders of shards whose process does not answer just now
    """

    def __init__(self, spool: Path) -> None:
        """Raises NotRunning when no shard answers, CannotAsk."""
        self.silent: list[Path] = []
        self._controls: list[tuple[int, Control]] = []
        try:
            for shard in shards_in(spool):
                try:
                    self._controls.append((shard, Control(folder_of(spool, shard))))
                except NotRunning:
                    self.silent.append(folder_of(spool, shard))
        except BaseException:
            self.close()
            raise
        if not self._controls:
            raise NotRunning(str(spool))

    def __enter__(self) -> Together:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for _, control in self._controls:
            control.close()

    def ask(self, do: str, /, **fields: object) -> Iterator[Row]:
        """The rows of the answer, as they come.  Raises Refusal, CannotAsk."""
        if do == "queue.list":
            return in_order(control.ask(do, **fields) for _, control in self._controls)
        if do == "trace.find":
            found = newest_first(control.ask(do, **fields) for _, control in self._controls)
            return first_of(found, fields.get("limit"))
        if do in OF_ONE_MESSAGE:
            return self._of_one_message(do, fields)
        if do in OF_ONE_WORKER:
            return self._controls[0][1].ask(do, **fields)
        return iter([self.ask_one(do, **fields)])

    def ask_one(self, do: str, /, **fields: object) -> Row:
        """The one row of the answer: that of the shard that has the message, or the sum."""
        if do in OF_ONE_MESSAGE:
            return next(self._of_one_message(do, fields))
        if do == "status":
            return status_of([(shard, control.ask_one(do, **fields)) for shard, control in self._controls])
        if do == "forecast":
            return forecast_of([control.ask_one(do, **fields) for _, control in self._controls])
        for folder in self.silent:
            raise CannotAsk(f"worker {number_of(folder)} does not answer just now; nothing was changed, try again soon")
        return {"changed": sum(control.ask_one(do, **fields)["changed"] for _, control in self._controls)}

    def _of_one_message(self, do: str, fields: Mapping[str, object]) -> Iterator[Row]:
        return the_one_that_knows(control.ask(do, **fields) for _, control in self._controls)


def in_order(lists: Iterable[Iterable[Row]]) -> Iterator[Row]:
    """Rows of several shards in the order of acceptance, none of them gathered."""
    return heapq.merge(*lists, key=lambda row: str(row["id"]))


def newest_first(lists: Iterable[Iterable[Row]]) -> Iterator[Row]:
    """Rows of several shards that have the newest first, in that order, none of them gathered."""
    return heapq.merge(*lists, key=lambda row: str(row["id"]), reverse=True)


def first_of(rows: Iterator[Row], limit: object = None) -> Iterator[Row]:
    """So many of them; the others are heard all the same, so that the next question gets its own answer."""
    most = limit if isinstance(limit, int) else FOUND_LIMIT
    for number, row in enumerate(rows):
        if number < most:
            yield row


def the_one_that_knows(answers: Iterable[Iterator[Row]]) -> Iterator[Row]:
    """The rows of the first answer that is no refusal.  Raises Refusal when all are."""
    refusal: Refusal | None = None
    for rows in answers:
        try:
            first = next(rows)
        except Refusal as no:  # another shard may have it
            refusal = no if refusal is None or no.kind != "request" else refusal
            continue
        yield first
        yield from rows
        return
    if refusal is not None:
        raise refusal


def status_of(answers: Sequence[tuple[int, Row]]) -> Row:
    """One status of the answers of the shards: sums, and each process by itself under ``workers``."""
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
            "recipients": _sums(queue["recipients"] for queue in queues),
            "oldest_at": _of_those_known(min, (queue["oldest_at"] for queue in queues)),
        },
        "destinations": destinations_of(row["destinations"] for row in rows),
        "steps": _sums(row["steps"] for row in rows),
        "workers": workers,
    }


def forecast_of(rows: Sequence[Row]) -> Row:
    """One forecast of those of the shards, which were asked with the same ``now``."""
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
        **_sums(numbers),
        "next_at": _of_those_known(min, (row["next_at"] for row in rows)),
        "first_bounce_at": _of_those_known(min, (row["first_bounce_at"] for row in rows)),
        "last_bounce_at": _of_those_known(max, (row["last_bounce_at"] for row in rows)),
    }


def _added(lists: Sequence[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*lists, strict=True)]


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
        summed["resting_until"] = _of_those_known(max, (row["resting_until"] for row in at_work))
        summed["failures"] = max(row["failures"] for row in at_work)
        summed["error"] = next((row["error"] for row in at_work if row["error"]), "")
    return summed


def _sums(numbers: Iterable[Mapping[str, int]]) -> dict[str, int]:
    summed: dict[str, int] = {}
    for one in numbers:
        for name, number in one.items():
            summed[name] = summed.get(name, 0) + number
    return summed


def _of_those_known(choose: Callable[..., float], times: Iterable[float | None]) -> float | None:
    known = [at for at in times if at is not None]
    return choose(known) if known else None
