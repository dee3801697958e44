"""What the operator decided about taking mail in, and the neighbours that a listener needs."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.journey import Entry
from relay.queue.store import Counts, Draft
from relay.smtp.data import BareLineEnds

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceiveSettings:
    """Limits and times of the way in.

    hostname                our own name: greeting, EHLO, Received
    size_limit_octets       largest message (RFC 1870)
    recipients_limit        in one transaction; RFC 5321 §4.5.3.1.8 asks for 100 at least
    bare_line_ends          what becomes of content with a CR or LF alone: refused (550 5.5.2), or made a CRLF
    errors_limit            refused commands before the session is ended

    connections_limit       at one time, all clients together
    client_limit            at one time, from one client that is not trusted

    command_timeout_s       for the client's next command to be whole (RFC 5321 §4.5.3.2.7)
    content_timeout_s       for the next piece of content (RFC 5321 §4.5.3.2.5)
    transaction_limit_s     for a whole message, or to use the session for one ...
    least_octets_per_s      ... and a second more for so many octets of content that came
    """

    hostname: str = "localhost"
    size_limit_octets: int = 50 * MIB
    recipients_limit: int = 1000
    bare_line_ends: BareLineEnds = BareLineEnds.REFUSE
    errors_limit: int = 20

    connections_limit: int = 2000
    client_limit: int = 50

    command_timeout_s: float = 300
    content_timeout_s: float = 180
    transaction_limit_s: float = 1800
    least_octets_per_s: int = 500


class Login(enum.Enum):
    """Whether a listener lets clients log in, and whether they must."""

    NONE = "none"
    OFFERED = "offered"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Entrance:
    """What one listener asks of its clients.

    starttls         offered where there is a certificate
    must_encrypt     nothing goes before TLS
    login            whether clients may log in, or must; a trusted certificate counts as a login
    login_in_clear   they may without TLS
    listener         what it is called in the journal: its endpoint
    """

    starttls: bool = True
    must_encrypt: bool = False
    login: Login = Login.OFFERED
    login_in_clear: bool = False
    listener: str = ""


class Enqueue(Protocol):
    """Puts a draft in the queue.  Fires when it is synced to disk: *now* 250 may be said.

    head        trace fields to stand in front of the content
    recipients  after forwarding, none twice
    expanded    recipients that became several and whose senders asked to hear of success: an "expanded" report is
                owed for each (RFC 3461 §5.2.7.3 c)
    entries     the beginning of its journey

    Fails with StoreFull or StoreUnavailable; the draft is gone then.
    """

    def __call__(
        self,
        draft: Draft,
        envelope: Envelope,
        origin: Origin,
        head: bytes,
        recipients: Sequence[Recipient],
        expanded: Sequence[Recipient] = (),
        entries: Sequence[Entry] = (),
    ) -> Deferred[Message]: ...


class Flush(Protocol):
    """Makes what waits for a domain due now (ETRN, RFC 1985).

    subdomains  those below it too
    Gives how many messages wait for it; None when they are not counted.
    """

    def __call__(self, domain: str, subdomains: bool) -> Deferred[int | None]: ...


ReverseName = Callable[[str], str | None]
"""The name that the DNS gives and confirms for an IP address, as far as it is known now.  Never waits: a first
call may begin a look-up for the next one."""

TellCounts = Callable[[], "Counts | Deferred[Counts]"]

HasRoom = Callable[[int], bool]
"""Whether the spool has room for so many octets."""


def no_reverse_name(ip: str) -> str | None:
    """For those who do not ask the DNS."""
    return None


def always_room(octets: int) -> bool:
    """For a spool that says for itself when it is full."""
    return True
