"""Mailboxes, domains and paths (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3).

An address is parsed once, at the edge, and is never put together from pieces of
text again: what cannot be parsed is refused, so nothing that reaches the queue,
a log or a next hop can hold a line end or an unbalanced quote.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import field
from functools import lru_cache

import idna

from relay.message.value import value

LOCAL_PART_LIMIT_OCTETS = 64  # RFC 5321 §4.5.3.1.1
DOMAIN_LIMIT_OCTETS = 255  # RFC 5321 §4.5.3.1.2
PATH_LIMIT_OCTETS = 256  # RFC 5321 §4.5.3.1.3, with the punctuation

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010FFFF]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED_STRING = re.compile(r'"((?:[ !#-\[\]-~\u0080-\U0010FFFF]|\\[ -~])*)"')
# RFC 5321 has no underscore in a domain; hosts in real LANs do, and refusing their mail helps nobody.
_LABEL = r"[A-Za-z0-9_\u0080-\U0010FFFF](?:[A-Za-z0-9_\-\u0080-\U0010FFFF]*[A-Za-z0-9_\u0080-\U0010FFFF])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LITERAL = re.compile(r"\[([!-Z^-~]+)\]")
_SOURCE_ROUTE = re.compile(rf"@{_LABEL}(?:\.{_LABEL})*(?:,@{_LABEL}(?:\.{_LABEL})*)*:")
_NEEDS_NO_QUOTES = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*\Z")
# What would end a line, turn the reading direction in a log or a header, or cannot be written as UTF-8.
_UNFIT = re.compile("[\u0080-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class AddressFault(ValueError):
    """This text is not an address; ``str()`` says why, in words fit for a reply.

    too_long  a limit of RFC 5321 §4.5.3.1 is exceeded, the syntax is right
    """

    def __init__(self, why: str, *, too_long: bool = False) -> None:
        super().__init__(why)
        self.too_long = too_long


@value(frozen=True, slots=True)
class Address:
    """A mailbox.

    local   the local part's meaning: without quotes and backslashes
    domain  as written; ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]`` for a literal;
            empty only in the one address that has none, ``<Postmaster>`` (RFC 5321 §4.5.1)
    text    the address as it stands on the wire, quoted where it must be
    """

    local: str
    domain: str
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        local = self.local
        if not _NEEDS_NO_QUOTES.match(local):
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        object.__setattr__(self, "text", f"{local}@{self.domain}" if self.domain else local)

    def __str__(self) -> str:
        return self.text

    @property
    def key(self) -> str:
        """The form for table look-ups: without case, the domain in A-labels.

        RFC 5321 §2.4 lets a host give meaning to the case of a local part; as every
        peer in the field, our own tables do not.
        """
        return f"{self.local.lower()}@{self.domain_key}" if self.domain else self.local.lower()

    @property
    def domain_key(self) -> str:
        """The domain in lower case and A-labels (RFC 5891), without a final dot."""
        return domain_key(self.domain)

    @property
    def is_ascii(self) -> bool:
        """Whether it can travel without SMTPUTF8 (RFC 6531 §3.3)."""
        return self.text.isascii()

    @property
    def literal(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The IP address of an address literal, or None for a domain name."""
        return parse_literal(self.domain) if self.domain.startswith("[") else None


@lru_cache(maxsize=4096)
def domain_key(domain: str) -> str:
    """A domain name as tables and the DNS know it: lower case, A-labels.

    A name that IDNA 2008 refuses stays as it is, in lower case; no table and no
    DNS answer matches it.
    """
    domain = domain.lower().rstrip(".")
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        return domain


def parse_literal(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that ``[…]`` stands for, or None (RFC 5321 §4.1.3)."""
    inner = text[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            return ipaddress.IPv6Address(inner[5:])
        return ipaddress.IPv4Address(inner)
    except ValueError:
        return None


def is_domain(text: str) -> bool:
    """Whether this is a domain name or a known address literal (RFC 5321 §4.1.2, §4.1.3)."""
    if text.startswith("["):
        return text.endswith("]") and parse_literal(text) is not None
    return (
        _DOMAIN.fullmatch(text) is not None
        and len(text.encode("utf-8", "surrogatepass")) <= DOMAIN_LIMIT_OCTETS
        and all(len(label) <= 63 for label in domain_key(text).split("."))
        and not _UNFIT.search(text)
    )


@lru_cache(maxsize=4096)
def parse_mailbox(text: str) -> Address:
    """The address that ``text`` is, without angle brackets (RFC 5321 §4.1.2 Mailbox).

    Raises AddressFault.
    """
    address, end = _mailbox(text, 0)
    if end != len(text):
        raise AddressFault("text follows the address")
    return address


@lru_cache(maxsize=4096)
def parse_path(text: str) -> tuple[Address | None, int]:
    """The path at the start of ``text`` and where it ends (RFC 5321 §4.1.2 Reverse-path, Forward-path).

    None for the null reverse-path ``<>``.  ``<Postmaster>`` has an empty domain.
    A source route is understood and left out (RFC 5321 §3.6.1, appendix C).
    Raises AddressFault.
    """
    if not text.startswith("<"):
        raise AddressFault("an address stands in angle brackets, as in <ann@example.org>")
    if text.startswith("<>"):
        return None, 2
    start = 1
    if text.startswith("<@"):
        route = _SOURCE_ROUTE.match(text, 1)
        if route is None:
            raise AddressFault("the source route is not of the form @one.example,@two.example:")
        start = route.end()
    if text[start : start + 11].lower() == "postmaster>":
        return Address(text[start : start + 10], ""), start + 11
    address, end = _mailbox(text, start)
    if text[end : end + 1] != ">":
        raise AddressFault("the address does not end with >" if end == len(text) else "bad character in the address")
    end += 1
    # The law's 256 are for the path as sent, but a source route is dropped and must not count against the mailbox.
    if len(text[start - 1 : end].encode("utf-8", "surrogatepass")) > PATH_LIMIT_OCTETS:
        raise AddressFault(f"path longer than {PATH_LIMIT_OCTETS} octets", too_long=True)
    return address, end


def _mailbox(text: str, start: int) -> tuple[Address, int]:
    if text[start : start + 1] == '"':
        quoted = _QUOTED_STRING.match(text, start)
        if quoted is None:
            raise AddressFault("the quoted local part is not closed or holds a bad character")
        local, at = re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    else:
        dotted = _DOT_STRING.match(text, start)
        if dotted is None:
            raise AddressFault("the local part is missing or begins with a bad character")
        local, at = dotted[0], dotted.end()
    if _UNFIT.search(local):
        raise AddressFault("control character in the local part")
    if text[at : at + 1] != "@":
        raise AddressFault(
            "no @ after the local part" if at in (len(text), text.find(">", at)) else "bad character in the local part"
        )
    if len(text[start:at].encode("utf-8", "surrogatepass")) > LOCAL_PART_LIMIT_OCTETS:
        raise AddressFault(f"local part longer than {LOCAL_PART_LIMIT_OCTETS} octets", too_long=True)
    domain = _LITERAL.match(text, at + 1) or _DOMAIN.match(text, at + 1)
    if domain is None:
        raise AddressFault("the domain is missing or begins with a bad character")
    if len(domain[0].encode("utf-8", "surrogatepass")) > DOMAIN_LIMIT_OCTETS:
        raise AddressFault(f"domain longer than {DOMAIN_LIMIT_OCTETS} octets", too_long=True)
    if not is_domain(domain[0]):
        raise AddressFault("the domain is not a domain name or address literal")
    return Address(local, domain[0]), domain.end()
