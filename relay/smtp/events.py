"""What a server session tells its carrier, one event at a time.

Most are questions: the session waits for ``session.answer(reply)`` before it looks at the next
command, so replies leave in the order of the commands however slow a decision is (RFC 2920 §3.2).
The others are news, and need no answer; each class says which it is.
"""

from __future__ import annotations

from dataclasses import field

from relay.message.address import Address
from relay.message.envelope import Body, Notify, Ret
from relay.message.value import value


@value(frozen=True, slots=True)
class SessionOpened:
    """Question: may this client talk to us?  A 220 greets it; 421 or 554 turn it away (RFC 5321 §3.1)."""


@value(frozen=True, slots=True)
class HelloReceived:
    """Question: EHLO, HELO (or LHLO) with this name.  On a positive answer the session itself writes
    the list of extensions."""

    name: str
    extended: bool


@value(frozen=True, slots=True)
class MailReceived:
    """Question: a transaction begins (RFC 5321 §3.3).

    verb           MAIL, SEND, SOML or SAML
    declared_size  octets by the SIZE parameter (RFC 1870), or None
    auth           the AUTH= parameter, xtext decoded (RFC 4954 §5), or None
    require_tls    REQUIRETLS: the message must not travel without TLS (RFC 8689)
    """

    reverse_path: Address | None
    verb: str = "MAIL"
    declared_size: int | None = None
    body: Body = Body.SEVENBIT
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    auth: str | None = None
    require_tls: bool = False


@value(frozen=True, slots=True)
class RecipientReceived:
    """Question: one more recipient.  ``<Postmaster>`` comes with an empty domain."""

    address: Address
    notify: Notify | None = None
    orcpt: str | None = None


@value(frozen=True, slots=True)
class ContentStarted:
    """Question: shall the content come?  A positive answer lets the session say 354, or go on with
    the chunk; a 4yz is our own trouble, such as a full disk."""


@value(frozen=True, slots=True)
class ContentReceived:
    """News: a piece of the content, dots unstuffed, octets otherwise as sent."""

    data: bytes


@value(frozen=True, slots=True)
class ContentEnded:
    """Question: the content is whole and well framed.  250 only when it is safely on disk.

    size  octets of the content
    With LMTP, answer with ``session.answer_each(replies)``: one reply for each accepted recipient (RFC 2033 §4.2).
    """

    size: int


@value(frozen=True, slots=True)
class TransactionAborted:
    """News: forget the transaction and what came of its content (RSET, a new EHLO, bad content, connection lost).

    Bad content is told as soon as it is known, the reply to it is given at its end.  After ContentEnded this
    comes only when the connection is lost before the answer.
    """

    why: str


@value(frozen=True, slots=True)
class VerifyReceived:
    """Question: VRFY (RFC 5321 §3.5).

    smtputf8  the client takes UTF-8 in the answer; else that may hold no mailbox beyond ASCII (RFC 6531 §3.7.4.2)
    """

    text: str
    smtputf8: bool = False


@value(frozen=True, slots=True)
class ExpandReceived:
    """Question: EXPN (RFC 5321 §3.5).  smtputf8 as in VerifyReceived."""

    text: str
    smtputf8: bool = False


@value(frozen=True, slots=True)
class HelpReceived:
    """Question: HELP STATUS, the one topic that the session has no text for.  211 to those who may know."""

    topic: str


@value(frozen=True, slots=True)
class EtrnReceived:
    """Question: ETRN (RFC 1985): start the queue for this host or ``@domain``."""

    node: str


@value(frozen=True, slots=True)
class TlsRequested:
    """Question: STARTTLS (RFC 3207).  After 220 the carrier sends what is due, begins TLS and calls
    ``session.tls_started``; 454 when it cannot."""


@value(frozen=True, slots=True)
class Password:
    """Evidence: a password in the clear, to be compared with what is kept of it."""

    text: str = field(repr=False)


@value(frozen=True, slots=True)
class Token:
    """Evidence: an OAuth 2.0 bearer token (RFC 6750), to be shown to who gave it."""

    text: str = field(repr=False)


@value(frozen=True, slots=True)
class Proof:
    """Evidence: the client has proven that it knows the password, or failed to."""

    is_valid: bool


@value(frozen=True, slots=True)
class Shown:
    """Evidence: what the client has shown outside of SMTP, its certificate (RFC 4422 Appendix A)."""


@value(frozen=True, slots=True)
class SecretWanted:
    """Question within AUTH: what is kept of this user's password?  Answer with ``session.answer_secret``, for an
    unknown user with one made up: who exists is not told.  Or answer 454."""

    user: str


@value(frozen=True, slots=True)
class LoginAttempted:
    """Question: is the client who it says?  235, 535 or 454; on 235 it is logged in.

    user    empty when only the token, or the certificate, tells it
    act_as  the identity it wants to act as (RFC 4422 §2); empty for its own
    """

    mechanism: str
    user: str
    evidence: Password | Token | Proof | Shown
    act_as: str = ""


Event = (
    SessionOpened
    | HelloReceived
    | MailReceived
    | RecipientReceived
    | ContentStarted
    | ContentReceived
    | ContentEnded
    | TransactionAborted
    | VerifyReceived
    | ExpandReceived
    | HelpReceived
    | EtrnReceived
    | TlsRequested
    | SecretWanted
    | LoginAttempted
)
