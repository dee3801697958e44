"""``relay check``: is this configuration right, and if not, where and why."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.operate.cli.reach import chosen_config, config_option, json_option
from relay.operate.cli.speech import EX_CONFIG, count, say, say_json

if TYPE_CHECKING:
    from relay.operate.config import Config
    from relay.operate.places import Fault


@click.command(short_help="Find every fault of a configuration at once.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
@json_option
@click.pass_context
def check(context: click.Context, file: Path | None, config: Path | None, as_json: bool) -> None:
    """Check a configuration: every fault at once, with its place and what would be right.

    Without FILE: the one of --config, else /etc/relay/relay.yaml. Ends with 0 when the relay would start with it,
    with 78 when it would not.

    \b
    relay check /etc/relay/relay.yaml
    relay check relay.yaml --json | jq '.faults[].what'
    """
    path = file or config or chosen_config()
    faults, warnings = _judged(path)
    if as_json:
        told = {"faults": [_as_json(one) for one in faults], "warnings": [_as_json(one) for one in warnings]}
        say_json({"file": str(path) if path else None, "ok": not faults, **told})
    else:
        for fault in faults:
            say(str(fault))
        for warning in warnings:
            say(f"{warning} (a warning)")
        name = path or "no file, so the built-in configuration"
        click.echo(f"{name}: {count(len(faults), 'fault')}" if faults else f"{name}: good", err=bool(faults))
    context.exit(EX_CONFIG if faults else 0)


def _judged(path: Path | None) -> tuple[Sequence[Fault], Sequence[Fault]]:
    """Faults and warnings of a file and of the files that it names."""
    from relay.operate.config import ConfigFaults, load

    try:
        config = load(path)
    except ConfigFaults as found:
        return found.faults, ()
    of_files = (_faults_of_recipients(config.accept.recipients), _faults_of_users(config), _faults_of_tls(config))
    return [*chain(*of_files), *_faults_of_dkim(config)], config.warnings


def _faults_of_recipients(path: Path | None) -> Sequence[Fault]:
    from relay.operate.places import Fault, Place
    from relay.policy.recipients import RecipientsFault, parse_recipients

    if path is None:
        return ()
    try:
        parse_recipients(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return (Fault(Place(str(path)), "accept.recipients", f"cannot be read: {error}"),)
    except RecipientsFault as bad:
        name = str(path)
        return [Fault(Place(name, one.line, 1), "accept.recipients", f'"{one.text}": {one.why}') for one in bad.faults]
    return ()


def _faults_of_users(config: Config) -> Sequence[Fault]:
    from relay.operate.places import Fault, Place
    from relay.operate.users.file import read_users
    from relay.policy.users import UsersFault

    path = config.accept.users
    if not isinstance(path, Path):
        return ()
    try:
        read_users(path)
    except (OSError, UnicodeDecodeError) as error:
        return (Fault(Place(str(path)), "accept.users", f"cannot be read: {error}"),)
    except UsersFault as bad:
        return [Fault(Place(str(path), one.line, 1), "accept.users", one.what) for one in bad.faults]
    return ()


def _faults_of_tls(config: Config) -> Sequence[Fault]:
    from relay.operate.admission import read_files
    from relay.operate.places import Fault, Place
    from relay.receive.tls import TlsFault

    try:
        read_files(config)
    except TlsFault as fault:
        return (Fault(Place(config.source), "tls", str(fault)),)
    return ()


def _faults_of_dkim(config: Config) -> Sequence[Fault]:
    from relay.deliver.dkim import KeyFault, read_key
    from relay.operate.places import Fault, Place

    dkim = config.tls_reports.dkim
    try:
        if dkim is not None:
            read_key(dkim.key)
    except KeyFault as fault:
        return (Fault(Place(config.source), "tls_reports.dkim.key", str(fault)),)
    return ()


def _as_json(fault: Fault) -> dict[str, object]:
    place = fault.place
    return {"file": place.file, "line": place.line, "column": place.column, "key": fault.path, "what": fault.what}
