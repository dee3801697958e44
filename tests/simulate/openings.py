"""How clients open a session: in the clear, within TLS, logged in."""

from __future__ import annotations

import base64

from tests.simulate.visit import Said, Step, Visit

USER, PASSWORD = "ann", "open sesame"
GUESSER = "bob"  # somebody else, so that being locked out for guessing hits nobody who is good


def in_the_clear(visit: Visit) -> Step:
    """EHLO."""
    said = yield
    if said.code == 220:
        visit.say("EHLO client.example")
        said = yield
    return _is_open(visit, said)


def encrypted(visit: Visit) -> Step:
    """STARTTLS, and EHLO once more (RFC 3207 §4.2)."""
    if not (yield from in_the_clear(visit)):
        return False
    visit.say("STARTTLS")
    said = yield
    if said.code != 220:
        _refused(visit, said, "STARTTLS")
        return False
    visit.begin_tls()
    visit.say("EHLO client.example")
    said = yield
    if said.code == 250 and "STARTTLS" in said.lines:
        visit.wrong("STARTTLS is offered within TLS")
    return _is_open(visit, said)


def within_tls(visit: Visit) -> Step:
    """TLS from the first octet (RFC 8314 §3.3), and a login."""
    visit.begin_tls()
    if not (yield from in_the_clear(visit)):
        return False
    return (yield from _log_in(visit))


def logged_in(visit: Visit) -> Step:
    """STARTTLS, and then a login."""
    if not (yield from encrypted(visit)):
        return False
    return (yield from _log_in(visit))


def _log_in(visit: Visit) -> Step:
    visit.say(plain(USER, PASSWORD))
    said = yield
    if said.code != 235:
        _refused(visit, said, "the right password")
        return False
    return True


def plain(user: str, password: str) -> str:
    """AUTH with its initial response (RFC 4616)."""
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def _is_open(visit: Visit, said: Said) -> bool:
    if said.code not in (220, 250):
        _refused(visit, said, "EHLO")
    return said.code == 250


def _refused(visit: Visit, said: Said, what: str) -> None:
    """All that is asked here is well formed and allowed: only trouble that passes may be in its way."""
    if not 400 <= said.code < 500:
        visit.wrong(f"{said} to {what}")
