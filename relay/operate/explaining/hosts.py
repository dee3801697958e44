"""The hosts of a way: in which order, at which addresses, with what TLS and login; and which others there are, and why
they are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from relay.deliver.classify import untrusted
from relay.deliver.keyring import NoCredentials, read_secret
from relay.message.outcome import Deferred
from relay.operate.explaining.finding import Finding
from relay.route import mx
from relay.route.credentials import Login
from relay.route.mx import Ourselves
from relay.route.names import Answer, Found, Mx
from relay.route.router import Addresses
from relay.route.tls import Security
from relay.route.via import ByMx, Hop

Answers = Mapping[tuple[str, str], Answer[Any]]


def host_of(number: int, hop: Hop, addresses: Addresses, preference: int | None, per_attempt: int) -> Finding:
    """A host that is tried.

    number       its place in the order, from 1
    preference   of its MX record
    per_attempt  how many hosts one attempt tries
    """
    details: dict[str, object] = {
        "number": number,
        "preference": preference,
        "protocol": hop.protocol,
        "addresses": list(addresses) if isinstance(addresses, tuple) else [],
        "tls": tls_of(hop.security, hop.implicit_tls),
        "login": login_of(hop.login) if hop.login is not None else None,
    }
    if number > per_attempt:
        details["left_out"] = f"an attempt tries {per_attempt} hosts"
        return Finding("out", "host", hop.name(), details=details)
    trouble = untrusted(hop, hop.security) if hop.security.trouble else addresses
    if isinstance(trouble, Deferred):
        return Finding("out", "host", hop.name(), "temporary", reply=str(trouble.reply), details=details)
    return Finding("out", "host", hop.name(), "accepted", details=details)


def tls_of(security: Security, implicit: bool) -> Mapping[str, object]:
    """What TLS a host must have, and whence that comes."""
    return {
        "level": security.level.value,
        "whence": security.whence or "default",
        "implicit": implicit,
        "names": list(security.names),
        "tlsa": [str(one) for one in security.tlsa],
        "fingerprints": [one.hex() for one in security.fingerprints],
        "authorities": security.authorities or None,
        "asked_for": security.asked_for,
        "testing": security.testing,
        "trouble": security.trouble,
    }


def login_of(login: Login) -> Mapping[str, object]:
    """As whom we log in, and whether the secret can be had; never the secret."""
    told: dict[str, object] = {
        "user": login.user,
        "mechanisms": list(login.mechanisms),
        "by": "access token" if login.oauth is not None else "password",
        "secret_file": login.secret_file,
        "unverified": login.unverified,
        "readable": True,
        "trouble": "",
    }
    try:
        read_secret(login.secret_file)
    except NoCredentials as none:
        told["readable"], told["trouble"] = False, str(none)
    return told


def preferences(way: ByMx, answers: Answers) -> Mapping[str, int]:
    """The preference of each mail host of a domain."""
    answer: Answer[Mx] | None = answers.get((way.domain, "MX"))
    named = mx.mail_hosts(way.domain, answer) if answer is not None else ()
    return {one.host: one.preference for one in named} if isinstance(named, tuple) else {}


def left_out(way: ByMx, answers: Answers, ourselves: Ourselves) -> Iterator[Finding]:
    """The mail hosts of a domain that are not tried."""
    answer: Answer[Mx] | None = answers.get((way.domain, "MX"))
    named = mx.mail_hosts(way.domain, answer) if answer is not None else ()
    if answer is None or not isinstance(named, tuple):
        return
    addresses = {one.host: _addresses(one.host, answers) for one in named}
    reasons = mx.left_out(named, addresses, ourselves)
    for one in named:
        if one.host in reasons:
            found = addresses[one.host]
            values = list(found.values) if isinstance(found, Found) else []
            yield _left_out(one, reasons[one.host].value, values)
    if isinstance(answer, Found):
        for one in answer.values:
            if one not in named:
                why = f"only {mx.LOOK_UP_LIMIT} are looked up" if mx.is_host(one.host) else "it names no host"
                yield _left_out(one, why, [])


def _left_out(one: Mx, why: str, addresses: list[str]) -> Finding:
    details = {"preference": one.preference, "left_out": why, "addresses": addresses}
    return Finding("out", "host", one.host or ".", details=details)


def _addresses(host: str, answers: Answers) -> Answer[str]:
    return mx.address_answer([answers[host, kind] for kind in ("AAAA", "A") if (host, kind) in answers])
