"""One mail transaction as a client sees it: the commands, and what each recipient's answer was.

What goes out between commands is only what is formatted here, from parsed addresses; ``commands`` refuses
to let a line end through that is not its own.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from relay.message.envelope import Body, Envelope, Notify, Recipient
from relay.message.reply import Reply
from relay.message.value import value
from relay.smtp.offer import Offer


class Step(enum.Enum):
    """What a client waits for.  The order is that of a session."""

    __hash__ = object.__hash__  # each is one of a kind; an Enum's own costs a call

    GREETING = "the greeting"
    HELLO = "the reply to EHLO"
    STARTTLS = "the reply to STARTTLS"
    HANDSHAKE = "the TLS handshake"
    CREDENTIALS = "the credentials to log in with"
    AUTH = "the reply to AUTH"
    RESET = "the reply to RSET"
    MAIL = "the reply to MAIL"
    RECIPIENT = "the reply to RCPT"
    DATA = "the reply to DATA"
    CONTENT = "taking the content"
    CHUNK = "the reply to BDAT"
    END = "the reply to the end of the content"
    QUIT = "the reply to QUIT"


@value(frozen=True, slots=True)
class Answer:
    """What decided about one recipient.

    step    what was waited for
    reply   None when no (intelligible) one came; with step END the content had gone out whole, and whether
            it was delivered is in doubt (RFC 1047)
    why     in words, when there is no reply
    """

    step: Step
    reply: Reply | None
    why: str = ""


class Transaction:
    """One message to some recipients over one session.

    size      octets of the content as it is sent
    body      what to declare with BODY=; 7BIT is not declared
    smtputf8  whether to say SMTPUTF8
    chunked   send by BDAT, not DATA
    require_tls  say REQUIRETLS (RFC 8689)
    asks_only  it ends when each recipient has its reply, and no content follows: a 2yz at RCPT then is its answer
    says_auth    AUTH= was said
    answers   one a recipient; all are there when the transaction has ended
    accepted  places of the recipients that the server took, in order
    heard     replies other than 421 that came to this transaction's commands; 0: the server has not looked at it
    record    what was said, for a trace: (when, octets that we sent | reply that came); content is left out
    """

    __slots__ = (
        "accepted",
        "answers",
        "asks_only",
        "body",
        "chunked",
        "envelope",
        "heard",
        "recipients",
        "record",
        "require_tls",
        "says_auth",
        "size",
        "smtputf8",
    )

    def __init__(
        self,
        envelope: Envelope,
        recipients: Sequence[Recipient],
        size: int,
        *,
        body: Body = Body.SEVENBIT,
        smtputf8: bool = False,
        chunked: bool = False,
        require_tls: bool = False,
        asks_only: bool = False,
    ) -> None:
        self.envelope = envelope
        self.recipients = recipients
        self.size = size
        self.body = body
        self.smtputf8 = smtputf8
        self.chunked = chunked
        self.require_tls = require_tls
        self.asks_only = asks_only
        self.says_auth = False
        self.answers: list[Answer | None] = [None] * len(recipients)
        self.accepted: list[int] = []
        self.heard = 0
        self.record: list[tuple[float, bytes | Reply]] = []

    @property
    def says_data(self) -> bool:
        """Whether DATA follows the recipients."""
        return not (self.chunked or self.asks_only)

    def commands(self, offer: Offer) -> list[bytes]:
        """MAIL, each RCPT and, if it is to be said, DATA, each with its CRLF.

        Raises ValueError for an address that would break a line: it did not come from the parser.
        """
        lines = [self._mail(offer)]
        dsn, utf8 = offer.dsn, self.smtputf8
        lines += [f"RCPT TO:<{each.address}>{_wishes(each, utf8) if dsn else ''}" for each in self.recipients]
        if self.says_data:
            lines.append("DATA")
        if not all(map(str.isprintable, lines)) and any("\n" in line or "\r" in line or "\0" in line for line in lines):
            raise ValueError("a control character in an address")
        return [f"{line}\r\n".encode() for line in lines]

    def _mail(self, offer: Offer) -> str:
        envelope = self.envelope
        said = f"MAIL FROM:<{envelope.reverse_path or ''}>"
        if offer.size is not None:
            said += f" SIZE={self.size}"
        if self.body is not Body.SEVENBIT:
            said += f" BODY={self.body.value}"
        if self.smtputf8:
            said += " SMTPUTF8"
        if self.require_tls:
            said += " REQUIRETLS"
        # RFC 4954 §5: who submitted it, to a host that knows of logins; where we have logged in, it must not take that
        # for who did.
        if offer.auth and (envelope.auth is not None or offer.logged_in):
            said += f" AUTH={xtext(envelope.auth or '<>')}"
            self.says_auth = True
        if offer.dsn:
            if envelope.ret is not None:
                said += f" RET={envelope.ret.value}"
            if envelope.envid is not None:
                said += f" ENVID={xtext(envelope.envid)}"
        return said

    def decide(self, answer: Answer) -> None:
        """Gives this answer to every recipient that has none yet."""
        self.answers = [each or answer for each in self.answers]


def _wishes(recipient: Recipient, utf8: bool) -> str:
    """NOTIFY and ORCPT as parameters of RCPT (RFC 3461 §4.1, §4.2), with a space before each.

    utf8  SMTPUTF8 was said: an address beyond ASCII goes as it is (RFC 6533 §3)
    """
    said = ""
    if recipient.notify is not None:
        wishes = [wish.name for wish in Notify if wish in recipient.notify and wish.name]
        said = " NOTIFY=" + ("NEVER" if "NEVER" in wishes else ",".join(wishes))
    if recipient.orcpt is not None:
        kind, _, address = recipient.orcpt.partition(";")
        is_utf8 = kind.lower() == "utf-8"
        if address.isascii() and not is_utf8:
            said += f" ORCPT={kind};{xtext(address)}"
        else:
            said += f" ORCPT={kind if is_utf8 else 'utf-8'};{utf8_xtext(address, keeps=utf8)}"
    return said


def xtext(text: str) -> str:
    """RFC 3461 §4: what is not printable ASCII, and ``+`` and ``=``, as ``+`` and two hexadecimal digits."""
    if text.isalnum() and text.isascii():
        return text
    return "".join(
        c if "!" <= c <= "~" and c not in "+=" else "".join(f"+{octet:02X}" for octet in c.encode()) for c in text
    )


def utf8_xtext(text: str, keeps: bool = False) -> str:
    """RFC 6533 §3, utf-8-addr-xtext: what is not printable ASCII, and ``+ = \\``, as ``\\x{HEX}``.

    keeps  utf-8-addr-unitext: printable characters beyond ASCII stay as they are
    """
    return "".join(
        c if c.isprintable() and c not in " +=\\" and (keeps or c <= "~") else f"\\x{{{ord(c):X}}}" for c in text
    )
