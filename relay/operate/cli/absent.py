"""Ids that were named and are in the queue no more, or never were."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from relay.operate.cli.speech import EX_DATAERR, Stop
from relay.operate.together import Together

Row = Mapping[str, Any]

SAID = 5


def ids_of(selection: Mapping[str, object]) -> Sequence[str]:
    """Those that a selection names."""
    ids = selection.get("ids")
    return ids if isinstance(ids, list) else ()


def say_absent(ids: Sequence[str], found: Collection[str]) -> None:
    """Says to standard error which are not in the queue.  Raises Stop when none of them is."""
    absent = [one for one in ids if one not in found]
    if not absent:
        return
    more = f" and {len(absent) - SAID:,} more" if len(absent) > SAID else ""
    text = f"not in the queue: {', '.join(absent[:SAID])}{more}; relay trace ID tells what became of a message"
    if len(absent) == len(ids):
        raise Stop(text, EX_DATAERR)
    click.echo(f"relay: {text}", err=True)


def say_absent_before(control: Together, selection: Mapping[str, object]) -> None:
    """The same before a change, whatever else the selection wants of them."""
    ids = ids_of(selection)
    if ids and not control.silent:  # who is silent may have it, and then nothing is changed
        say_absent(ids, {row["id"] for row in control.ask("queue.list", ids=ids)})


def and_say_absent(rows: Iterable[Row], selection: Mapping[str, object]) -> Iterator[Row]:
    """Rows of a selection, and at their end the same; but not where it wants more of them than their ids."""
    ids = ids_of(selection)
    if not ids or len(selection) > 1:
        yield from rows
        return
    found = set[str]()
    for row in rows:
        found.add(row["id"])
        yield row
    say_absent(ids, found)
