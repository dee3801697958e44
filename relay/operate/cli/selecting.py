"""Which rows of the queue are meant: ids, conditions, or all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import click

from relay.message.reply import printable
from relay.operate.cli.speech import EX_DATAERR, Stop

AnyFunction = Callable[..., Any]

_CONDITIONS = (
    click.argument("ids", metavar="[ID]...", nargs=-1),
    click.option("--sender", help="Only mail from this address; <> is the null sender."),
    click.option("--recipient", help="Only this recipient."),
    click.option("--domain", help="Only recipients of this domain."),
    click.option("--destination", help="Only this one: by the name that relay status shows, or by host or domain."),
    click.option("--state", type=click.Choice(["waiting", "held", "owing"]), help="Only recipients in this state."),
)
_ALL = (
    click.option("--all", "all_rows", is_flag=True, help="Everything in the queue."),
    click.option("--yes", is_flag=True, help="Do not ask whether it is meant."),
)


def selecting(command: AnyFunction) -> AnyFunction:
    """Gives a command the options of a selection."""
    return reduce(lambda made, option: option(made), reversed(_CONDITIONS), command)


def selecting_with_all(command: AnyFunction) -> AnyFunction:
    """... and --all, for a command that changes what is selected."""
    return selecting(reduce(lambda made, option: option(made), reversed(_ALL), command))


def selection_of(conditions: Mapping[str, Any]) -> dict[str, object]:
    """The fields of a request; empty when there is no condition.  Raises Stop for an id that is none."""
    given = {name: value for name, value in conditions.items() if value is not None and name != "ids"}
    ids: list[str] = [one for one in conditions["ids"] if one != "-"]
    if "-" in conditions["ids"]:
        ids += sys.stdin.read().split()
        if not ids:
            raise click.UsageError("no ids came on standard input")
    return {**given, "ids": list(dict.fromkeys(map(_id, ids)))} if ids else given


def _id(text: str) -> str:
    """A message id, as the queue spells it."""
    from relay.queue.ids import to_number, to_text

    number = to_number(text)
    if number < 0:
        raise Stop(
            f"{printable(text)[:100]} is no id of a message\n"
            "  one has twelve letters and digits, as in 5f3c9a7be2d1; relay queue list shows them",
            EX_DATAERR,
        )
    return to_text(number)
