"""``relay queue …``: what waits, why, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from relay.operate.cli.absent import and_say_absent, ids_of, say_absent_before
from relay.operate.cli.export import export
from relay.operate.cli.listing import show_message, show_rows
from relay.operate.cli.meant import meant_by_all
from relay.operate.cli.reach import listed, reaching, running
from relay.operate.cli.selecting import selecting, selecting_with_all, selection_of
from relay.operate.cli.speech import EX_USAGE, Stop, count, say, say_json
from relay.operate.together import Together


@click.group()
def queue() -> None:
    """Look at the queue, and change it.

    Rows are chosen by message ids and by conditions, all of which must hold; "-" reads ids from standard input.
    Ids that are not in the queue are told on standard error, and it ends with 65 when none is.

    \b
    relay queue list --domain example.org
    relay queue retry --destination example.org
    relay queue list --sender spam@example.org --json | jq -r .id | relay queue remove -
    """


queue.add_command(export)


@queue.command("list", short_help="Show what waits, until when, and why.")
@selecting
@click.option("--newest-first", is_flag=True, help="The newest message first, and not the oldest.")
@reaching
def list_rows(config: Path | None, spool: Path | None, as_json: bool, newest_first: bool, **conditions: Any) -> None:
    """Show what waits: age, size, sender, recipient, next try, last error.

    One row for each recipient, oldest message first; rows appear as they are read, however many there are. Also works
    while the relay is not running.

    \b
    relay queue list
    relay queue list --newest-first | head
    relay queue list --state held
    relay queue list --json | jq -r 'select(.attempts > 3) | .id'
    """
    selection = selection_of(conditions)
    with listed(config, spool, {**selection, "newest_first": newest_first}) as listing:
        rows = and_say_absent(listing, selection)
        if as_json:
            for row in rows:
                say_json(row)
        else:
            show_rows(rows, is_whole=not selection)


@queue.command(short_help="Show one message: envelope, recipients, header.")
@click.argument("message_id", metavar="ID")
@reaching
def show(message_id: str, config: Path | None, spool: Path | None, as_json: bool) -> None:
    """Show one message: its envelope, each recipient, its header section."""
    with running(config, spool) as control:
        found = control.ask_one("queue.show", id=message_id)
    if as_json:
        say_json(found)
    else:
        show_message(found)


@queue.command()
@click.option("--destination", help="Only this one: by the name that relay status shows, or by host or domain.")
@reaching
def flush(destination: str | None, config: Path | None, spool: Path | None, as_json: bool) -> None:
    """Try now all that waits, and end the rests of destinations.

    \b
    relay queue flush
    relay queue flush --destination example.org
    """
    with running(config, spool) as control:
        fields, lanes = meant_by_all(control, {"destination": destination})
        answer = control.ask_one("queue.flush", **fields)
        _say_changed(answer, "will be tried now", as_json, lanes)


@queue.command(short_help="Hold recipients: they are not tried until released.")
@selecting_with_all
@click.option("--why", help="A note that relay queue list shows.")
@reaching
def hold(config: Path | None, spool: Path | None, as_json: bool, why: str | None, **conditions: Any) -> None:
    """Hold recipients: they are not tried, and do not expire, until released."""
    with running(config, spool) as control:
        _change(control, "hold", "held", conditions, as_json, why=why)


@queue.command()
@selecting_with_all
@reaching
def release(config: Path | None, spool: Path | None, as_json: bool, **conditions: Any) -> None:
    """Release held recipients: they are tried now."""
    with running(config, spool) as control:
        _change(control, "release", "released", conditions, as_json)


@queue.command()
@selecting_with_all
@reaching
def retry(config: Path | None, spool: Path | None, as_json: bool, **conditions: Any) -> None:
    """Try waiting recipients now.

    A destination that rests keeps resting; relay queue flush ends that too.

    \b
    relay queue retry 5f3c9a7be2d1
    relay queue retry --all
    """
    with running(config, spool) as control:
        _change(control, "retry", "due now", conditions, as_json)


@queue.command()
@selecting_with_all
@reaching
def remove(config: Path | None, spool: Path | None, as_json: bool, **conditions: Any) -> None:
    """Remove recipients from the queue for good. Nobody is told.

    On a terminal it asks first, unless one message is named by its id; --yes does not ask. A script is not asked.
    relay queue export keeps a copy of the messages.

    \b
    relay queue remove 5f3c9a7be2d1
    relay queue remove --sender spam@example.org
    """
    with running(config, spool) as control:
        _change(control, "remove", "removed", conditions, as_json)


def _change(control: Together, do: str, done: str, conditions: dict[str, Any], as_json: bool, **fields: object) -> None:
    everything, sure = conditions.pop("all_rows"), conditions.pop("yes")
    selection = selection_of(conditions)
    if not selection and not everything:
        raise click.UsageError("say which: message ids, a condition such as --sender or --domain, or --all")
    if selection and everything:
        raise click.UsageError("--all and conditions together say two things; give one of them")
    selection, lanes = meant_by_all(control, selection)
    say_absent_before(control, selection)
    if not sure and everything:
        _confirm_all(control, do)
    elif not sure and do == "remove" and len(ids_of(selection)) != 1:
        _confirm_final(control, do, selection)
    answer = control.ask_one(f"queue.{do}", all=everything, **selection, **fields)
    _say_changed(answer, done, as_json, lanes)


def _confirm_all(control: Together, do: str) -> None:
    if not sys.stdin.isatty():
        raise Stop(f"--all means every message in the queue; add --yes to {do} them", EX_USAGE)
    messages = control.ask_one("status")["queue"]["messages"]
    click.confirm(f"{do} everything in the queue ({count(messages, 'message')})?", abort=True, err=True)


def _confirm_final(control: Together, do: str, selection: Mapping[str, object]) -> None:
    """What cannot be taken back is asked about, where there is somebody to ask; a script has said what it means."""
    if not sys.stdin.isatty():
        return
    recipients, messages, last = 0, 0, None
    for row in control.ask("queue.list", **selection):  # those of a message come together
        recipients, messages, last = recipients + 1, messages + (row["id"] != last), row["id"]
    if recipients:
        those = f"{count(recipients, 'recipient')} of {count(messages, 'message')}"
        click.confirm(f"{do} {those} from the queue for good?", abort=True, err=True)


def _say_changed(answer: Mapping[str, Any], done: str, as_json: bool, lanes: Sequence[str]) -> None:
    """lanes  those that were meant by a destination, if one was named"""
    if as_json:
        say_json({**answer, "destinations": [*lanes]} if lanes else answer)
    else:
        say(f"{count(answer['changed'], 'recipient')} {done}")
