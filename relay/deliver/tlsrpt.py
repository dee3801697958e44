"""TLS reports: what became of the sessions with a domain's mail hosts in one day, for who asks for it (RFC 8460).

    Tally         counts sessions by day, domain and policy
    destinations  the record of _smtp._tls.DOMAIN -> where its reports go
    report        what is said of one day and domain, as the JSON of the law
    mail          that as a message

The rule that must not be broken: nothing is counted without bound, whatever our peers do.
"""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import unquote

from relay.message.address import Address, AddressFault, parse_mailbox
from relay.message.reply import printable
from relay.message.trace import date
from relay.message.transfer import base64
from relay.route.tls import Policed

DAY_S = 86_400
DOMAINS_LIMIT = 5_000
DETAILS_LIMIT = 50
"""Kinds of failure that are told apart for one policy; more are counted with the last."""
DESTINATIONS_LIMIT = 3
_WHY_LIMIT = 200

_OURS = re.compile(r"v=TLSRPTv1[ \t]*;")
_RECORD = re.compile(r"v=TLSRPTv1\s*;(?:[^;]*;)*?\s*rua\s*=\s*([^;]+)")
_SCHEME = re.compile(r"(?:mailto|https):", re.IGNORECASE)  # RFC 3986 §3.1
_LABEL = re.compile(r"(?P<host>[^\s\[]\S*)?(?: ?\[(?P<ip>[^\]]+)\])?")

Detail = tuple[str, str, str, str, str]
"""Result type, host, its address, ours, why."""


@dataclass(slots=True)
class Sessions:
    """Those of one day under one policy."""

    succeeded: int = 0
    failed: dict[Detail, int] = field(default_factory=dict)

    def count(self, detail: Detail | None, number: int = 1) -> None:
        if detail is None:
            self.succeeded += number
        elif detail in self.failed or len(self.failed) < DETAILS_LIMIT:
            self.failed[detail] = self.failed.get(detail, 0) + number
        else:
            self.failed[next(reversed(self.failed))] += number


class Tally:
    """See the module.

    days  day (of the epoch, UTC) -> policy -> sessions
    told  the days before this one have been reported
    """

    def __init__(self) -> None:
        self.days: dict[int, dict[Policed, Sessions]] = {}
        self.told = 0

    def count(self, at: float, policed: Policed, label: str, failure: str, why: str, own_ip: str = "") -> None:
        """One session.  ``at`` in seconds since the epoch; the rest as for relay.route.tls.Witness."""
        found = _LABEL.fullmatch(label)
        host, ip = (found["host"] or "", found["ip"] or "") if found else ("", "")
        detail = (failure, host, ip, own_ip, printable(why)[:_WHY_LIMIT]) if failure else None
        sessions = self._sessions(int(at // DAY_S), policed)
        if sessions is not None:
            sessions.count(detail)

    def _sessions(self, day: int, policed: Policed) -> Sessions | None:
        """Where to count; None when there is no more room."""
        policies = self.days.setdefault(day, {})
        found = policies.get(policed)
        if found is None and len(policies) < DOMAINS_LIMIT:
            found = policies[policed] = Sessions()
        return found

    def add(self, other: Tally) -> None:
        """What another process has counted, too."""
        for day, policies in other.days.items():
            for policed, counted in policies.items():
                sessions = self._sessions(day, policed)
                if sessions is None:
                    continue
                sessions.count(None, counted.succeeded)
                for detail, number in counted.failed.items():
                    sessions.count(detail, number)

    def forget(self, before: int) -> None:
        """Forgets the days before this one."""
        self.days = {day: policies for day, policies in self.days.items() if day >= before}

    def by_domain(self, before: int) -> Iterator[tuple[int, str, dict[Policed, Sessions]]]:
        """The days before this one: (day, domain, its policies)."""
        for day, policies in self.days.items():
            if day < before:
                for domain in dict.fromkeys(policed.domain for policed in policies):
                    yield day, domain, {one: policies[one] for one in policies if one.domain == domain}

    def dump(self) -> str:
        """All of it as text, for a restart."""
        sessions = [
            [
                day,
                [one.domain, one.kind, one.strings, one.mx, one.base],
                counted.succeeded,
                list(counted.failed.items()),
            ]
            for day, policies in self.days.items()
            for one, counted in policies.items()
        ]
        return json.dumps({"told": self.told, "sessions": sessions}, separators=(",", ":"))

    def load(self, text: str | None) -> None:
        """Takes up what was dumped; what is broken is left out."""
        try:
            said = json.loads(text or "{}")
            self.told = int(said.get("told", 0))
            for day, (domain, kind, strings, mx, base), succeeded, failed in said.get("sessions", ()):
                details = {(str(a), str(b), str(c), str(d), str(e)): int(number) for (a, b, c, d, e), number in failed}
                policed = Policed(str(domain), str(kind), tuple(map(str, strings)), tuple(map(str, mx)), str(base))
                self.days.setdefault(int(day), {})[policed] = Sessions(int(succeeded), details)
        except (ValueError, TypeError, AttributeError):
            return


def destinations(records: Sequence[str]) -> tuple[str, ...]:
    """Where the reports of a domain go: ``mailto:`` and ``https:`` (RFC 8460 §3); none without one right record."""
    ours = [record for record in records if _OURS.match(record)]
    found = _RECORD.match(ours[0]) if len(ours) == 1 else None
    said = [uri.strip() for uri in found[1].split(",")] if found else []
    uris = [_SCHEME.sub(lambda scheme: scheme[0].lower(), uri, count=1) for uri in said]
    fitting = [uri for uri in uris if uri.isascii() and uri.isprintable() and uri.startswith(("mailto:", "https://"))]
    return tuple(fitting[:DESTINATIONS_LIMIT])


def mailbox_of(uri: str) -> Address | None:
    """The mailbox of a ``mailto:`` (RFC 6068 §2), or None when it has none."""
    try:
        return parse_mailbox(unquote(uri.removeprefix("mailto:").partition("?")[0], errors="strict"))
    except (AddressFault, UnicodeDecodeError):
        return None


@dataclass(frozen=True, slots=True)
class Report:
    """One day of one domain.

    id    the same each time it is made
    json  RFC 8460 §4.4, compressed
    """

    domain: str
    day: int
    id: str
    json: bytes


def report(
    domain: str,
    day: int,
    policies: Mapping[Policed, Sessions],
    hostname: str,
    organization: str,
    contact: Address,
) -> Report:
    """What is said of one day and domain."""
    name = f"{sha256(f'{domain} {day} {hostname}'.encode()).hexdigest()[:16]}@{hostname}"
    said = {
        "organization-name": organization,
        "date-range": {"start-datetime": _rfc3339(day * DAY_S), "end-datetime": _rfc3339((day + 1) * DAY_S - 1)},
        "contact-info": str(contact),
        "report-id": name,
        "policies": [_policy(policed, sessions) for policed, sessions in policies.items()],
    }
    return Report(domain, day, name, gzip.compress(json.dumps(said, indent=1).encode(), mtime=0))


def _policy(policed: Policed, sessions: Sessions) -> dict[str, object]:
    policy: dict[str, object] = {"policy-type": policed.kind, "policy-domain": policed.base or policed.domain}
    if policed.strings:
        policy["policy-string"] = policed.strings
    if policed.mx:
        policy["mx-host"] = policed.mx
    failed = sum(sessions.failed.values())
    told: dict[str, object] = {
        "policy": policy,
        "summary": {"total-successful-session-count": sessions.succeeded, "total-failure-session-count": failed},
    }
    if failed:
        told["failure-details"] = [_failed(detail, number) for detail, number in sessions.failed.items()]
    return told


def _failed(detail: Detail, number: int) -> dict[str, object]:
    kind, host, ip, own_ip, why = detail
    known = {"sending-mta-ip": own_ip, "receiving-mx-hostname": host, "receiving-ip": ip, "failure-reason-code": why}
    return {
        "result-type": kind,
        **{name: value for name, value in known.items() if value},
        "failed-session-count": number,
    }


def mail(made: Report, to: Address, sender: Address, hostname: str, now: float) -> bytes:
    """A report as a message (RFC 8460 §5.1, §5.3).

    sender  the contact that the report names; it is submitted by its domain

    It may go without TLS, for it may be about why there is none (RFC 8460 §3, RFC 8689 §3).
    """
    start, end = made.day * DAY_S, (made.day + 1) * DAY_S - 1
    submitter = sender.domain_key
    file = f"{submitter}!{made.domain}!{start}!{end}!{made.id.partition('@')[0]}.json.gz"
    boundary = "=_" + b64encode(sha256(made.json).digest()[:18], b"-_").decode()
    words = f"TLS with the mail hosts of {made.domain} on {_rfc3339(start)[:10]}, as {hostname} saw it (RFC 8460)."
    lines = [
        f"Date: {date(now)}",
        f"From: <{sender}>",
        f"To: <{to}>",
        f"Subject: Report Domain: {made.domain} Submitter: {submitter}",
        f" Report-ID: <{made.id}>",
        f"Message-ID: <tls.{made.id}>",
        f"TLS-Report-Domain: {made.domain}",
        f"TLS-Report-Submitter: {submitter}",
        "TLS-Required: No",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type="tlsrpt";',
        f' boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        words,
        f"--{boundary}",
        "Content-Type: application/tlsrpt+gzip",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f' filename="{file}"',
        "",
        base64(made.json).decode("ascii"),
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode()


def _rfc3339(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
