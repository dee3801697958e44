"""The command line of sendmail(8), as programs have used it for forty years.

Flags that mean something here are taken, flags that mean nothing here and do no harm are accepted in silence, and all
others are refused with a word: a program that asks for what it does not get shall hear of it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from relay.message.envelope import Notify, Ret

ENVID_LIMIT = 100  # characters (RFC 3461 §4.4)


class UsageFault(Exception):
    """The command line asks for what there is not; ``str()`` says what, and what to do."""


class Mode(enum.Enum):
    """What is to be done."""

    SEND = "send"
    SMTP = "smtp"
    LIST = "list"
    FLUSH = "flush"
    ALIASES = "aliases"
    HELP = "help"
    VERSION = "version"


@dataclass(slots=True)
class Wishes:
    """What a command line asks for.

    sender       as given, without a domain perhaps; empty for the null sender, None when nothing was said
    from_header  take recipients from the header too (-t)
    ignore_dots  a line of one dot is text (-i)
    flush        of what is queued: an id, a recipient's domain or a sender, by kind; None for all
    config       the configuration file, spool the relay's spool
    """

    mode: Mode = Mode.SEND
    recipients: tuple[str, ...] = ()
    sender: str | None = None
    full_name: str | None = None
    from_header: bool = False
    ignore_dots: bool = False
    verbose: bool = False
    notify: Notify | None = None
    ret: Ret | None = None
    envid: str | None = None
    flush: tuple[Literal["ids", "domain", "sender"], str] | None = None
    config: str | None = None
    spool: str | None = None


_SWITCHES = "itvnGUmIcE"
"""Flags without a value; several may stand behind one dash."""
_WITH_VALUE = "ABCDFLNORVXfhpr"
"""Flags with a value, in the same word or the next."""
_WITH_REST = "bdeoq"
"""Flags whose value is the rest of the word; -e, -o and -b take the next word if there is no rest."""

_MODES = {"m": Mode.SEND, "s": Mode.SMTP, "p": Mode.LIST, "i": Mode.ALIASES}
_NOT_HERE = {
    "d": "relay run starts the relay",
    "D": "relay run starts the relay",
    "l": "relay run starts the relay",
    "v": "relay explain tells what would become of a message",
    "t": "relay explain tells what would become of a message",
    "h": "relay status shows the destinations",
    "H": "relay status shows the destinations",
}
_FLUSH = {"I": "ids", "R": "domain", "S": "sender"}


def parse(arguments: Sequence[str], mode: Mode = Mode.SEND) -> Wishes:
    """What these arguments ask for.  Raises UsageFault.

    mode  by the name that the program was called by
    """
    wishes = Wishes(mode=mode)
    given: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            break
        if word.startswith("--"):
            _long(wishes, word, words)
        elif word.startswith("-") and word != "-":
            _short(wishes, word[1:], words)
        else:
            given.append(word)
    wishes.recipients = (*given, *words)
    return wishes


def _long(wishes: Wishes, word: str, words: Iterator[str]) -> None:
    """Ours; sendmail has none."""
    name, equals, value = word[2:].partition("=")
    if name in ("config", "spool"):
        setattr(wishes, name, value if equals else _next(words, word))
    elif word in ("--help", "--version"):
        wishes.mode = Mode(name)
    else:
        raise UsageFault(f"{word} is not known; relay sendmail --help tells what is")


def _short(wishes: Wishes, letters: str, words: Iterator[str]) -> None:
    """One word: switches, and perhaps one flag with a value behind them."""
    for place, letter in enumerate(letters):
        rest = letters[place + 1 :]
        if letter in _SWITCHES:
            _switch(wishes, letter)
        elif letter in _WITH_VALUE:
            _value(wishes, letter, rest or _next(words, f"-{letter}"))
            return
        elif letter in _WITH_REST:
            _rest(wishes, letter, rest if rest or letter in "dq" else _next(words, f"-{letter}"))
            return
        else:
            raise UsageFault(f"-{letter} is not known; relay sendmail --help tells what is")


def _next(words: Iterator[str], flag: str) -> str:
    value = next(words, None)
    if value is None:
        raise UsageFault(f"{flag} needs a value")
    return value


def _switch(wishes: Wishes, letter: str) -> None:
    match letter:
        case "i":
            wishes.ignore_dots = True
        case "t":
            wishes.from_header = True
        case "v":
            wishes.verbose = True
        case "I":
            wishes.mode = Mode.ALIASES


def _value(wishes: Wishes, letter: str, value: str) -> None:
    match letter:
        case "f" | "r":
            wishes.sender = "" if value == "<>" else value
        case "F":
            wishes.full_name = value
        case "C":
            wishes.config = value
        case "B":
            _mind_body(value)
        case "N":
            wishes.notify = _notify(value)
        case "R":
            wishes.ret = _ret(value)
        case "V":
            wishes.envid = _envid(value)
        case "O":
            name, _, said = value.partition("=")
            wishes.ignore_dots |= name.lower() == "ignoredots" and said.lower() in ("", "true", "yes", "1")


def _rest(wishes: Wishes, letter: str, rest: str) -> None:
    match letter:
        case "b":
            if rest in _MODES:
                wishes.mode = _MODES[rest]
            else:
                raise UsageFault(f"-b{rest} is not done here; {_NOT_HERE.get(rest, 'relay --help tells what is')}")
        case "o" if rest == "i":
            wishes.ignore_dots = True
        case "q":
            _flush(wishes, rest)


def _flush(wishes: Wishes, what: str) -> None:
    wishes.mode = Mode.FLUSH
    if what in ("", "f"):
        return
    kind, value = _FLUSH.get(what[0]), what[1:]
    if kind is None or not value:
        raise UsageFault(
            f"-q{what} is not done here: the relay itself tries again in time; -q tries all now, -qIid one message, "
            "-qRdomain the mail for a domain, -qSaddress the mail of a sender"
        )
    wishes.flush = (kind, value)  # type: ignore[assignment]  # it is one of the values of _FLUSH


def _mind_body(value: str) -> None:
    """It is seen what the content is; this says only what its writer thinks."""
    if value.upper() not in ("7BIT", "8BITMIME"):
        raise UsageFault(f"-B{value}: 7BIT or 8BITMIME")


def _ret(value: str) -> Ret:
    if value.upper() not in Ret.__members__:
        raise UsageFault(f"-R {value}: full or hdrs")
    return Ret[value.upper()]


def _notify(value: str) -> Notify:
    names = value.upper().split(",")
    if names != ["NEVER"] and not set(names) <= {"SUCCESS", "FAILURE", "DELAY"}:
        raise UsageFault(f"-N {value}: never, or success, failure and delay with commas between")
    notify = Notify(0)
    for name in names:
        notify |= Notify[name]
    return notify


def _envid(value: str) -> str:
    if not (0 < len(value) <= ENVID_LIMIT and value.isascii() and value.isprintable()):
        raise UsageFault(f"-V: an envelope id has 1 to {ENVID_LIMIT} printable ASCII characters")
    return value
