"""``relay sendmail``, in the list of commands; what it does is in relay.operate.sendmail."""

from __future__ import annotations

import click

from relay.operate.sendmail.program import HELP
from relay.operate.sendmail.program import main as program


class _Sendmail(click.Command):
    """A command with a command line of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["arguments"] = tuple(args)
        return []

    def get_help(self, ctx: click.Context) -> str:
        return HELP


@click.command(cls=_Sendmail, add_help_option=False, short_help="Take a message from a program, as sendmail does.")
@click.pass_context
def sendmail(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Take a message on standard input, as programs know it from sendmail(8).

    Also mailq and newaliases, when a link of that name leads to relay.
    """
    context.exit(program("sendmail", arguments))
