"""The commands: when each may come, what its argument looks like, and what HELP says of it.

The table is the only place that knows the order of commands (RFC 5321 §4.1.4)::

                      turned_away  connected  ready  envelope  chunks  spoiled   afterwards
    QUIT                   x           x        x       x        x        x      closed
    EHLO HELO LHLO                     x        x       x        x        x      ready, no transaction
    RSET                               x        x       x        x        x      no transaction
    NOOP HELP VRFY EXPN                x        x       x        x        x      unchanged
    MAIL SEND SOML SAML                         x                                envelope
    RCPT                                                x                        envelope
    DATA                                                x                        ready, after the content
    BDAT                                                x        x               chunks; ready after LAST
    ETRN                                        x                                unchanged
    AUTH                                        x                                ready, logged in
    STARTTLS                                    x                                connected: all that was said
                                                                                 before TLS is forgotten, the
                                                                                 unread octets too (RFC 3207 §4.2)

Everywhere else the answer is 503 and the phase stays.  BDAT that comes out of order is refused only after
its octets were swallowed, so that content is never read as commands (RFC 3030 §2).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from relay.message import reply
from relay.message.address import Address, AddressFault, parse_path
from relay.message.reply import Reply


class Phase(enum.Enum):
    """How far a session has come.

    opened       nobody has decided yet whether this client may talk to us
    turned_away  the greeting was 554: only QUIT is left (RFC 5321 §3.1)
    connected    greeted; the client has not said who it is
    ready        EHLO or HELO was accepted, no transaction is open
    envelope     MAIL was accepted; recipients are being collected
    chunks       part of the content came by BDAT; only more of it may follow
    spoiled      a chunk was refused; the transaction is dead until RSET, EHLO or a LAST chunk buries it
    """

    OPENED = "opened"
    TURNED_AWAY = "turned_away"
    CONNECTED = "connected"
    READY = "ready"
    ENVELOPE = "envelope"
    CHUNKS = "chunks"
    SPOILED = "spoiled"


class Argument(enum.Enum):
    """Whether a command takes an argument; without need one is 501 (RFC 5321 §4.3.2)."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


ANYTIME = (Phase.CONNECTED, Phase.READY, Phase.ENVELOPE, Phase.CHUNKS, Phase.SPOILED)


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table.

    idle         it does not bring a message nearer; only so many of them are answered
    refusal      the answer in every phase: 502 when it is not implemented (RFC 5321 §4.2.4), 530 when TLS or a login
                 must come first; or None
    usage        how to say it, for HELP and for 501
    meaning      what it does, for HELP
    """

    verb: str
    phases: tuple[Phase, ...]
    argument: Argument
    usage: str
    meaning: str
    idle: bool = False
    refusal: Reply | None = None

    @property
    def implemented(self) -> bool:
        """Whether there is such a command here."""
        return self.refusal is not reply.NOT_IMPLEMENTED


_READY = (Phase.READY,)
_ENVELOPE = (Phase.ENVELOPE,)
_NONE, _OPTIONAL, _REQUIRED = Argument.NONE, Argument.OPTIONAL, Argument.REQUIRED

COMMANDS: Mapping[str, Command] = {
    command.verb: command
    for command in (
        Command("EHLO", ANYTIME, _REQUIRED, "EHLO host.example", "Says who you are and asks what we offer", idle=True),
        Command("HELO", ANYTIME, _REQUIRED, "HELO host.example", "Says who you are, the old way", idle=True),
        Command("LHLO", ANYTIME, _REQUIRED, "LHLO host.example", "EHLO of LMTP", idle=True),
        Command("MAIL", _READY, _REQUIRED, "MAIL FROM:<sender> [parameters]", "Begins a message"),
        Command("SEND", _READY, _REQUIRED, "SEND FROM:<sender>", "As MAIL: the message is relayed, not shown"),
        Command("SOML", _READY, _REQUIRED, "SOML FROM:<sender>", "As MAIL: the message is relayed, not shown"),
        Command("SAML", _READY, _REQUIRED, "SAML FROM:<sender>", "As MAIL: the message is relayed, not shown"),
        Command("RCPT", _ENVELOPE, _REQUIRED, "RCPT TO:<recipient> [parameters]", "Names one recipient"),
        Command("DATA", _ENVELOPE, _NONE, "DATA", "Begins the content, which ends with <CRLF>.<CRLF>"),
        Command(
            "BDAT", (Phase.ENVELOPE, Phase.CHUNKS), _REQUIRED, "BDAT octets [LAST]", "Brings a chunk of the content"
        ),
        Command("RSET", ANYTIME, _NONE, "RSET", "Forgets the message that was begun", idle=True),
        Command("NOOP", ANYTIME, _OPTIONAL, "NOOP [anything]", "Does nothing", idle=True),
        Command("QUIT", (Phase.TURNED_AWAY, *ANYTIME), _NONE, "QUIT", "Ends the session"),
        Command("VRFY", ANYTIME, _REQUIRED, "VRFY user [SMTPUTF8]", "Asks whether there is such a user", idle=True),
        Command("EXPN", ANYTIME, _REQUIRED, "EXPN list [SMTPUTF8]", "Asks who is on a list", idle=True),
        Command("HELP", ANYTIME, _OPTIONAL, "HELP [command or STATUS]", "What you are reading", idle=True),
        Command("ETRN", _READY, _REQUIRED, "ETRN host.example", "Asks us to send what waits for a host", idle=True),
        Command("STARTTLS", _READY, _NONE, "STARTTLS", "Begins TLS", idle=True),
        Command("AUTH", _READY, _REQUIRED, "AUTH mechanism [response]", "Logs in", idle=True),
        # RFC 5321 F.1: there is no safe way to turn a connection round without knowing who is at the other end.
        Command("TURN", _READY, _NONE, "TURN", "Turns the connection round", refusal=reply.NOT_IMPLEMENTED),
    )
}


class CommandRefused(Exception):
    """A command's argument does not hold; ``reply`` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def hello_name(argument: str) -> str:
    """What the client calls itself: the first word, as it stands.

    Devices send ``localhost``, ``MY_PRINTER`` and half a sentence; RFC 5321 §4.1.4 forbids to refuse mail
    because of a name, and §4.1.1.1 warns of text after an address literal.  So any word will do.
    """
    name = argument.split(" ", 1)[0]
    if len(name) > 255 or not name.isprintable():
        raise CommandRefused(reply.BAD_ARGUMENTS)
    return name


def path_and_rest(argument: str, prefix: str, fault: Reply) -> tuple[Address | None, str]:
    """The path after ``FROM:`` or ``TO:``, and the text of the parameters behind it.

    A space after the colon is no law (RFC 5321 §3.3), but old devices send one; it is tolerated.

    prefix  ``FROM:`` or ``TO:``
    fault   the 501 for this command; its text is replaced by what is wrong
    """
    start = len(prefix)
    if argument[:start].upper() != prefix:
        raise CommandRefused(reply.BAD_ARGUMENTS.saying(f"Syntax error: {prefix}<address> expected"))
    text = argument[start:].lstrip(" ")
    end = text.find(">") + 1
    try:
        if '"' in text or not end:  # a quoted local part may hold the >
            path, end = parse_path(text)
        else:  # only the path, so that parameters do not spoil what parse_path remembers
            path, end = parse_path(text[:end])
    except AddressFault as why:
        raise CommandRefused(_path_fault(text, prefix, fault, why)) from None
    rest = text[end:]
    if rest and rest[0] != " ":
        raise CommandRefused(reply.BAD_ARGUMENTS.saying("Syntax error: a space belongs before the parameters"))
    return path, rest


def _path_fault(text: str, prefix: str, fault: Reply, why: AddressFault) -> Reply:
    """501 for what is no path or too long (RFC 5321 §4.1.4, §4.5.3.1.9), and always for a sender; 553 for a
    recipient that is a path with a bad mailbox in it ("mailbox syntax incorrect", §4.2.3)."""
    if prefix == "TO:" and not why.too_long and text.startswith("<") and ">" in text:
        return reply.MAILBOX_NAME_NOT_ALLOWED.saying(f"Mailbox name not allowed: {why}")
    return fault.saying(f"Syntax error: {why}")


_CHUNK = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)


def chunk_size(argument: str) -> tuple[int, bool] | None:
    """Octets, and whether LAST was said (RFC 3030 §2); None when it is not understood."""
    match = _CHUNK.fullmatch(argument)
    return (int(match[1]), match[2] is not None) if match else None
