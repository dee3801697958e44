"""``relay destination …``: leave a next hop in peace for a while, or no longer."""

from __future__ import annotations

import time
from pathlib import Path

import click

from relay.operate.cli.meant import lanes_to_mind, unknown
from relay.operate.cli.reach import reaching, running
from relay.operate.cli.speech import count, moment, say, say_json
from relay.operate.values import parse_duration, show_duration


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def destination() -> None:
    """Leave a next hop in peace for a while, or no longer.

    NAME is one that relay status shows, or the host or domain in it.

    \b
    relay destination rest example.org --for 2h
    relay destination wake example.org
    """


@destination.command()
@click.argument("name")
@click.option("--for", "seconds", type=_Duration(), default="1h", show_default=True, help="How long: 30m, 2h, 1d.")
@reaching
def rest(name: str, seconds: float, config: Path | None, spool: Path | None, as_json: bool) -> None:
    """Try nothing there for a while. Mail for it waits in the queue.

    For when you know better than the relay: the host is being repaired. Deliveries under way go on. The rest is
    forgotten when the relay is started again. Mail need not be there yet: NAME may be the host of a route, or a domain
    whose mail goes by its MX records. The mail of a domain with a route rests where the route leads.
    """
    with running(config, spool) as control:
        lanes = lanes_to_mind(control, name)
        if not lanes:  # mail may come for it
            lanes = control.ask_one("destination.awaited", destination=name)["destinations"]
        for lane in lanes:
            control.ask_one("destination.rest", destination=lane, seconds=seconds)
        waiting = {row["destination"]: row["waiting"] for row in control.ask_one("status")["destinations"]}
    if as_json:
        say_json({"changed": len(lanes), "destinations": lanes})
        return
    for lane in lanes:
        there = f"{count(waiting[lane], 'recipient')} there" if waiting.get(lane) else "nothing waits for it just now"
        say(f"{lane} rests for {show_duration(seconds)}, until {moment(time.time() + seconds)}; {there}")


@destination.command()
@click.argument("name")
@reaching
def wake(name: str, config: Path | None, spool: Path | None, as_json: bool) -> None:
    """End a rest: what is due there is tried now.

    relay queue flush --destination also tries what is not due yet.
    """
    with running(config, spool) as control:
        lanes = lanes_to_mind(control, name)
        if not lanes:
            raise unknown(name)
        for lane in lanes:
            control.ask_one("destination.wake", destination=lane)
    if as_json:
        say_json({"changed": len(lanes), "destinations": lanes})
        return
    for lane in lanes:
        say(f"{lane} rests no more; what is due there is tried now")
