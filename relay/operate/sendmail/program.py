"""The program: does what its name and its command line say, and ends with an exit code of sysexits.h."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from relay import __version__
from relay.message.reply import printable
from relay.operate.sendmail.flags import Mode, UsageFault, Wishes, parse
from relay.operate.sendmail.handing import InputFault, hand_over, this_user
from relay.operate.sendmail.knowing import Known, known
from relay.operate.streams import drop_output, why_not
from relay.operate.whereabouts import NoConfig
from relay.receive.maildrop.drop import EnvelopeTooLarge
from relay.receive.maildrop.leaving import CannotLeave, NoMaildrop, NotAllowed, NotNow, NotSafe

NAMES: Mapping[str, Mode] = {"sendmail": Mode.SEND, "mailq": Mode.LIST, "newaliases": Mode.ALIASES}
"""What the program does by the name that it is called by."""

HELP = """\
Usage: relay sendmail [FLAGS] [--] [RECIPIENT]...
       sendmail, mailq, newaliases    (links to relay)

  Takes a message on standard input and leaves it for the relay, which sends it as soon as it runs. This is what cron,
  mailx, PHP and others call as /usr/sbin/sendmail.

  -t          take recipients from To, Cc and Bcc as well; Bcc is removed
  -f ADDRESS  the sender (also -r); "" for none. Default: you
  -F NAME     the full name for a From field that is missing
  -i, -oi     a line with only a dot does not end the message
  -N WHEN     report: never, or success,failure,delay
  -R WHAT     what a report of failure gives back: full or hdrs
  -V ID       an id that reports repeat
  -bs         speak SMTP on standard input and output
  -bp         show the queue (mailq)
  -q          try everything in the queue now; -qIid: one message, -qRdomain: the mail for it, -qSaddress: of a sender
  -bi         rebuild the alias database (newaliases): there is none; see forward in relay.yaml
  -v          say what was done
  -C, --config FILE    the configuration; default: RELAY_CONFIG, a relay of yours in this folder, /etc/relay/relay.yaml
  --spool DIR          the relay's spool

  Accepted, and without a meaning here: -bm -B -e -o… -O -m -n -G -U -A -L -X -h -p -D -d -c -E

  Exit codes: 0 the message is safe; 64 the command line, 65 the message, 69 the maildrop or 78 the configuration is not
  right; 75 try again later; 77 not allowed.
"""

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (UsageFault, os.EX_USAGE),
    (InputFault, os.EX_DATAERR),
    (EnvelopeTooLarge, os.EX_DATAERR),
    (NoConfig, os.EX_CONFIG),
    (NoMaildrop, os.EX_UNAVAILABLE),
    (NotAllowed, os.EX_NOPERM),
    (NotSafe, os.EX_CONFIG),
    (NotNow, os.EX_TEMPFAIL),
    (CannotLeave, os.EX_TEMPFAIL),
)


class Ended(BaseException):
    """A signal has ended us."""


def main(name: str, arguments: Sequence[str]) -> int:
    """Does it; gives the exit code.

    name  one of NAMES
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _end)
    try:
        code = _do(parse(arguments, NAMES[name]))
        sys.stdout.flush()
        return code
    except tuple(kind for kind, _ in _CODES) as fault:
        print(f"{name}: {printable(str(fault))}", file=sys.stderr)
        return next(code for kind, code in _CODES if isinstance(fault, kind))
    except BrokenPipeError:  # whoever read our output has seen enough
        drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # standard input or output
        drop_output()
        print(f"{name}: {printable(why_not(error))}", file=sys.stderr)
        return os.EX_IOERR
    except Ended as signalled:
        return 128 + int(signalled.args[0])


def _end(number: int, _: FrameType | None) -> None:
    raise Ended(number)  # so that what was begun is taken away


def _do(wishes: Wishes) -> int:
    match wishes.mode:
        case Mode.SEND:
            return _send(wishes)
        case Mode.SMTP:
            from relay.operate.sendmail.session import converse, write_all

            converse(_known(wishes), lambda octets: os.read(0, octets), lambda data: write_all(1, data))
        case Mode.LIST:
            from relay.operate.sendmail.queue import show

            return show(wishes)
        case Mode.FLUSH:
            from relay.operate.sendmail.queue import flush

            return flush(wishes)
        case Mode.HELP:
            print(HELP, end="")
        case Mode.VERSION:
            print(f"relay, version {__version__}")
        case Mode.ALIASES if wishes.verbose or sys.stdout.isatty():
            print("there is no alias database to rebuild: forward in relay.yaml says whose mail goes where")
    return os.EX_OK


def _send(wishes: Wishes) -> int:
    there = _known(wishes)
    name = hand_over(wishes, there, this_user(), lambda octets: os.read(0, octets))
    if wishes.verbose:
        try:
            print(f"left in {there.maildrop} as {name}", flush=True)
        except OSError:  # the message is safe, and that is what the exit code says
            drop_output()
    return os.EX_OK


def _known(wishes: Wishes) -> Known:
    return known(wishes.config, wishes.spool)


def program_name(argv0: str) -> str | None:
    """What we are called by, if it is one of NAMES."""
    name = Path(argv0).name
    return name if name in NAMES else None
