"""Which destinations somebody means who names one: by its exact name, or by a host or domain that it leads to.

Several may lead there: by another port, with another login, by another way of securing it.  What is meant is said
before it is looked at or changed, unless it is called just so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from relay.message.reply import printable
from relay.operate.cli import asleep
from relay.operate.cli.speech import EX_DATAERR, Stop
from relay.operate.merging import named_of, nobody_knows
from relay.operate.together import Together, silence


def lanes_named(name: str, control: Together | None, asleep_ones: Iterable[Path] = ()) -> Sequence[str]:
    """The destinations that a name means; none when it is not known.

    control      of the relay, if one is running
    asleep_ones  spools that nobody serves, to be read from the disk
    """
    answers = [asleep.destinations_named(one, name) for one in asleep_ones]
    if control is not None:
        answers.append(control.ask_one("destination.named", destination=name))
    lanes: Sequence[str] = named_of(list(enumerate(answers)))["destinations"]
    return lanes


def meant(
    fields: Mapping[str, object], asleep_ones: Iterable[Path] = (), control: Together | None = None
) -> tuple[dict[str, object], Sequence[str]]:
    """The fields of a request on the queue, with exact names in the place of the one that was given; and these names.

    Raises Stop when nothing is known of it.
    """
    name = fields.get("destination")
    if not isinstance(name, str):
        return dict(fields), ()
    lanes = lanes_named(name, control, asleep_ones)
    if not lanes:
        raise unknown(name)
    say_meant(name, lanes)
    return {**{key: value for key, value in fields.items() if key != "destination"}, "destinations": [*lanes]}, lanes


def meant_by_all(control: Together, fields: Mapping[str, object]) -> tuple[dict[str, object], Sequence[str]]:
    """The same for a change, which is made in all shards or in none."""
    if fields.get("destination") is not None and control.silent:
        raise silence(control.silent[0])
    return meant(fields, control=control)


def lanes_to_mind(control: Together, name: str) -> Sequence[str]:
    """The destinations that are to rest, or to rest no more; none when the name is not known.

    Raises CannotAsk when a shard is silent: it is told to all of them or to none.
    """
    if control.silent:
        raise silence(control.silent[0])
    return lanes_named(name, control)


def say_meant(name: str, lanes: Sequence[str]) -> None:
    """To standard error, so that it is not taken for a row."""
    for lane in lanes:
        if lane != name:
            click.echo(f"relay: {printable(name)} means {printable(lane)}", err=True)


def unknown(name: str) -> Stop:
    """Why nothing was done."""
    return Stop(
        f"{nobody_knows(printable(name))}\n"
        "  their names:              relay status\n"
        "  that of each recipient:   relay queue list --json",
        EX_DATAERR,
    )
