"""``relay init``: a relay set up by four questions, or by options, and tried out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from relay.operate.cli.speech import EX_TEMPFAIL, say_json
from relay.operate.init import questions
from relay.operate.init.deciding import Given
from relay.operate.init.plan import Network, SmartHost, parse_smart_host
from relay.operate.values import parse_endpoint

T = TypeVar("T")


def _parsed(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """For an option, what ``parse`` makes of it; its ValueError becomes a fault of usage."""

    def callback(context: click.Context, option: click.Parameter, value: str | None) -> T | None:
        try:
            return parse(value) if value is not None else None
        except ValueError as fault:
            raise click.BadParameter(str(fault)) from None

    return callback


def _each(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[T, ...]]:
    def callback(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[T, ...]:
        try:
            return tuple(parse(value) for value in values)
        except ValueError as fault:
            raise click.BadParameter(str(fault)) from None

    return callback


_file = click.Path(path_type=Path)
_there = click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True)


@click.command(short_help="Set up a relay: four questions and a test message.")
@click.argument("file", type=_file, required=False)
@click.option(
    "--smarthost", metavar="HOST[:PORT]", callback=_parsed(parse_smart_host), help="Everything goes by this host."
)
@click.option("--mx", "by_mx", is_flag=True, help="Mail goes straight to each domain's mail host.")
@click.option("--login", metavar="NAME", help="Log in at the smart host as this user.")
@click.option("--password-stdin", is_flag=True, help="The password is the first line of standard input.")
@click.option("--password-file", type=_there, help="A file that has it, and stays where it is.")
@click.option("--authorities", type=_there, help="A file with the authorities that vouch for the smart host.")
@click.option(
    "--network",
    "networks",
    metavar="NETWORK",
    multiple=True,
    callback=_each(questions.parse_networks),
    help="Who may send; may be given several times, and none is nobody. Default: the private networks found.",
)
@click.option("--hostname", callback=_parsed(questions.parse_hostname), help="What the relay is called.")
@click.option(
    "--postmaster",
    metavar="ADDRESS",
    callback=_parsed(lambda text: str(questions.parse_reader(text))),
    help="Who reads the mail for postmaster and root.",
)
@click.option(
    "--listen", metavar="ENDPOINT", multiple=True, callback=_each(parse_endpoint), help="Where clients come in."
)
@click.option("--spool", type=_file, help="The folder of the queue.")
@click.option("--user", help="As root: whom the relay works as. Default: relay, which is made.")
@click.option(
    "--test-to",
    metavar="ADDRESS",
    callback=_parsed(lambda text: str(questions.parse_reader(text))),
    help="Whom the test message goes to. Default: the postmaster.",
)
@click.option("--no-test", is_flag=True, help="Neither try the way out nor send a test message.")
@click.option("--unit", type=_file, help="As root: write the systemd unit to this file.")
@click.option("--yes", is_flag=True, help="Ask nothing: take the options, and the defaults for what they leave open.")
@click.option("--force", is_flag=True, help="Put new files in the place of those that are there.")
@click.option("--json", "as_json", is_flag=True, help="Ask nothing, and tell in JSON what was done.")
@click.pass_context
def init(context: click.Context, /, file: Path | None, **options: Any) -> None:
    """Set up a relay: four questions, a short relay.yaml, and a message that shows that it works.

    Asked are: by which host mail leaves, the login there, who may send, and what the relay is called and who looks
    after it. The way out is tried (connection, TLS, login, recipient) before anything is written, a test message is
    followed on its way, and at the end stands how to start it, as a service too. Options answer questions in advance.

    FILE is /etc/relay/relay.yaml for root, who sets the machine's relay up; ./relay.yaml for others, who get one for
    themselves. No file is overwritten unasked.

    Ends with 0; with 75 when what was tried has not worked, though the files are written.

    \b
    relay init
    relay init --smarthost smtp.provider.example:587 --login me@provider.example --postmaster me@provider.example
    relay init --yes --json --mx --network 192.168.1.0/24 --postmaster admin@example.org --no-test
    """
    from relay.operate.init.setup import Setup

    as_json, given = options["as_json"], _given(file, options)
    if given.is_asked and not sys.stdin.isatty():
        raise click.UsageError("questions need a terminal; answer them by options, and add --yes")
    setup = Setup(given, speaks=not as_json)
    setup.run()
    if as_json:
        say_json(asdict(setup.done))
    context.exit(0 if setup.done.is_well else EX_TEMPFAIL)


def _given(file: Path | None, options: dict[str, Any]) -> Given:
    """The options in the words of the setup."""
    host: SmartHost | None = options["smarthost"]
    if host is not None and options["by_mx"]:
        raise click.UsageError("--smarthost and --mx together say two things; give one of them")
    if host is None and (options["login"] or options["password_stdin"] or options["password_file"]):
        raise click.UsageError("a login is for a smart host; name it with --smarthost")
    if options["password_stdin"] and options["password_file"]:
        raise click.UsageError("--password-stdin and --password-file together say two things; give one of them")
    networks: tuple[tuple[Network, ...], ...] = options["networks"]
    return Given(
        file=file,
        smart_host=host,
        by_mx=options["by_mx"],
        login=options["login"],
        password=_first_line() if options["password_stdin"] else None,
        password_file=options["password_file"],
        authorities=options["authorities"],
        networks=tuple(one for each in networks for one in each) if networks else None,
        hostname=options["hostname"],
        postmaster=options["postmaster"],
        listen=options["listen"],
        spool=options["spool"],
        user=options["user"],
        test_to=options["test_to"],
        is_asked=not (options["yes"] or options["as_json"]),
        tries=not options["no_test"],
        replaces=options["force"],
        unit=options["unit"],
    )


def _first_line() -> str:
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.UsageError("no password came on standard input")
    return line
