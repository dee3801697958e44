"""``relay webhooks``: how those are told who are to be told."""

from __future__ import annotations

import time
from pathlib import Path

import click

from relay.operate.cli.reach import reaching, running
from relay.operate.cli.speech import age, say, say_json, until
from relay.operate.cli.tables import show_table


@click.command(short_help="Show who is told by HTTP, and how far behind they are.")
@reaching
def webhooks(config: Path | None, spool: Path | None, as_json: bool) -> None:
    """Show who is told by HTTP what becomes of mail, how far behind they are, and why.

    They are named in the configuration, under webhooks.
    """
    with running(config, spool) as control:
        found = control.ask_one("webhooks")
    if as_json:
        say_json(found)
        return
    if not found["webhooks"]:
        say("nobody is told; the configuration has no webhooks (docs/api.md)")
        return
    now = time.time()
    show_table(
        ("WEBHOOK", "SENT", "BEHIND", "DROPPED", "FAILS FOR", "NEXT", "LAST ERROR"),
        [
            (
                row["webhook"],
                f"{row['sent']:,}",
                f"{row['behind']:,}",
                f"{row['dropped']:,}",
                age(now - row["failing_since"]) if row["failing_since"] else "",
                until(row["next_at"]) if row["next_at"] else "",
                row["error"],
            )
            for row in found["webhooks"]
        ],
        right=(1, 2, 3),
    )
