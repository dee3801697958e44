"""``relay trace``: the journey of a message, and what was said on the way."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click

from relay.operate.cli.journeys import show_entries, show_journey, show_list
from relay.operate.cli.reach import Ask, Row, journals, reaching
from relay.operate.cli.speech import EX_DATAERR, Stop, say_json
from relay.operate.values import parse_duration
from relay.queue.ids import to_number

FOLLOWED_EVERY_S = 0.5
_FORMS = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%H:%M")


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """``2h`` ago, or a time of day or a date in the reader's own time zone."""
    if value is None:
        return None
    for form in _FORMS:
        try:
            read = time.strptime(value.replace("T", " "), form)
        except ValueError:
            continue
        today = time.localtime()
        day = (today.tm_year, today.tm_mon, today.tm_mday) if form == "%H:%M" else read[:3]
        return time.mktime((*day, *read[3:6], 0, 0, -1))
    try:
        return time.time() - parse_duration(value)
    except ValueError:
        raise click.BadParameter(
            f'"{value}" is no time; write how long ago (2h, 3 days) or when (2026-11-23, "2026-11-23 14:05", 14:05)'
        ) from None


@click.command(short_help="Show what happened to a message, and what was said.")
@click.argument("what", metavar="[ID|MESSAGE-ID|ADDRESS]", required=False)
@click.option("--since", callback=_moment, metavar="TIME", help="Only what came since: 2h, 14:05, 2026-11-23.")
@click.option("--until", callback=_moment, metavar="TIME", help="Only what came before.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="So many journeys at most.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the message has left the queue.")
@reaching
def trace(
    what: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    follow: bool,
    config: Path | None,
    spool: Path | None,
    as_json: bool,
) -> None:
    """Show what happened to a message: who sent it, what let it in, each attempt with what was said, and the outcome.

    Say which: by its id, as it stands in the log; by its Message-ID; or by an address of the sender or a recipient
    (@example.org: any of that domain); without, all are meant. When several journeys match they are listed, the newest
    first; when one does, it is shown whole. With --json an id gives each entry of its journey, anything else each
    journey in short. Works for mail that is gone, as long as journal.keep says, and while the relay is not running.

    \b
    relay trace 0abc123def45
    relay trace ann@example.org --since 2h
    relay trace "<20261123.1234@client.example>"
    relay trace --json ann@example.org | jq -r 'select(.state == "failed") | .last'
    """
    with journals(config, spool) as ask:
        found = _found(ask, what, since, until, limit)
        first = next(found, None)
        if first is None:
            raise Stop(_nothing(what, is_bounded=since is not None or until is not None), EX_DATAERR)
        second = next(found, None)
        if what is not None and second is None and (not as_json or to_number(what) >= 0):
            _show(ask, first["id"], as_json, follow)
            return
        if follow:
            raise click.UsageError("--follow needs one message; give its id")
        rows = chain([first], [second] if second is not None else [], found)
        show_list(rows, limit, as_json)


def _found(ask: Ask, what: str | None, since: float | None, until: float | None, limit: int) -> Iterator[Row]:
    """Journeys in short.  What can be understood in two ways is looked for in both."""
    times = {"since": since, "until": until, "limit": limit}
    if what is None:
        yield from ask("trace.find", **times)
        return
    ways: list[dict[str, Any]] = []
    if to_number(what) >= 0:
        ways.append({"id": what.lower()})
    if re.fullmatch(r"<.*>", what):
        ways += [{"message_id": what}, {"address": what}]
    elif "@" in what:
        ways += [{"address": what}, {"message_id": what}]
    elif not ways:
        ways += [{"message_id": what}, {"address": what}]
    for way in ways:
        rows = ask("trace.find", **way, **times)
        first = next(rows, None)
        if first is not None:
            yield first
            yield from rows
            return


def _show(ask: Ask, message_id: str, as_json: bool, follow: bool) -> None:
    rows = list(ask("trace.show", id=message_id))
    if as_json:
        for row in rows:
            say_json(row)
    else:
        show_journey(message_id, rows)
    while follow and any(row["state"] == "queued" for row in list(ask("trace.find", id=message_id))):
        time.sleep(FOLLOWED_EVERY_S)
        later = list(ask("trace.show", id=message_id))
        for row in later[len(rows) :]:
            if as_json:
                say_json(row)
            else:
                show_entries([row], later[0]["at"])
        rows = later


def _nothing(what: str | None, is_bounded: bool) -> str:
    if what is None and not is_bounded:
        return "the journal knows nothing: no message has come, or all are forgotten by now (journal.keep)"
    about = f" of {what}" if what is not None else ""
    when = " from that time" if is_bounded else ""
    return (
        f"the journal knows nothing{about}{when}\n"
        "  it may be forgotten by now (journal.keep, journal.size); relay queue list shows what waits"
    )
