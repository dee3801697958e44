"""How the command line speaks: exit codes, errors that say what to do, times and sizes in words.

The rule that must not be broken: what a peer or a message said is made printable before it reaches a terminal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import click

from relay.message.reply import printable
from relay.operate.words import age as age
from relay.operate.words import count as count
from relay.operate.words import size as size

# sysexits.h
EX_USAGE = 64
EX_DATAERR = 65
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_CANTCREAT = 73
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class Stop(Exception):
    """Ends the command with a sentence and an exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def say(text: str = "") -> None:
    """A line for people."""
    click.echo(printable(text))


def printable_lines(text: str) -> str:
    """The text, its line ends kept and everything else made printable."""
    return "\n".join(map(printable, text.split("\n")))


def say_json(value: Mapping[str, object]) -> None:
    """A line for programs."""
    click.echo(json.dumps(value))


def until(at: float | None) -> str:
    """``in 12m`` or ``now``."""
    left = (at or 0) - time.time()
    return f"in {age(left)}" if left >= 1 else "now"


def moment(at: float) -> str:
    """A point of time in the reader's own time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


def hour(at: float) -> str:
    """A point of time within the next weeks, short: ``Fri 27 Nov 14:05``."""
    return time.strftime("%a %d %b %H:%M", time.localtime(at))
