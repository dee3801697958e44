"""What a client session tells its carrier, and how long it waits for what."""

from __future__ import annotations

import enum

from relay.message.reply import Reply
from relay.message.value import value
from relay.smtp.offer import Offer
from relay.smtp.transaction import Step, Transaction

TIMEOUT_S: dict[Step, float] = {  # RFC 5321 §4.5.3.2
    Step.GREETING: 300.0,
    Step.HELLO: 300.0,
    Step.STARTTLS: 120.0,
    Step.HANDSHAKE: 60.0,
    Step.CREDENTIALS: 60.0,
    Step.AUTH: 180.0,
    Step.RESET: 300.0,
    Step.MAIL: 300.0,
    Step.RECIPIENT: 300.0,
    Step.DATA: 120.0,
    Step.CONTENT: 180.0,
    Step.CHUNK: 180.0,
    Step.END: 600.0,
    Step.QUIT: 5.0,  # nothing depends on it
}


class Encryption(enum.Enum):
    """What a session does about STARTTLS (RFC 3207)."""

    NEVER = "never"  # also where TLS was there from the first octet
    IF_OFFERED = "if offered"
    MUST = "must"


@value(frozen=True, slots=True)
class TlsWanted:
    """The server waits for the TLS handshake: begin it, then say ``secured``."""


@value(frozen=True, slots=True)
class CredentialsWanted:
    """The server can be logged in to: say ``log_in`` with an Exchange, or ``cannot_log_in``.

    mechanisms  what it offers, in upper case
    """

    mechanisms: frozenset[str]


@value(frozen=True, slots=True)
class Opened:
    """The server has greeted us, said what it offers and, if need be, let us log in: transactions may begin."""

    offer: Offer


@value(frozen=True, slots=True)
class ContentWanted:
    """Send the content now, or (BDAT) the next piece of it."""

    transaction: Transaction


@value(frozen=True, slots=True)
class TransactionEnded:
    """Each recipient has its answer."""

    transaction: Transaction


@value(frozen=True, slots=True)
class SessionEnded:
    """Nothing more goes over this session; close the connection.

    step   what was waited for; None when nothing was
    reply  what the server said last, if that ended it
    why    in words, when there is no reply; empty after our own QUIT
    """

    step: Step | None
    reply: Reply | None = None
    why: str = ""


Event = TlsWanted | CredentialsWanted | Opened | ContentWanted | TransactionEnded | SessionEnded
