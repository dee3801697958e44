"""What a server offers: service extensions, their parameters, and the limits.

One table: an extension that is not offered is not announced, its verbs are 502 and its parameters 555,
so that what EHLO says and what works cannot differ.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from relay.message import reply
from relay.message.address import parse_mailbox
from relay.message.envelope import Body, Notify, Ret
from relay.message.reply import Reply
from relay.smtp.commands import COMMANDS, Command, CommandRefused
from relay.smtp.data import BareLineEnds
from relay.smtp.lines import COMMAND_LINE_LIMIT_OCTETS

ENVID_LIMIT = 100  # characters (RFC 3461 §4.4)
ORCPT_LIMIT = 500  # characters (RFC 3461 §4.2)


@dataclass(frozen=True, slots=True)
class Extension:
    """A service extension, and what it adds (RFC 5321 §2.2).

    needs        the extensions without which it means nothing
    mail_octets  by how much the longest MAIL command grows; rcpt_octets likewise
    """

    keyword: str
    verbs: tuple[str, ...] = ()
    mail_parameters: tuple[str, ...] = ()
    rcpt_parameters: tuple[str, ...] = ()
    mail_octets: int = 0
    rcpt_octets: int = 0
    needs: tuple[str, ...] = ()
    in_lmtp: bool = True


EXTENSIONS = (
    Extension("PIPELINING"),  # RFC 2920
    Extension("SIZE", mail_parameters=("SIZE",), mail_octets=26),  # RFC 1870 §2
    Extension("8BITMIME", mail_parameters=("BODY",), mail_octets=17),  # RFC 6152 §2
    Extension("ENHANCEDSTATUSCODES"),  # RFC 2034
    Extension(  # RFC 3461 §4: ENVID and ORCPT at their longest, RET and NOTIFY beside them
        "DSN",
        mail_parameters=("RET", "ENVID"),
        rcpt_parameters=("NOTIFY", "ORCPT"),
        mail_octets=len(" RET=FULL ENVID=") + ENVID_LIMIT,
        rcpt_octets=len(" NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=") + ORCPT_LIMIT,
    ),
    Extension("CHUNKING", verbs=("BDAT",)),  # RFC 3030 §2
    Extension("BINARYMIME", mail_octets=16, needs=("CHUNKING", "8BITMIME")),  # RFC 3030 §3
    Extension("SMTPUTF8", mail_parameters=("SMTPUTF8",), mail_octets=10, needs=("8BITMIME",)),  # RFC 6531 §3.1
    Extension("LIMITS"),  # RFC 9422
    Extension("STARTTLS", verbs=("STARTTLS",)),  # RFC 3207
    Extension("AUTH", verbs=("AUTH",), mail_parameters=("AUTH",), mail_octets=500),  # RFC 4954 §3
    Extension("REQUIRETLS", mail_parameters=("REQUIRETLS",), mail_octets=11),  # RFC 8689 §2
    Extension("VRFY"),  # has no verbs here: where it is off the answer is 252, not 502 (RFC 5321 §7.3)
    Extension("EXPN", verbs=("EXPN",)),
    Extension("ETRN", verbs=("ETRN",), in_lmtp=False),  # RFC 1985
    Extension("SEND", verbs=("SEND",), in_lmtp=False),  # RFC 5321 F.6: must be announced
    Extension("SOML", verbs=("SOML",), in_lmtp=False),
    Extension("SAML", verbs=("SAML",), in_lmtp=False),
    Extension("HELP", verbs=("HELP",)),
)

AUTH_LINE_LIMIT_OCTETS = 12288
"""The longest line of an exchange within AUTH, and of an AUTH command with an initial response (RFC 4954 §4)."""

_BEFORE_TLS = frozenset({"EHLO", "LHLO", "NOOP", "STARTTLS", "QUIT"})  # RFC 3207 §4
_BEFORE_LOGIN = frozenset(  # RFC 4954 §6; HELP too may be refused, and helps
    {"EHLO", "HELO", "LHLO", "NOOP", "RSET", "QUIT", "AUTH", "STARTTLS", "HELP"}
)

_UTF8_VERBS = frozenset({b"MAIL", b"SEND", b"SOML", b"SAML", b"RCPT", b"VRFY", b"EXPN"})


@dataclass(frozen=True)
class ServerOffer:
    """What a listener offers its clients.  Made once and shared by its sessions.

    hostname              our own name
    lmtp                  speak LMTP (RFC 2033): LHLO, and one reply a recipient after the content
    message_size_limit    octets of content; 0 for none
    recipients_limit      accepted recipients of one message (RFC 5321 §4.5.3.1.8: 100 at least)
    mails_limit           messages in one session (MAILMAX of RFC 9422); 0 for none
    bare_line_ends        what becomes of content with a bare CR or LF
    off                   keywords of extensions that are not offered, as ``ETRN`` or ``CHUNKING``
    starttls              TLS can be begun
    encrypted             this is within TLS
    mechanisms            those by which a client can log in now, the best first; for none AUTH is not offered
    login_needs_tls       a client could log in within TLS, and this is not
    token_scope           what a bearer token must be good for; empty for anything
    must_encrypt          nothing goes before TLS (RFC 3207 §4)
    must_log_in           nothing of use goes before a login (RFC 4954 §6)
    errors_limit          5yz replies, those counted as refusals apart
    refusals_limit        5yz replies within a transaction: to RCPT, and to chunks of a refused message
    idle_commands_limit   commands that bring no message nearer, as NOOP, VRFY, and RSET before a recipient was accepted
    discard_limit         octets of refused content that are read to find its end

    The last four are counted from the last accepted message; beyond them the session is closed with 421 4.7.0.
    """

    hostname: str
    lmtp: bool = False
    message_size_limit: int = 50 * 1024 * 1024
    recipients_limit: int = 1000
    mails_limit: int = 0
    bare_line_ends: BareLineEnds = BareLineEnds.REFUSE
    off: frozenset[str] = frozenset()
    starttls: bool = False
    encrypted: bool = False
    mechanisms: tuple[str, ...] = ()
    login_needs_tls: bool = False
    token_scope: str = ""
    must_encrypt: bool = False
    must_log_in: bool = False
    errors_limit: int = 20
    refusals_limit: int = 1000
    idle_commands_limit: int = 100
    discard_limit: int = 1024 * 1024 * 1024

    @cached_property
    def extensions(self) -> Mapping[str, Extension]:
        """Those that are offered, by keyword."""
        off = {*self.off, *([] if self.starttls else ["STARTTLS"]), *([] if self.mechanisms else ["AUTH"])}
        if not self.encrypted:
            off.add("REQUIRETLS")  # RFC 8689 §2: announced only within TLS
        offered: dict[str, Extension] = {}
        for extension in EXTENSIONS:
            if (
                extension.keyword not in off
                and all(needed in offered for needed in extension.needs)
                and (extension.in_lmtp or not self.lmtp)
            ):
                offered[extension.keyword] = extension
        return offered

    @cached_property
    def keywords(self) -> tuple[str, ...]:
        """The lines of the EHLO response after the first (RFC 5321 §4.1.1.1)."""
        limits = f"LIMITS RCPTMAX={self.recipients_limit}"
        if self.mails_limit:
            limits += f" MAILMAX={self.mails_limit}"
        auth = f"AUTH {' '.join(self.mechanisms)}"
        said = {"SIZE": f"SIZE {self.message_size_limit}", "LIMITS": limits, "AUTH": auth}
        return tuple(said.get(keyword, keyword) for keyword in self.extensions)

    @cached_property
    def keyword_lines(self) -> bytes:
        """The same as they stand on the wire."""
        return Reply(250, "", self.keywords).wire if self.keywords else b""

    @cached_property
    def commands(self) -> Mapping[str, Command]:
        """The commands that are known here; those that cannot be used have the reply that says why."""
        verbs = {verb for extension in EXTENSIONS for verb in extension.verbs}
        not_offered = verbs - {verb for extension in self.extensions.values() for verb in extension.verbs}
        unknown = {"EHLO", "HELO"} if self.lmtp else {"LHLO"}  # RFC 2033 §4.1
        known = {verb: command for verb, command in COMMANDS.items() if verb not in unknown}
        for verb, command in known.items():
            refusal = command.refusal or self._refusal(verb, verb in not_offered)
            if refusal is not None:
                known[verb] = replace(command, refusal=refusal)
        return known

    def _refusal(self, verb: str, not_offered: bool) -> Reply | None:
        if self.encrypted and verb == "STARTTLS":
            return reply.BAD_SEQUENCE.saying("TLS is active already")
        # RFC 5321 §4.2.4: first, whether there is such a command; 530 promises that there is.  AUTH that only TLS is
        # wanted for is one, and is refused with the code that RFC 4954 §4 has for it.
        if not_offered and not (verb == "AUTH" and self.login_needs_tls):
            return reply.NOT_IMPLEMENTED
        if self.must_encrypt and verb not in _BEFORE_TLS:
            return reply.TLS_REQUIRED
        if self.must_log_in and verb not in _BEFORE_LOGIN:
            return reply.LOGIN_REQUIRED
        return None

    @cached_property
    def line_limits(self) -> Mapping[bytes, int]:
        """The longest command line, octets with CRLF, of the verbs for which it is more than 512."""
        mail = sum(extension.mail_octets for extension in self.extensions.values())
        rcpt = sum(extension.rcpt_octets for extension in self.extensions.values())
        limits = dict.fromkeys((b"MAIL", b"SEND", b"SOML", b"SAML"), COMMAND_LINE_LIMIT_OCTETS + mail)
        return {**limits, b"RCPT": COMMAND_LINE_LIMIT_OCTETS + rcpt, b"AUTH": AUTH_LINE_LIMIT_OCTETS}

    def line_limit(self, line: bytes) -> int:
        """How long this command line may be, octets with its CRLF (RFC 5321 §4.5.3.1.4)."""
        return self.line_limits.get(line[:4].upper(), COMMAND_LINE_LIMIT_OCTETS)

    def line_takes_utf8(self, line: bytes) -> bool:
        """Whether there may be a mailbox in UTF-8 in this command line (RFC 6531 §3.1)."""
        return line[:4].upper() in _UTF8_VERBS and "SMTPUTF8" in self.extensions

    @cached_property
    def mail_parameters(self) -> frozenset[str]:
        return frozenset(name for extension in self.extensions.values() for name in extension.mail_parameters)

    @cached_property
    def rcpt_parameters(self) -> frozenset[str]:
        return frozenset(name for extension in self.extensions.values() for name in extension.rcpt_parameters)

    @cached_property
    def closing(self) -> Reply:
        return reply.closing(self.hostname)

    def help(self, topic: str) -> Reply:
        """What HELP says: of one command, or which there are."""
        if not topic:
            offered = " ".join(command.verb for command in self.commands.values() if command.implemented)
            return reply.HELP.saying(f"Commands: {offered}", "HELP and a command tells more")
        command = self.commands.get(topic)
        if command is None or not command.implemented:
            return reply.PARAMETER_NOT_IMPLEMENTED
        return reply.HELP.saying(command.usage, command.meaning)


# -- parameters of MAIL, RCPT, VRFY and EXPN -------------------------------------------------------------------

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*")
_UTF8_XTEXT = re.compile(r"(?:[!-*,-<>-~\u0080-\U0010FFFF]|\+[0-9A-Fa-f]{2})+")  # RFC 6533 §3
_HEXCHAR = re.compile(r"\+([0-9A-Fa-f]{2})")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*\-/?^_`{|}~]+")


def decode_xtext(text: str) -> str:
    """What xtext stands for (RFC 3461 §4).  Raises ValueError.

    Only printable ASCII may come out, as §4.2 and §4.4 demand: a ``+0A`` would put a line end into reports,
    queue files and the next hop's commands.
    """
    if not _XTEXT.fullmatch(text):
        raise ValueError("not xtext")
    decoded = _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), text) if "+" in text else text
    if not (decoded.isascii() and decoded.isprintable()):
        raise ValueError("xtext holds what is not printable")
    return decoded


def decode_utf8_address(text: str) -> str:
    """What a utf-8-enc-addr stands for (RFC 6533 §3), with ``\\x{…}`` decoded.  Raises ValueError."""
    if not _UTF8_XTEXT.fullmatch(text):
        raise ValueError("not a UTF-8 address")
    decoded = _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), text)
    decoded = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), decoded)  # ValueError above U+10FFFF
    if _CONTROL.search(decoded):
        raise ValueError("control character")
    return decoded


def _size(value: str) -> int:
    if not re.fullmatch("[0-9]{1,20}", value):  # RFC 1870 §3
        raise ValueError("not a size")
    return int(value)


def _ret(value: str) -> Ret:
    return Ret(value.upper())


def _envid(value: str) -> str:
    if len(value) > ENVID_LIMIT:
        raise ValueError("too long")
    return decode_xtext(value)


def _notify(value: str) -> Notify:
    wishes = {Notify[word] for word in value.upper().split(",")}  # KeyError for any other word
    if Notify.NEVER in wishes and len(wishes) > 1:
        raise ValueError("NEVER stands alone")
    return functools.reduce(operator.or_, wishes)


def _orcpt(value: str) -> str:
    kind, semicolon, address = value.partition(";")
    if not semicolon or len(value) > ORCPT_LIMIT or not _ADDRESS_TYPE.fullmatch(kind) or not address:
        raise ValueError("not type;address")
    return f"{kind};{decode_utf8_address(address) if kind.lower() == 'utf-8' else decode_xtext(address)}"


def _auth(value: str) -> str:
    """``<>`` or a mailbox as xtext (RFC 4954 §5)."""
    decoded = decode_xtext(value)
    if decoded != "<>":
        parse_mailbox(decoded)  # AddressFault is a ValueError
    return decoded


# keyword -> the event's field, of those that take no value (RFC 6531 §3.4, RFC 8689 §2)
_FLAGS: Mapping[str, str] = {"SMTPUTF8": "smtputf8", "REQUIRETLS": "require_tls"}

# keyword -> the event's field, and what makes its value, of the others
_READERS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "SIZE": ("declared_size", _size),
    "BODY": ("body", lambda value: Body(value.upper())),
    "RET": ("ret", _ret),
    "ENVID": ("envid", _envid),
    "NOTIFY": ("notify", _notify),
    "ORCPT": ("orcpt", _orcpt),
    "AUTH": ("auth", _auth),
}


def read_parameters(text: str, offered: frozenset[str]) -> dict[str, Any]:
    """The parameters of MAIL or RCPT as fields of MailReceived or RecipientReceived.

    text     what follows the path
    offered  keywords that may come; any other is 555 (RFC 5321 §4.1.1.11)

    Raises CommandRefused: 501 for a bad or missing value and for a parameter that comes twice
    (RFC 3461 §4.5), 555 for a kind of body that is not offered.
    """
    fields: dict[str, Any] = {}
    for word in text.split(" "):
        if not word:
            continue
        keyword, equals, value = word.partition("=")
        keyword = keyword.upper()
        if keyword not in offered:
            known = _KEYWORD.fullmatch(keyword)
            raise CommandRefused(reply.UNKNOWN_PARAMETER if known else reply.BAD_ARGUMENTS)
        field, read = _read(keyword, value if equals else None)
        if field in fields:
            raise CommandRefused(reply.BAD_ARGUMENTS.saying(f"Parameter {keyword} comes twice"))
        fields[field] = read
    return fields


def without_smtputf8(argument: str, offer: ServerOffer) -> tuple[str, bool]:
    """The argument of VRFY or EXPN, and whether the client takes UTF-8 in the answer (RFC 6531 §3.7.4.2)."""
    text, _, last = argument.rpartition(" ")
    if text and last.upper() == "SMTPUTF8" and "SMTPUTF8" in offer.extensions:
        return text.rstrip(" "), True
    return argument, False


def _read(keyword: str, value: str | None) -> tuple[str, object]:
    if value is None and keyword in _FLAGS:
        return _FLAGS[keyword], True
    field, reader = _READERS.get(keyword, ("", None))
    try:
        if reader is not None and value:
            return field, reader(value)
    except (ValueError, KeyError):
        if keyword == "BODY":
            raise CommandRefused(reply.UNKNOWN_PARAMETER.saying(f"BODY={value} is not implemented")) from None
    raise CommandRefused(reply.BAD_ARGUMENTS.saying(f"Syntax error in parameter {keyword}"))
