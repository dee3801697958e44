"""``relay explain``: what would happen to a message, and why; or why one is still here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from relay.operate.cli.findings import Drawing
from relay.operate.cli.reach import chosen_config, config_option, json_option, running, running_if_any
from relay.operate.cli.speech import EX_CONFIG, EX_DATAERR, EX_TEMPFAIL, Stop, say_json
from relay.operate.values import parse_size

Row = Mapping[str, Any]

WOULD_BE_REFUSED = 1


def _octets(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """``5M``, ``300 KiB``."""
    try:
        return parse_size(value) if value is not None else None
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from None


def _certificate(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """``sha256:…``, or the text of a file."""
    if value is None or value.lower().startswith("sha256:"):
        return value
    try:
        return Path(value).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        what = f"{value} cannot be read as a certificate (PEM): {error}; or write sha256: and its fingerprint"
        raise click.BadParameter(what) from None


@click.command(short_help="Explain what would happen to a message, and why.")
@click.argument("message_id", metavar="[ID]", required=False)
@click.option("--client", metavar="IP", help="The client's address. Default: 127.0.0.1; unix for a unix socket.")
@click.option("--from", "sender", metavar="ADDRESS", help="The sender. Default: the user of --login, else <>.")
@click.option("--to", "recipients", metavar="ADDRESS", multiple=True, help="A recipient; may be given several times.")
@click.option("--login", metavar="USER", help="The client logs in as this user; the password is taken to be right.")
@click.option("--helo", metavar="NAME", help="What the client calls itself.")
@click.option("--listener", metavar="ENDPOINT", help="Where it comes in. Default: the first listener that suits.")
@click.option("--size", metavar="SIZE", callback=_octets, help="The size that it declares: 300 KiB, 5MiB.")
@click.option("--smtputf8", is_flag=True, help="It says SMTPUTF8, for addresses beyond ASCII.")
@click.option("--tls", is_flag=True, help="It begins TLS.")
@click.option(
    "--certificate", metavar="SHA256|FILE", callback=_certificate, help="It begins TLS and shows this certificate."
)
@click.option("--probe", is_flag=True, help="Ask the next hops in truth, as far as RCPT. Nothing is sent.")
@click.option("--dry", is_flag=True, help="Explain by the file, whether a relay runs or not.")
@config_option
@click.option("--spool", type=click.Path(path_type=Path), help="The relay's spool folder.")
@json_option
@click.pass_context
def explain(
    context: click.Context,
    /,
    message_id: str | None,
    config: Path | None,
    spool: Path | None,
    dry: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Explain what would happen to a message, by the very code that would do it.

    Each decision in order, with the rule, its place and the reply as on the wire; then, for each recipient, the route,
    the answers of the DNS, the hosts in order with the TLS that they must have, how the destination stands, and when it
    would be tried again. Nothing is changed by it, and nobody hears of it, but for the hosts that --probe asks.

    Asks the relay that runs. Where none does, or with --dry, or when --config names another file than the relay has
    read, it is found out from the file.

    With ID, the id of a message in the queue: why it is still here, what was said when it was last tried, what happens
    when, and what would change that. Of one that has left the queue: what became of it.

    Ends with 0 when the message would be taken and has a way; with 1 when any of it would be refused; with 75 when it
    would be put off.

    \b
    relay explain --client 192.168.1.20 --from printer@lan --to ann@example.org
    relay explain --login ann@example.org --tls --to bob@example.net --size 30MiB
    relay explain --client 10.1.2.3 --certificate client.pem --to bob@example.net
    relay explain --to bob@example.net --probe           does their server take it?
    relay explain --config new.yaml --to ann@example.org  would the new file do what I mean?
    relay explain 5f3c9a7be2d1                           why is it still here?
    relay explain --to ann@example.org --json | jq 'select(.what == "host")'
    """
    given = {name: value for name, value in asked.items() if value not in (None, False, ())}
    drawing: Callable[[Row], None] = say_json if as_json else Drawing().draw
    if message_id is not None:
        if dry or set(given) - {"probe"}:
            raise click.UsageError("with the ID of a message only --probe, --config, --spool and --json go")
        with running(config, spool) as control:
            verdict = _shown(control.ask("explain.message", id=message_id, probe=bool(asked["probe"])), drawing)
    elif "recipients" not in given:
        raise click.UsageError("to whom? name a recipient: relay explain --to ann@example.org; or the ID of a message")
    else:
        verdict = _of_a_question(config, spool, dry, {**given, "recipients": list(asked["recipients"])}, drawing)
    context.exit({"refused": WOULD_BE_REFUSED, "temporary": EX_TEMPFAIL}.get(verdict, 0))


def _of_a_question(
    config: Path | None, spool: Path | None, dry: bool, question: Row, drawing: Callable[[Row], None]
) -> str:
    """By the relay that runs, if it is the one that is meant; else by the file.  Gives the verdict."""
    if not dry:
        with running_if_any(config, spool) as control:
            if control is not None:
                rows = control.ask("explain", **question)
                first = next(rows)
                if config is None or _is_same(first["place"], config):
                    drawing(first)
                    return _shown(rows, drawing)
    return _by_file(config, spool, question, drawing)


def _is_same(source: str, config: Path) -> bool:
    """Whether a running relay has read this very file."""
    return Path(source).resolve() == config.resolve()


def _shown(rows: Iterable[Row], drawing: Callable[[Row], None]) -> str:
    verdict = ""
    for row in rows:
        drawing(row)
        verdict = row["decision"]
    return verdict


def _by_file(config: Path | None, spool: Path | None, question: Row, drawing: Callable[[Row], None]) -> str:
    """What a relay with this file would do; gives the verdict."""
    from relay.operate.answers.explain import question_of
    from relay.operate.config import ConfigFaults, load
    from relay.operate.control import BadRequest, Request
    from relay.operate.explaining.at_rest import explain_at_rest
    from relay.operate.explaining.finding import Finding

    try:
        loaded = load(config or chosen_config(), spool=spool)
    except ConfigFaults as faults:
        raise Stop(f"the configuration has faults\n{faults}", EX_CONFIG) from None
    verdict = ""

    def found(finding: Finding) -> None:
        nonlocal verdict
        drawing(finding.row())
        verdict = finding.decision

    from twisted.internet import reactor

    try:
        explain_at_rest(reactor, loaded, question_of(Request(question)), found)
    except (BadRequest, ValueError) as fault:
        raise Stop(str(fault), EX_DATAERR) from None
    return verdict
