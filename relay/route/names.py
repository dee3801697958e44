"""What the DNS said, in our words, and the seam to whoever asks it.

The rule that must not be broken: *it does not exist* and *nobody could tell* are two things.
``Missing`` is said by the DNS and may fail a message; ``Trouble`` is a time-out, a SERVFAIL or a
bogus signature, and only ever defers it (RFC 5321 §5.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from relay.route.dane import Tlsa

if TYPE_CHECKING:  # so that the pure parts that use these words stay pure
    from twisted.internet.defer import Deferred

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Mx:
    """One MX record (RFC 1035 §3.3.9).

    host  in lower case, without the final dot; empty for the root, which is a null MX (RFC 7505)
    """

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """A record type, and with it the type of what is found."""

    name: str


MX: Kind[Mx] = Kind("MX")
A: Kind[str] = Kind("A")  # textual IPv4 addresses
AAAA: Kind[str] = Kind("AAAA")  # textual IPv6 addresses
PTR: Kind[str] = Kind("PTR")  # names, as Mx.host
CNAME: Kind[str] = Kind("CNAME")  # likewise
TXT: Kind[str] = Kind("TXT")  # the strings of a record put together; what is not ASCII as ``?``
TLSA: Kind[Tlsa] = Kind("TLSA")


@dataclass(frozen=True, slots=True)
class Found(Generic[T_co]):
    """Records, one at least, in the order in which the resolver gave them.

    expires_at  seconds since the epoch, by the records' TTL
    secure      a resolver that we trust has validated the signatures, those of CNAMEs on the way too (RFC 4035 §3.2.3)
    canonical   the name at the end of the CNAMEs, as Mx.host; empty when it is the one asked for
    """

    values: tuple[T_co, ...]
    expires_at: float
    secure: bool = False
    canonical: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """The DNS says that there are none (RFC 2308).

    name_exists  False for NXDOMAIN, True where only this type is missing (NODATA)
    secure       likewise as with Found: its denial is signed
    """

    name_exists: bool
    expires_at: float
    secure: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """No answer that could be used; says nothing about the name.

    why  in words: ``time-out``, ``SERVFAIL from 192.0.2.53``
    """

    why: str
    expires_at: float


Answer = Found[T_co] | Missing | Trouble


class Names(Protocol):
    """Whoever asks the DNS: the resolver, or a fake."""

    def ask(self, name: str, kind: Kind[T_co], *, search: bool = False) -> Deferred[Answer[T_co]]:
        """The records of ``name``.  Never fails: what goes wrong is Trouble.

        name    in A-labels, without the final dot
        search  whether the search list of resolv.conf is used; only for names that our own
                configuration gives (RFC 5321 §5.1: a relay must not guess at a recipient's domain)
        """

    def known(self, name: str, kind: Kind[T_co], *, search: bool = False) -> Answer[T_co] | None:
        """The answer if it is known already and has not expired, else None.  Asks nobody."""
