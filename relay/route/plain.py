"""The usual question to the DNS and the usual answer to it (RFC 1035 §4).

Nearly all that a relay asks is for a name of letters, digits, hyphens and underscores, and what comes is records of
that name, or word that there are none.  ``dns.message`` makes objects of every name, record, set and flag of a message,
which is right for whoever wants to look at all of them, and costs four times as much as reading what was asked for.
So that is read here, by dnspython's own readers of names and records, and only that: whatever is not plain (a CNAME,
an error code, truncation, octets that do not add up) is None, and dnspython reads it whole.

The rule that must not be broken: nothing is said here that dnspython would not say.  A test holds the two against each
other, with messages of all sorts and with broken ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

import dns.exception
import dns.flags
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.wire

from relay.route.names import Mx
from relay.route.records import READ

_HEADER: Final = Struct("!HHHHHH")  # id, flags, questions, answers, authority, additional
_RECORD: Final = "!HHLH"  # type, class, TTL, octets of data; behind the name
_HEADER_OCTETS: Final = _HEADER.size
_IN: Final = int(dns.rdataclass.IN)
_TO_QUESTION: Final = b"\xc0\x0c"  # a pointer to the name in question (RFC 1035 §4.1.4)
_OPCODE: Final = 0x7800
# As numbers: each operation on dnspython's flags makes an object.
_QR: Final = int(dns.flags.QR)
_TC: Final = int(dns.flags.TC)
_AD: Final = int(dns.flags.AD)
_KNOWS_OR_ASKS: Final = int(dns.flags.AA | dns.flags.RA)
_NOERROR: Final = int(dns.rcode.NOERROR)
_NXDOMAIN: Final = int(dns.rcode.NXDOMAIN)
_OPT: Final = int(dns.rdatatype.OPT)
_SOA: Final = int(dns.rdatatype.SOA)
_ERRORS_WITHOUT_QUESTION: Final = frozenset(
    (dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED)
)
_NAME_LIMIT_OCTETS: Final = 255  # RFC 1035 §2.3.4
_TTL_LIMIT_S: Final = 1 << 31  # RFC 2181 §8
ENDLESS: Final = float("inf")

_NAME: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_KINDS: Final = {kind: int(dns.rdatatype.from_text(kind)) for kind in ("MX", "A", "AAAA", "TXT", "TLSA")}
_READ: Final = {number: READ[kind] for kind, number in _KINDS.items()}
_TYPES: Final = {number: dns.rdatatype.RdataType(number) for number in (*_KINDS.values(), _SOA)}
_SIGNATURES: Final = frozenset((int(dns.rdatatype.SIG), int(dns.rdatatype.TSIG)))


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    octets  name, type and class
    """

    octets: bytes
    name: str
    kind: int


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
    number = _KINDS.get(kind)
    if number is None or len(name) > _NAME_LIMIT_OCTETS - 2 or not _NAME.fullmatch(name):
        return None
    labels = b"".join(b"%c%s" % (len(label), label) for label in name.encode("ascii").split(b"."))
    return Question(b"%s\0\0%c\0%c" % (labels, number, _IN), name, number)


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
        return _read(dns.wire.Parser(data), asked)
    except (dns.exception.DNSException, ValueError):  # of a record that is none
        return None


def _read(parser: dns.wire.Parser, asked: Question) -> Said | None:
    _, flags, questions, answers, authority, additional = parser.get_struct(_HEADER.format)
    rcode = flags & 15
    if flags & _TC or questions != 1 or rcode not in (_NOERROR, _NXDOMAIN):
        return None
    if answers and rcode != _NOERROR:
        return None
    if not answers and rcode == _NOERROR and not flags & _KNOWS_OR_ASKS:
        return None  # it refers us elsewhere, which is no word about the name
    parser.seek(_HEADER_OCTETS + len(asked.octets))
    found: dict[bytes, Any] = {}  # by their octets: equal records count once (RFC 2181 §5)
    shortest = ENDLESS
    for _ in range(answers):
        to = parser.get_bytes(2)
        kind, group, ttl, octets = parser.get_struct(_RECORD)
        if to != _TO_QUESTION or kind != asked.kind or group != _IN or ttl >= _TTL_LIMIT_S:
            return None
        of = parser.wire[parser.current : parser.current + octets]
        with parser.restrict_to(octets):
            found.setdefault(of, dns.rdata.from_wire_parser(dns.rdataclass.IN, _TYPES[kind], parser))
        shortest = min(shortest, ttl)
    has_options = False
    for number in range(authority + additional):
        owner = dns.name.from_wire_parser(parser)
        kind, group, ttl, octets = parser.get_struct(_RECORD)
        with parser.restrict_to(octets):
            if kind == _OPT:
                upper_bits_of_the_code = ttl >> 24
                if has_options or number < authority or owner != dns.name.root or upper_bits_of_the_code:
                    return None
                has_options = True
            elif kind in _SIGNATURES:
                return None
            elif kind == _SOA and number < authority and not answers:
                if shortest != ENDLESS or group != _IN or ttl >= _TTL_LIMIT_S:
                    return None
                if not dns.name.from_text(asked.name).is_subdomain(owner):
                    return None
                start: Any = dns.rdata.from_wire_parser(dns.rdataclass.IN, _TYPES[kind], parser)
                shortest = min(ttl, start.minimum)  # RFC 2308 §5
            parser.get_remaining()
    if parser.remaining():
        return None
    values = _READ[asked.kind](list(found.values()))
    if values and isinstance(values[0], Mx):  # a name may be written in several ways
        values = tuple(dict.fromkeys(values))
    return Said(values, shortest, rcode == _NOERROR, bool(flags & _AD))
