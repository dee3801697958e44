"""``relay status``: how it goes, on one screen."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from relay.operate.cli.forecast import show_forecast
from relay.operate.cli.meant import lanes_named, unknown
from relay.operate.cli.reach import reaching, running
from relay.operate.cli.speech import age, count, moment, say, say_json, size, until
from relay.operate.cli.tables import show_table
from relay.operate.values import parse_duration

STEPS_SHOWN = (
    "accepted", "delivered", "deferred", "failed", "expired", "refused", "reported", "set_aside", "trouble",
)  # fmt: skip


def _seconds(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """``3d``, ``12 hours``."""
    try:
        return parse_duration(value) if value is not None else None
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from None


@click.command()
@reaching
@click.option(
    "--forecast",
    "forecast_s",
    metavar="TIME",
    callback=_seconds,
    help="Show what becomes of the queue in this time instead: 3d.",
)
@click.option("--down", multiple=True, metavar="HOST", help="In the forecast, this destination is down. Repeatable.")
@click.option("--up", multiple=True, metavar="HOST", help="In the forecast, this destination is well. Repeatable.")
def status(
    config: Path | None,
    spool: Path | None,
    as_json: bool,
    forecast_s: float | None,
    down: Sequence[str],
    up: Sequence[str],
) -> None:
    """Show the queue in numbers, what is wrong if anything is, and how each destination does.

    With --forecast: what becomes of the queue if nothing changes. What is refused goes on being refused, destinations
    that are down stay down, all else is delivered. HOST is a destination as it is shown here, or its host or domain.

    \b
    relay status
    relay status --json | jq .queue.messages
    relay status --forecast 3d                      what will be warned about, and come back, when
    relay status --forecast 5d --down example.org   and if that one dies?
    """
    if forecast_s is not None:
        _forecast(config, spool, as_json, forecast_s, down, up)
        return
    if down or up:
        raise click.UsageError("--down and --up go with --forecast")
    with running(config, spool) as control:
        found = control.ask_one("status")
        complaints = control.ask_one("health")["complaints"]
        silent = len(control.silent)
    if as_json:
        say_json({**found, "complaints": complaints})
        return
    _say_relay(found)
    if silent:
        say(f"without {count(silent, 'worker')} that cannot answer just now")
    _say_queue(found["queue"])
    steps = [f"{found['steps'][step]:,} {step.replace('_', ' ')}" for step in STEPS_SHOWN if found["steps"].get(step)]
    say(f"since the start: {', '.join(steps) or 'nothing yet'}")
    for complaint in complaints:
        say(f"{'wrong' if complaint['level'] == 'wrong' else 'look'}: {complaint['what']}")
        say(f"  -> {complaint['do']}")
    if found["destinations"]:
        say()
        show_table(
            ("DESTINATION", "WAITING", "AT WORK", "WINDOW", "RESTS", "LAST ERROR"),
            [_destination(row) for row in found["destinations"]],
            right=(1, 2, 3),
        )


def _forecast(
    config: Path | None, spool: Path | None, as_json: bool, for_s: float, down: Sequence[str], up: Sequence[str]
) -> None:
    with running(config, spool) as control:
        for name in (*down, *up):
            if not lanes_named(name, control) and not control.silent:  # who is silent may know it
                raise unknown(name)
        found = control.ask_one("forecast", now=time.time(), for_s=for_s, down=[*down], up=[*up])
    if as_json:
        say_json(found)
    else:
        show_forecast(found)


def _say_relay(found: Mapping[str, Any]) -> None:
    up = f"up {age(found['uptime_s'])}, since {moment(found['started_at'])}"
    pids = ", ".join(dict.fromkeys(str(worker["pid"]) for worker in found["workers"]))
    say(f"relay {found['version']} on {found['hostname']}: {up}, pid{'s' if ',' in pids else ''} {pids}")


def _say_queue(queue: Mapping[str, Any]) -> None:
    oldest = f", the oldest {age(time.time() - queue['oldest_at'])} old" if queue["oldest_at"] else ""
    say(f"queue: {count(queue['messages'], 'message')}, {size(queue['octets'])} octets{oldest}")
    say("recipients: " + ", ".join(f"{number:,} {state}" for state, number in queue["recipients"].items()))


def _destination(row: Mapping[str, Any]) -> tuple[str, ...]:
    rests = until(row["resting_until"]).replace("in", "for", 1) if row.get("resting_until") else ""
    return (
        row["destination"],
        f"{row['waiting']:,}",
        str(row["in_flight"]),
        str(row.get("window", "")),
        rests,
        row.get("error") or "",
    )
