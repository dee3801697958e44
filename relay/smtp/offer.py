"""What a server offers in its reply to EHLO (RFC 5321 §4.1.1.1), read once and for all.

A keyword that is not offered is never used; one that is misspelt in its parameters is taken as offered
without them.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.message.reply import Reply

_LARGEST = 10**18


@dataclass(frozen=True, slots=True)
class Offer:
    """The extensions of one server.

    size       octets it takes (RFC 1870); 0 when it offers SIZE without telling, None when it does not
    auth       mechanisms, in upper case (RFC 4954)
    logged_in  we have logged in there
    rcpt_max   recipients in one transaction, mail_max transactions in one session (RFC 9422), or None
    """

    pipelining: bool = False
    size: int | None = None
    eightbitmime: bool = False
    binarymime: bool = False
    chunking: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    requiretls: bool = False
    auth: frozenset[str] = frozenset()
    logged_in: bool = False
    rcpt_max: int | None = None
    mail_max: int | None = None


NOTHING_OFFERED = Offer()
"""What a server offers that knows only HELO."""


def offer_of(reply: Reply) -> Offer:
    """The offer in a positive reply to EHLO or LHLO.  Keywords in any case, in any order."""
    said: dict[str, list[str]] = {}
    for line in reply.lines[1:]:
        keyword, *parameters = line.upper().replace("AUTH=", "AUTH ", 1).split() or [""]
        said.setdefault(keyword, []).extend(parameters)
    limits = dict(part.split("=", 1) for part in said.get("LIMITS", ()) if "=" in part)
    return Offer(
        pipelining="PIPELINING" in said,
        size=(_number(said["SIZE"][0]) or 0 if said["SIZE"] else 0) if "SIZE" in said else None,
        eightbitmime="8BITMIME" in said,
        # RFC 3030 §3: BINARYMIME without CHUNKING is of no use.
        binarymime="BINARYMIME" in said and "CHUNKING" in said,
        chunking="CHUNKING" in said,
        # RFC 6531 §3.1: SMTPUTF8 without 8BITMIME is no offer.
        smtputf8="SMTPUTF8" in said and "8BITMIME" in said,
        dsn="DSN" in said,
        starttls="STARTTLS" in said,
        requiretls="REQUIRETLS" in said,
        auth=frozenset(said.get("AUTH", ())),
        rcpt_max=_number(limits.get("RCPTMAX", "")) or None,
        mail_max=_number(limits.get("MAILMAX", "")) or None,
    )


def _number(text: str) -> int | None:
    """A decimal number, at most 20 digits of it (RFC 1870 §4), or None."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        return None
    return min(int(text), _LARGEST)
