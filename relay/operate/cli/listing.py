"""Rows of the queue on a terminal or in a pipe.

The rule that must not be broken: a row is shown as it comes; a queue of a million rows is not gathered.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import click

from relay.message.reply import printable
from relay.operate.cli.speech import age, count, moment, say, size, until
from relay.operate.cli.tables import INDENT, Rows, cut

COLUMNS = ("ID", "AGE", "SIZE", "NEXT TRY", "SENDER", "RECIPIENT", "LAST ERROR")
_SHORT = "{:<12}  {:>4}  {:>5}  {:<8}"


def show_rows(rows: Iterable[Mapping[str, Any]], is_whole: bool = True) -> None:
    """On a terminal in columns, the last error below; in a pipe tab-separated with the error last.

    is_whole  they are those of the whole queue, and not of a selection
    """
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(printable(cell) for cell in _cells(row)))
        return
    drawn = Rows(_SHORT, COLUMNS[:6])
    shown = 0
    for row in rows:
        if not shown:
            click.secho(drawn.head(), bold=True)
        *cells, error = _cells(row)
        for line in drawn.lines(cells):
            click.echo(line)
        if error:
            click.secho(cut(f"{INDENT}{printable(error)}", drawn.width), dim=True)
        shown += 1
    nothing = "the queue is empty" if is_whole else "nothing in the queue fits"
    say(count(shown, "recipient") if shown else nothing)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    next_try = _next_try(row) if row["state"] == "waiting" else row["state"]
    waited = age(time.time() - row["accepted_at"])
    return (row["id"], waited, size(row["size"]), next_try, row["sender"], row["recipient"], row["error"])


def _next_try(row: Mapping[str, Any]) -> str:
    return "1st try" if _is_first(row) else until(row["next_at"])


def _is_first(row: Mapping[str, Any]) -> bool:
    """Whether the first attempt has no outcome yet; ``next_at`` is but the end of its lease then."""
    return row["attempts"] == 1 and not row["error"]


def show_message(found: Mapping[str, Any]) -> None:
    """One message, for reading."""
    said = {
        "id": found["id"],
        "accepted": f"{moment(found['accepted_at'])}, {age(time.time() - found['accepted_at'])} ago",
        "size": f"{found['size']:,} octets",
        "sender": found["sender"],
        "client": " ".join(
            filter(None, (found["client_name"], f"[{found['client']}]" if found["client"] else "", found["protocol"]))
        ),
        "login": found["login"],
        "body": found["body"] + (" SMTPUTF8" if found["smtputf8"] else ""),
        "dsn": " ".join(f"{name.upper()}={found[name]}" for name in ("ret", "envid") if found[name]),
    }
    for name, value in said.items():
        if value:
            say(f"{name + ':':<10} {value}")
    for recipient in found["recipients"]:
        say()
        _show_recipient(recipient)
    say()
    for line in found["header"].splitlines():
        say(f"    {line.expandtabs()}")


def _show_recipient(recipient: Mapping[str, Any]) -> None:
    say(f"recipient: {recipient['recipient']}")
    when = ""
    if recipient["next_at"]:
        when = ", no outcome yet" if _is_first(recipient) else f", next try {until(recipient['next_at'])}"
    say(f"    {recipient['state']}, {count(recipient['attempts'], 'attempt')}{when}, to {recipient['destination']}")
    if recipient["orcpt"] or recipient["notify"]:
        wishes = ",".join(recipient["notify"] or ())
        say("    " + " ".join(filter(None, (f"NOTIFY={wishes}" if wishes else "", recipient["orcpt"]))))
    if recipient["error"]:
        say(f"    {recipient['error']}")
