"""Journeys drawn for people: many in a list, one with all that was said.

Times are told from the beginning of the journey on.  The rule that must not be broken: what a peer or a client said is
made printable before it reaches a terminal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from relay.message.outline import said_by, words_of
from relay.message.reply import printable
from relay.operate.cli.speech import age, count, moment, say, say_json, size
from relay.operate.cli.tables import INDENT, Rows

Row = Mapping[str, Any]

_COLOURS = {"delivered": "green", "failed": "red", "refused": "red", "expired": "red", "deferred": "yellow"}
_SHORT = "{:<12}  {:>4}  {:<9}"
_NOTIFY = ((1, "NEVER"), (2, "SUCCESS"), (4, "FAILURE"), (8, "DELAY"))


def show_list(rows: Iterable[Row], limit: int, as_json: bool = False) -> None:
    """A line for each journey, and the last that is known of it; in a pipe tab-separated, or in JSON."""
    drawn = Rows(_SHORT, ("ID", "AGE", "STATE", "SENDER", "RECIPIENTS"))
    shown = 0
    for row in rows:
        shown += 1
        if as_json:
            say_json(row)
            continue
        cells = (row["id"], age(time.time() - row["at"]), row["state"], row["sender"] or "?", _readers(row))
        if not sys.stdout.isatty():
            click.echo("\t".join(printable(cell) for cell in (*cells, row["last"])))
            continue
        if shown == 1:
            click.secho(drawn.head(), bold=True)
        for line in drawn.lines(cells):
            click.secho(line, fg=_COLOURS.get(row["state"]))
        click.secho(f"{INDENT}{printable(row['last'])}", dim=True)
    more = "; there may be more: --limit" if shown == limit else ""
    if sys.stdout.isatty() and not as_json:
        say(f"{count(shown, 'journey')}{more}")
    elif more:  # beside what a program reads
        click.echo(f"relay: {count(shown, 'journey')}{more}", err=True)


def _readers(row: Row) -> str:
    recipients = row["recipients"]
    more = (row["recipient_count"] or 0) - 1
    return (recipients[0] if recipients else "?") + (f" and {more} more" if more > 0 else "")


def show_journey(message_id: str, rows: Sequence[Row]) -> None:
    """One, whole."""
    began_at = rows[0]["at"]
    click.secho(printable(message_id), bold=True, nl=False)
    say(f"  {moment(began_at)}, {age(time.time() - began_at)} ago")
    show_entries(rows, began_at)


def show_entries(rows: Iterable[Row], began_at: float) -> None:
    for row in rows:
        say()
        head = _HEADS.get(row["step"], words_of)(dict(row))
        click.secho(f"{after(row['at'] - began_at):>8}  ", dim=True, nl=False)
        click.secho(printable(head), bold=True)
        for line, colour in _DETAILS.get(row["step"], _nothing)(row):
            click.secho(f"{'':10}{printable(line)}", fg=colour)


def after(seconds: float) -> str:
    """``+0.12s``, ``+45s``, ``+3h 5m``: how long after the beginning."""
    if seconds < 10:
        return f"+{max(seconds, 0):.2f}s"
    whole = int(seconds)
    if whole < 60:
        return f"+{whole}s"
    for length, unit, below, inner in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= length:
            rest = whole % length // below
            return f"+{whole // length}{unit}" + (f" {rest}{inner}" if rest else "")
    return f"+{whole}s"


Lines = Iterator[tuple[str, str | None]]
"""(text, colour)."""


def _nothing(row: Row) -> Lines:
    return iter(())


# -- how it came -------------------------------------------------------------------------------------------------------


def _came_head(row: Row) -> str:
    if row["step"] == "refused":
        return words_of(dict(row))
    if row.get("report_of"):
        return f"written here: a report of {row['report_of']}"
    return "accepted" if row.get("client") is not None else "written here"


def _came(row: Row) -> Lines:
    if "count" in row:
        yield f"since {moment(row['since'])}; of these nothing else is kept", None
        return
    if row.get("sender"):
        told = (row["sender"], f"{size(row['size'])} octets" if row["size"] is not None else "", row["message_id"])
        yield f"from    {', '.join(filter(None, told))}", None
    if "client" in row:
        yield f"client  {_client(row)}", None
    by = dict.fromkeys(f"{check['rule']} ({check['place']})" for check in row["checks"])
    for rule in by:  # of client and sender; the same, for nearly all
        yield f"let in  {rule}", None
    wishes = _wishes(row)
    if wishes:
        yield f"wishes  {wishes}", None
    for one in row["recipients"]:
        yield from _named(one, row)
    if row["step"] == "refused":
        yield f"        by {row['rule']} ({row['place']})", "red"


def _client(row: Row) -> str:
    if row["service"] == "local":  # what stands in helo, protocol and listener is ours
        return f"a program of this machine, by sendmail, {row['login']}"
    name = f"{row['client_name']} [{row['client']}]" if row["client"] else "this machine, by a unix socket"
    told = (
        name,
        f"helo {row['helo']}" if row["helo"] else "",
        row["protocol"],
        row["tls"],
        f"logged in as {row['login']}" if row["login"] else "",
        "with a trusted certificate" if row["certified"] else "",
        f"at {row['listener']} ({row['service']})" if row["listener"] else "",
    )
    return ", ".join(filter(None, told))


def _wishes(row: Row) -> str:
    told = (
        row["body"] if row.get("body") not in (None, "7BIT") else "",
        "SMTPUTF8" if row.get("smtputf8") else "",
        "REQUIRETLS" if row.get("require_tls") else "",
        *(f"{name.upper()}={row[name]}" for name in ("ret", "envid", "auth") if row.get(name)),
    )
    return " ".join(filter(None, told))


def _named(one: Row, row: Row) -> Lines:
    is_usual = one["rule"] == row.get("checks", [{}])[0].get("rule") if row.get("checks") else True
    by = "" if is_usual and one["to"] else f"  {one['rule']} ({one['place']})"
    reply = "" if one["reply"].startswith("250") else f"  {one['reply']}"
    notify = [name for flag, name in _NOTIFY if one.get("notify") and one["notify"] & flag]
    wishes = (f"  NOTIFY={','.join(notify)}" if notify else "") + (f"  {one['orcpt']}" if one.get("orcpt") else "")
    yield f"to      {one['named']}{by}{reply}{wishes}", None if one["to"] else "red"
    if one["to"] and one["to"] != [one["named"]]:
        yield f"        it goes on to {', '.join(one['to'])}", None


# -- what became of it -------------------------------------------------------------------------------------------------


def _attempted_head(row: Row) -> str:
    took = row["at"] - row["began_at"]
    tls = f", {row['tls']}" if row["tls"] else ""
    return f"tried {row['hop'] or row['destination']}{tls}, in {took:.2f}s"


def _attempted(row: Row) -> Lines:
    if row["rule"]:
        name = f": {row['destination'].partition(';')[0]}" if row["hop"] else ""  # the rest is what the rule says
        yield f"way     {row['rule']}{name}", None
    yield from _became(row)
    for part in row["dialogue"]:
        yield f"  {part['hop']}" + (f"  {part['tls']}" if part["tls"] else ""), None
        for after_s, line in part["lines"]:
            yield f"  {after_s:8.3f}  {line}", "cyan" if line.startswith("<") else None


def _became(row: Row) -> Lines:
    for one in row["recipients"]:
        doubt = "; it may have been delivered all the same" if one.get("in_doubt") else ""
        again = f", next try {age(one['next_at'] - row['at'])} later" if one.get("next_at") else ""
        yield f"to      {one['recipient']}  {one['step']}, {said_by(one)}{again}{doubt}", _COLOURS.get(one["step"])


def _warned(row: Row) -> Lines:
    for one in row["recipients"]:
        yield f"to      {one['recipient']}  {one['reply']}", None


def _reported(row: Row) -> Lines:
    yield f"to      {', '.join(row['to'])}", None


_HEADS: Mapping[str, Callable[[Row], str]] = {
    "accepted": _came_head,
    "refused": _came_head,
    "attempted": _attempted_head,
    "expired": lambda row: f"given up untried, for {row['destination']}",
}
_DETAILS: Mapping[str, Callable[[Row], Lines]] = {
    "accepted": _came,
    "refused": _came,
    "attempted": _attempted,
    "expired": _became,
    "warned": _warned,
    "reported": _reported,
}
