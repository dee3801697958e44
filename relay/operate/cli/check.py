"""``relay check``: is this configuration right, and if not, where and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.message.reply import printable
from relay.operate.cli.reach import chosen_config, config_option, json_option
from relay.operate.cli.replay_texts import lines_of
from relay.operate.cli.replaying import replayed, span
from relay.operate.cli.speech import EX_CONFIG, count, say, say_json

if TYPE_CHECKING:
    from relay.operate.places import Fault


@click.command(short_help="Find every fault of a configuration at once.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--replay",
    "span_s",
    metavar="TIME",
    callback=span,
    help="Tell what it would change of the mail of so long: 7d, 12h. Takes the envelopes of the journal.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="OLD",
    help="With --replay: compare with this file. Default: what the relay that runs has loaded.",
)
@click.option("--spool", type=click.Path(path_type=Path), help="With --replay: the relay's spool folder.")
@config_option
@json_option
@click.pass_context
def check(
    context: click.Context,
    file: Path | None,
    span_s: float | None,
    against: Path | None,
    spool: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Check a configuration: every fault at once, with its place and what would be right.

    Without FILE: the one of --config, else /etc/relay/relay.yaml. The files and folders that it names are looked at
    too, and nothing is made or changed. Ends with 0 when all is right; with 78 when the relay would not start so, or
    could not do all that it says, as with a password file without a password. Who may write where, and whether a port
    is free, only the start can tell.

    With --replay, the envelopes that the journal holds of so long are judged by the configuration in force and by this
    file, by the code that judges live mail: who would be refused or accepted now, forwarded elsewhere, sent another
    way, held; how many, by which rule on either side, with examples. It asks the relay that runs, or, while none does,
    reads its spool; the relay is that of --spool, of --against, or of --config. Neither the DNS nor any host is asked,
    and content is not kept, so not replayed. What would change is no fault: it ends with 0.

    \b
    relay check /etc/relay/relay.yaml
    relay check relay.yaml --json | jq '.faults[].what'
    relay check new.yaml --replay 7d                     what would it change?
    relay check new.yaml --replay 7d --against old.yaml
    relay check new.yaml --replay 7d --json | jq .replay.changes
    """
    if span_s is None and (against is not None or spool is not None):
        raise click.UsageError("--against and --spool go with --replay: how far back? --replay 7d")
    path = file or config or chosen_config()
    faults, warnings = _judged(path)
    found = None
    if span_s is not None and not faults:
        found = replayed(path, span_s, against, config, spool)
    if as_json:
        told = {"faults": [_as_json(one) for one in faults], "warnings": [_as_json(one) for one in warnings]}
        replay = {"replay": found} if span_s is not None else {}
        say_json({"file": str(path) if path else None, "ok": not faults, **told, **replay})
    else:
        for fault in faults:
            say(str(fault))
        for warning in warnings:
            say(f"{warning} (a warning)")
        name = path or "no file, so the built-in configuration"
        click.echo(f"{name}: {count(len(faults), 'fault')}" if faults else f"{name}: good", err=bool(faults))
        for line, style in lines_of(found) if found is not None else ():
            click.secho(printable(line), **style)
    context.exit(EX_CONFIG if faults else 0)


def _judged(path: Path | None) -> tuple[Sequence[Fault], Sequence[Fault]]:
    """Faults and warnings of a file and of the files that it names."""
    from relay.operate import footing, provisions
    from relay.operate.config import ConfigFaults, load

    try:
        config = load(path)
    except ConfigFaults as found:
        return found.faults, ()
    return [*footing.faults_of(config), *provisions.faults_of(config)], config.warnings


def _as_json(fault: Fault) -> dict[str, object]:
    place = fault.place
    return {"file": place.file, "line": place.line, "column": place.column, "key": fault.path, "what": fault.what}
