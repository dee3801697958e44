"""The usual question to the DNS and the usual answer to it, as octets (RFC 1035 §4).

Nearly all that a relay asks is for a name of letters, digits, hyphens and underscores, and what comes is records of
that name, or word that there are none.  dnspython makes objects of each name, label, record, set and flag of a message,
which is right for whoever wants to look at all of them, and costs ten times as much as reading what was asked for.  So
that is read here, and only that: whatever is not plain (a CNAME, an error code, truncation, an escape in a name, octets
that do not add up) is None, and dnspython reads it whole.

The rule that must not be broken: nothing is said here that dnspython would not say.  A test holds the two against each
other, with messages of all sorts and with broken ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from struct import error as TooShort
from typing import Any, Final

import dns.exception
import dns.flags
import dns.ipv4
import dns.ipv6
import dns.rcode
import dns.rdatatype

from relay.route.dane import Tlsa
from relay.route.names import Mx

_HEADER: Final = Struct("!HHHHHH")  # id, flags, questions, answers, authority, additional
_RECORD: Final = Struct("!HHLH")  # type, class, TTL, octets of data; behind the name
_HEADER_OCTETS: Final = _HEADER.size
_IN: Final = 1
_POINTER: Final = 0xC0  # from here on the octet is no length but the beginning of a pointer (RFC 1035 §4.1.4)
_TO_QUESTION: Final = b"\xc0\x0c"  # a pointer to the name in question
_OPCODE: Final = 0x7800
# As numbers: each operation on dnspython's flags makes an object.
_QR: Final = int(dns.flags.QR)
_TC: Final = int(dns.flags.TC)
_AD: Final = int(dns.flags.AD)
_KNOWS_OR_ASKS: Final = int(dns.flags.AA | dns.flags.RA)
_NOERROR: Final = int(dns.rcode.NOERROR)
_NXDOMAIN: Final = int(dns.rcode.NXDOMAIN)
_ERRORS_WITHOUT_QUESTION: Final = frozenset(
    (dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED)
)
_NAME_LIMIT_OCTETS: Final = 255  # RFC 1035 §2.3.4
_TTL_LIMIT_S: Final = 1 << 31  # RFC 2181 §8
ENDLESS: Final = float("inf")

_NAME: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_HOST: Final = re.compile(rb"[A-Za-z0-9_.-]*")

_OPT: Final = int(dns.rdatatype.OPT)
_SOA: Final = int(dns.rdatatype.SOA)
_SIGNATURES: Final = frozenset((int(dns.rdatatype.SIG), int(dns.rdatatype.TSIG)))


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the octets of the question, and what to read in answer.

    octets  name, type and class
    """

    octets: bytes
    kind: int
    read: Callable[[bytes, int, int], Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What a plain answer says.

    values       as names.Found has them; empty where there are none
    ttl_s        the shortest TTL; of a denial that of its SOA record (RFC 2308 §5), endless without one
    name_exists  False for NXDOMAIN
    authentic    the AD bit; what it is worth depends on who set it
    """

    values: tuple[Any, ...]
    ttl_s: float
    name_exists: bool
    authentic: bool


def question(name: str, kind: str) -> Question | None:
    """The question for a name in lower case without the final dot, or None where that is not plain."""
    known = _KINDS.get(kind)
    if known is None or len(name) > _NAME_LIMIT_OCTETS - 2 or not _NAME.fullmatch(name):
        return None
    number, read = known
    labels = b"".join(b"%c%s" % (len(label), label) for label in name.encode("ascii").split(b"."))
    return Question(b"%s\0\0%c\0%c" % (labels, number, _IN), number, read)


def is_answer(data: bytes, query: bytes, asked: Question) -> bool:
    """Whether a datagram is about this query, of the same id and question (RFC 5452 §9.1); as dnspython has it."""
    if len(data) < _HEADER_OCTETS or data[:2] != query[:2]:
        return False
    _, flags, questions, *_ = _HEADER.unpack_from(data)
    if not flags & _QR or flags & _OPCODE:
        return False
    if questions == 0:
        return flags & 15 in _ERRORS_WITHOUT_QUESTION
    end = _HEADER_OCTETS + len(asked.octets)
    same_kind = data[end - 4 : end] == asked.octets[-4:]
    return questions == 1 and same_kind and data[_HEADER_OCTETS : end - 4].lower() == asked.octets[:-4]


def read(data: bytes, asked: Question) -> Said | None:
    """What an answer to this question says (it is one by ``is_answer``), or None where it is not plain."""
    try:
        return _read(data, asked)
    except (ValueError, IndexError, TooShort, dns.exception.DNSException):
        return None


def _read(data: bytes, asked: Question) -> Said | None:
    _, flags, questions, answers, authority, additional = _HEADER.unpack_from(data)
    rcode = flags & 15
    if flags & _TC or questions != 1 or rcode not in (_NOERROR, _NXDOMAIN):
        return None
    if answers and rcode != _NOERROR:
        return None
    if not answers and rcode == _NOERROR and not flags & _KNOWS_OR_ASKS:
        return None  # it refers us elsewhere, which is no word about the name
    at = _HEADER_OCTETS + len(asked.octets)
    values: dict[Any, Any] = {}
    shortest = ENDLESS
    for _ in range(answers):
        kind, group, ttl, octets = _RECORD.unpack_from(data, at + 2)
        if data[at : at + 2] != _TO_QUESTION or kind != asked.kind or group != _IN or ttl >= _TTL_LIMIT_S:
            return None
        at += 2 + _RECORD.size
        value = asked.read(data, at, at + octets)
        # Equal records count once (RFC 2181 §5); where they hold a name, that may be written in several ways.
        values.setdefault(value if isinstance(value, Mx) else data[at : at + octets], value)
        shortest = min(shortest, ttl)
        at += octets
    has_options = False
    for number in range(authority + additional):
        owner, at = at, _end_of_name(data, at)
        kind, group, ttl, octets = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if kind == _OPT:
            if has_options or number < authority or data[owner] or ttl >> 24:  # the upper bits of the error code
                return None
            has_options = True
        elif kind in _SIGNATURES:
            return None
        elif kind == _SOA and number < authority and not answers:
            if shortest != ENDLESS or group != _IN or ttl >= _TTL_LIMIT_S or not _is_above(data, owner, asked):
                return None
            shortest = min(ttl, _negative_ttl(data, at, at + octets))
        at += octets
    if at != len(data):
        return None
    authentic = bool(flags & _AD)
    return Said(tuple(values.values()), shortest, rcode == _NOERROR, authentic)


def _end_of_name(data: bytes, at: int) -> int:
    """Where a name ends."""
    while length := data[at]:
        if length >= _POINTER:
            return at + 2
        if length >= 64:
            raise ValueError("no length of a label")
        at += 1 + length
    return at + 1


def _host(data: bytes, at: int, end: int) -> str:
    """The host name that fills these octets of a record, as Mx.host."""
    labels: list[bytes] = []
    left, first = _NAME_LIMIT_OCTETS - 1, at
    is_elsewhere = False
    while length := data[at]:
        if length >= _POINTER:
            if not is_elsewhere and at + 2 != end:
                raise ValueError("more than a name")
            at = (length & 63) << 8 | data[at + 1]
            if at >= first:  # only ever back, so that there is an end
                raise ValueError("a pointer that does not lead back")
            first, is_elsewhere = at, True
            continue
        left -= 1 + length
        if length >= 64 or left < 0:
            raise ValueError("too long")
        labels.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    if not is_elsewhere and at + 1 != end:
        raise ValueError("more than a name")
    name = b".".join(labels)
    if not _HOST.fullmatch(name) or name.count(b".") > max(0, len(labels) - 1):
        raise ValueError("not plain")
    return name.decode("ascii").lower()


def _is_above(data: bytes, at: int, asked: Question) -> bool:
    """Whether the name there is the root, or one of those in which the name in question ends, by a pointer to it."""
    if data[at] < _POINTER:
        return data[at] == 0
    target = (data[at] & 63) << 8 | data[at + 1]
    label = _HEADER_OCTETS
    while label < target and data[label]:
        label += 1 + data[label]
    return label == target < _HEADER_OCTETS + len(asked.octets)


def _negative_ttl(data: bytes, at: int, end: int) -> int:
    """The last number of an SOA record: how long word holds that there is nothing (RFC 2308 §4)."""
    numbers = _end_of_name(data, _end_of_name(data, at))
    if numbers + 20 != end:
        raise ValueError("no SOA record")
    return int.from_bytes(data[end - 4 : end])


def _mail_exchanger(data: bytes, at: int, end: int) -> Mx:
    return Mx(int.from_bytes(data[at : at + 2]), _host(data, at + 2, end))


def _ipv4(data: bytes, at: int, end: int) -> str:
    return dns.ipv4.inet_ntoa(data[at:end])


def _ipv6(data: bytes, at: int, end: int) -> str:
    return dns.ipv6.inet_ntoa(data[at:end])


def _text(data: bytes, at: int, end: int) -> str:
    if at == end:
        raise ValueError("a text of no strings")
    strings = []
    while at < end:
        after = at + 1 + data[at]
        strings.append(data[at + 1 : after])
        at = after
    if at != end:
        raise ValueError("a string beyond its record")
    return b"".join(strings).decode("ascii", "replace")


def _association(data: bytes, at: int, end: int) -> Tlsa:
    usage, selector, matching = data[at : min(at + 3, end)]
    return Tlsa(usage, selector, matching, data[at + 3 : end])


_KINDS: Final[dict[str, tuple[int, Callable[[bytes, int, int], Any]]]] = {
    "MX": (int(dns.rdatatype.MX), _mail_exchanger),
    "A": (int(dns.rdatatype.A), _ipv4),
    "AAAA": (int(dns.rdatatype.AAAA), _ipv6),
    "TXT": (int(dns.rdatatype.TXT), _text),
    "TLSA": (int(dns.rdatatype.TLSA), _association),
}
