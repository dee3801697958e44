"""The command line: ``relay``.

Whatever goes wrong ends in a sentence that says what to do, and an exit code of sysexits.h; a traceback is a
defect.  A reader that goes away (``relay queue list | head``) is no error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from relay import __version__
from relay.operate.cli.check import check
from relay.operate.cli.destination import destination
from relay.operate.cli.explain import explain
from relay.operate.cli.init import init
from relay.operate.cli.oauth import oauth
from relay.operate.cli.queue import queue
from relay.operate.cli.run import run
from relay.operate.cli.sendmail import sendmail
from relay.operate.cli.speech import EX_IOERR, EX_USAGE, Stop, printable_lines
from relay.operate.cli.status import status
from relay.operate.cli.trace import trace
from relay.operate.cli.user import user
from relay.operate.cli.webhooks import webhooks
from relay.operate.streams import drop_output, why_not

READER_GONE = 128 + 13  # as a shell reports a program ended by SIGPIPE
INTERRUPTED = 128 + 2


class ReaderGone(Exception):
    """Who reads our output went away."""


class _Relay(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        """Does what the command says.  click would end with 1, as for a failure, when the reader goes away."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            raise ReaderGone from None


@click.group(
    cls=_Relay,
    epilog="The commands find the running relay by --spool or --config, or by the environment variable "
    "RELAY_CONFIG; without these in ./spool, then by /etc/relay/relay.yaml.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="relay")
def relay() -> None:
    """A store-and-forward mail relay that loses nothing and explains itself.

    \b
    relay init                     set up a relay: four questions, and a test message
    relay run                      start a relay, on safe defaults
    relay check /etc/relay/relay.yaml
    relay explain --to ann@example.org   what would happen to it, and why
    relay queue list               where is my mail, and why
    relay trace ann@example.org    what happened to a message, and what was said on the way
    relay status                   the queue in numbers, and each destination
    relay destination rest NAME    leave a host in peace that is being repaired
    relay user add ann@example.org
    """


for _command in (
    init, run, check, explain, queue, trace, destination, status, user, oauth, sendmail, webhooks,
):  # fmt: skip
    relay.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script."""
    sys.exit(exit_code(sys.argv[1:] if arguments is None else arguments))


def exit_code(arguments: Sequence[str]) -> int:
    """Does what the arguments say; gives the exit code."""
    try:
        code = relay.main(list(arguments), prog_name="relay", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        error.show()
        return EX_USAGE
    except Stop as stop:
        click.echo(f"relay: {printable_lines(str(stop))}", err=True)
        return stop.code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return INTERRUPTED
    except ReaderGone:
        drop_output()
        return READER_GONE
    except OSError as error:  # nearly always standard output: closed, or on a disk that is full
        drop_output()
        click.echo(f"relay: {printable_lines(why_not(error))}", err=True)
        return EX_IOERR
