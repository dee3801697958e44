"""Replies: what one says, and every reply that we give, by name.

A reply is a code (RFC 5321 §4.2), an enhanced code (RFC 3463, RFC 2034) and text.  The
ones of this house stand here, so that what a code means is decided in one place; the
table in docs/replies.md tells which situation gives which.

The rule that must not be broken: trouble of our own is 4yz, never 5yz.
"""

from __future__ import annotations

from dataclasses import field, replace

from relay.message.value import value

REPLY_LINE_LIMIT_OCTETS = 512  # RFC 5321 §4.5.3.1.5, with the code and CRLF


def printable(text: str) -> str:
    """The text with every control character and line end shown as ``?``.

    Whatever a peer said goes through here before it reaches a log, a terminal, a header
    or another peer.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)


@value(frozen=True, slots=True)
class Reply:
    """A reply of one or more lines.

    code      200..599
    enhanced  ``class.subject.detail``, or empty where RFC 2034 §4 has none (greeting, EHLO, 354)
    lines     text without code; one at least
    said      a peer's reply line by line as it came, each with its code; empty when the reply is ours
    """

    code: int
    enhanced: str
    lines: tuple[str, ...]
    said: tuple[str, ...] = field(default=(), repr=False, compare=False)
    wire: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not all(map(str.isprintable, self.lines)):
            object.__setattr__(self, "lines", tuple(map(printable, self.lines)))
            object.__setattr__(self, "said", tuple(map(printable, self.said)))
        object.__setattr__(self, "wire", self.encode("ascii"))

    def encode(self, encoding: str = "utf-8") -> bytes:
        """The octets on the wire.  UTF-8 only to a client that asked for it (RFC 6531 §3.7.4)."""
        lead = f"{self.enhanced} " if self.enhanced else ""
        room = REPLY_LINE_LIMIT_OCTETS - 6 - len(lead)
        if len(self.lines) == 1 and len(self.lines[0]) <= room and self.lines[0].isascii():
            return f"{self.code} {lead}{self.lines[0]}\r\n".encode()
        shown = [lead.encode("ascii") + _cut(line.encode(encoding, "replace"), room) for line in self.lines]
        head = b"".join(b"%d-%s\r\n" % (self.code, line) for line in shown[:-1])
        return head + b"%d %s\r\n" % (self.code, shown[-1])

    def __str__(self) -> str:
        text = " / ".join(self.lines)
        return f"{self.code} {self.enhanced} {text}".strip() if self.enhanced else f"{self.code} {text}".strip()

    def saying(self, *lines: str) -> Reply:
        """The same codes with other words, which are ours."""
        return replace(self, lines=lines, said=())

    @property
    def is_positive(self) -> bool:
        return self.code < 400

    @property
    def is_temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        return self.code >= 500


def _cut(line: bytes, room: int) -> bytes:
    """So much of a line as fits, and no half of a character."""
    return line if len(line) <= room else line[:room].decode("utf-8", "ignore").encode()


def reply(code: int, enhanced: str, *lines: str) -> Reply:
    """A reply, in one line of code."""
    return Reply(code, enhanced, lines)


# -- 2yz and 3yz ------------------------------------------------------------------------------

HELP = reply(214, "2.0.0", "See https://www.rfc-editor.org/rfc/rfc5321 for the commands")
RESET = reply(250, "2.0.0", "OK")
NOTHING_DONE = reply(250, "2.0.0", "OK")
SENDER_OK = reply(250, "2.1.0", "OK")
RECIPIENT_OK = reply(250, "2.1.5", "OK")
CHUNK_OK = reply(250, "2.0.0", "OK")  # said with the octet count (RFC 3030 §2)
QUEUED = reply(250, "2.0.0", "OK")  # said with the queue id
WILL_FORWARD = reply(251, "2.1.5", "User not local; will forward")
CANNOT_VERIFY = reply(252, "2.1.5", "Cannot VRFY user, but will accept message and attempt delivery")
READY_FOR_TLS = reply(220, "2.0.0", "Ready to start TLS")
LOGGED_IN = reply(235, "2.7.0", "Authentication successful")
START_INPUT = reply(354, "", "Start mail input; end with <CRLF>.<CRLF>")


def greeting(hostname: str) -> Reply:
    return reply(220, "", f"{hostname} Simple Mail Transfer Service Ready")


def closing(hostname: str) -> Reply:
    return reply(221, "2.0.0", f"{hostname} Service closing transmission channel")


# -- 4yz: not now, and our own trouble ---------------------------------------------------------


def shutting_down(hostname: str) -> Reply:
    return reply(421, "4.3.2", f"{hostname} Service not available, closing transmission channel")


def too_many_connections(hostname: str) -> Reply:
    return reply(421, "4.7.0", f"{hostname} Too many connections, closing transmission channel")


def timed_out(hostname: str) -> Reply:
    return reply(421, "4.4.2", f"{hostname} Timed out waiting for you, closing transmission channel")


def too_many_errors(hostname: str) -> Reply:
    return reply(421, "4.7.0", f"{hostname} Too many errors, closing transmission channel")


def too_many_idle_commands(hostname: str) -> Reply:
    return reply(421, "4.7.0", f"{hostname} Too many commands without mail, closing transmission channel")


def cannot_go_on(hostname: str) -> Reply:
    return reply(421, "4.7.0", f"{hostname} Cannot go on after this, closing transmission channel")


PASSWORD_TRANSITION = reply(432, "4.7.12", "A password transition is needed: log in with another mechanism")
MAILBOX_BUSY = reply(450, "4.2.1", "Requested mail action not taken: mailbox unavailable")
LOCAL_ERROR = reply(451, "4.3.0", "Requested action aborted: local error in processing")
NO_SPACE = reply(452, "4.3.1", "Requested action not taken: insufficient system storage")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients")
TLS_UNAVAILABLE = reply(454, "4.7.0", "TLS not available due to a temporary reason")
LOGIN_UNAVAILABLE = reply(454, "4.7.0", "Temporary authentication failure")
TOO_MANY_FAILED_LOGINS = reply(454, "4.7.0", "Too many failed logins; try again later")

# -- 5yz: syntax and sequence -------------------------------------------------------------------

UNRECOGNIZED = reply(500, "5.5.1", "Syntax error, command unrecognized")
LINE_TOO_LONG = reply(500, "5.5.6", "Syntax error, line too long")
BARE_LINE_END = reply(500, "5.5.2", "Syntax error, a line ends with <CRLF> and holds no other CR or LF")
BAD_OCTET = reply(500, "5.5.2", "Syntax error, NUL or 8-bit octet in a command")
BAD_ARGUMENTS = reply(501, "5.5.4", "Syntax error in parameters or arguments")
BAD_SENDER_SYNTAX = reply(501, "5.1.7", "Syntax error in the sender's address")
BAD_RECIPIENT_SYNTAX = reply(501, "5.1.3", "Syntax error in the recipient's address")
BAD_BASE64 = reply(501, "5.5.2", "Syntax error: this is not base64")
BAD_RESPONSE = reply(501, "5.5.2", "Syntax error in the response for this mechanism")
LOGIN_CANCELLED = reply(501, "5.7.0", "Authentication cancelled")
NOT_IMPLEMENTED = reply(502, "5.5.1", "Command not implemented")
BAD_SEQUENCE = reply(503, "5.5.1", "Bad sequence of commands")
BEHIND_STARTTLS = reply(503, "5.5.1", "Nothing may follow STARTTLS before TLS has begun")
MECHANISM_UNKNOWN = reply(504, "5.5.4", "Unrecognized authentication mechanism")
PARAMETER_NOT_IMPLEMENTED = reply(504, "5.5.4", "Command parameter not implemented")
UNKNOWN_PARAMETER = reply(555, "5.5.4", "MAIL FROM/RCPT TO parameters not recognized or not implemented")

# -- 5yz: refusals ------------------------------------------------------------------------------

LOGIN_REQUIRED = reply(530, "5.7.0", "Authentication required")
TLS_REQUIRED = reply(530, "5.7.0", "Must issue a STARTTLS command first")  # RFC 3207 §4
MECHANISM_TOO_WEAK = reply(534, "5.7.9", "Authentication mechanism is too weak")
LOGIN_REFUSED = reply(535, "5.7.8", "Authentication credentials invalid")
# RFC 4954 §6 calls it history, and 504 the reply of today, which does not tell what would help.
ENCRYPTION_REQUIRED = reply(538, "5.7.11", "Encryption required for requested authentication mechanism")
NO_SUCH_USER = reply(550, "5.1.1", "No such user here")
RELAY_DENIED = reply(
    550, "5.7.1", "Relaying denied: your network is not in accept.networks, the domain not in accept.domains"
)
BARE_LINE_END_IN_CONTENT = reply(550, "5.5.2", "The content holds a CR or LF that is not part of a CRLF")
FORWARDING_LOOP = reply(550, "5.4.6", "The forwarding of this address goes round in a circle")
TRY_ELSEWHERE = reply(551, "5.1.6", "User not local; please try")
TOO_BIG = reply(552, "5.3.4", "Requested mail action aborted: exceeded storage allocation")
HEADER_TOO_BIG = reply(552, "5.3.4", "The header section is too big")
SENDER_NOT_YOURS = reply(553, "5.7.1", "You may not send as this sender")
AMBIGUOUS = reply(553, "5.1.4", "User ambiguous")
MAILBOX_NAME_NOT_ALLOWED = reply(553, "5.1.3", "Requested action not taken: mailbox name not allowed")
NEEDS_SMTPUTF8 = reply(553, "5.6.7", "This address needs the SMTPUTF8 parameter")  # RFC 6531 §3.5
NO_VALID_RECIPIENTS = reply(554, "5.5.1", "No valid recipients")
TRANSACTION_FAILED = reply(554, "5.0.0", "Transaction failed")
TOO_MANY_HOPS = reply(554, "5.4.6", "Too many hops: this message goes round in a circle")
ACCESS_DENIED = reply(554, "5.7.1", "No SMTP service here for you")

# -- no way to the recipient: what the DNS and the routing table make of it ----------------------


def no_such_domain(domain: str) -> Reply:
    return reply(550, "5.1.2", f"The domain {domain} does not exist")


def null_mx(domain: str) -> Reply:
    return reply(556, "5.1.10", f"The domain {domain} does not accept mail (null MX)")  # RFC 7505 §4.2


def no_mail_host(domain: str, why: str) -> Reply:
    return reply(550, "5.4.4", f"Mail for {domain} cannot be delivered: {why}")  # RFC 3463 §3.5


def loops_back(domain: str, ourselves: str) -> Reply:
    return reply(554, "5.4.6", f"Mail for {domain} loops back to {ourselves}")  # RFC 5321 §5.1


def dns_trouble(name: str, why: str) -> Reply:
    return reply(451, "4.4.3", f"The DNS gives no answer for {name}: {why}")


def next_hop_not_found(host: str) -> Reply:
    return reply(451, "4.4.4", f"The configured next hop {host} has no address")
