"""An envelope of the journal: who brought it, and what he said.

Pure.  Equal envelopes have equal fates, so only what a rule can look at is kept: neither when it came nor what a client
calls itself nor which reports its sender wishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

_BY_CERTIFICATE = "accept.certificates: "


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who came, and how.

    client       IP address; empty for a unix socket
    listener     the endpoint where it came in
    service      of that listener: relay, submission, lmtp or local
    tls          the version, as ``TLSv1.3``; empty: in the clear
    login        as whom, or empty
    certificate  what is known of the certificate that was trusted: ``sha256:…`` or ``signed by …``; or empty
    """

    client: str
    listener: str
    service: str
    tls: str = ""
    login: str = ""
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """One envelope.

    visitor     None: a report that was written here
    sender      the reverse-path as a client writes it, without angle brackets; empty is the null sender
    recipients  likewise; none where the sender was refused
    size        octets, or None where they are not known
    """

    visitor: Visitor | None
    sender: str
    recipients: tuple[str, ...]
    size: int | None = None
    smtputf8: bool = False
    require_tls: bool = False


def past_of(row: Row) -> tuple[Past, tuple[bool, ...]] | None:
    """The envelope of an entry, as relay.message.journey reads it; and of each recipient (where there is none, of the
    sender) whether he was accepted then.  None for what holds none that could be replayed: see ``untold``.

    A recipient that was refused has an entry of his own, beside that of the message that others got.
    """
    if untold(row):
        return None
    is_taken = row["step"] == "accepted"
    recipients = [one for one in row["recipients"] if one["to"] or not is_taken]
    visitor = _visitor(row)
    size = row.get("size") if visitor is not None else None
    past = Past(
        visitor,
        str(row["sender"] or "").removeprefix("<").removesuffix(">"),
        tuple(str(one["named"]) for one in recipients),
        size,
        bool(row.get("smtputf8")),
        bool(row.get("require_tls")),
    )
    return past, (is_taken,) * max(1, len(recipients))


def untold(row: Row) -> str:
    """Why an entry cannot be replayed; empty when it can.

    content     it was refused for its content, of which nothing is kept
    more        it says only that more was refused than the journal holds
    unreadable  it cannot be understood, or is of a kind that does not begin a journey
    """
    step = row.get("step")
    if step == "refused" and "count" in row:
        return "more"
    if step not in ("accepted", "refused") or not isinstance(row.get("recipients"), list):
        return "unreadable"
    if step == "refused" and row.get("stage") == "content":
        return "content"
    return "" if row["recipients"] or (step == "refused" and row.get("stage") == "sender") else "unreadable"


def _visitor(row: Row) -> Visitor | None:
    if "client" not in row:
        return None
    rule = row["checks"][0]["rule"] if row["checks"] else ""
    return Visitor(
        row["client"] or "",
        row.get("listener") or "",
        row.get("service") or "",
        row.get("tls") or "",
        row.get("login") or "",
        rule.removeprefix(_BY_CERTIFICATE) if row.get("certified") and rule.startswith(_BY_CERTIFICATE) else "",
    )
