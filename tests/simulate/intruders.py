"""Clients who want what they may not have, or break TLS: nothing that they hand in may ever be taken.

Their letters are forbidden (``Letter.is_forbidden``): a hop that is offered one shows that the relay was open.
"""

from __future__ import annotations

from tests.simulate.clients import mail_of, rcpt_of
from tests.simulate.openings import GUESSER, PASSWORD, USER, encrypted, in_the_clear, plain
from tests.simulate.visit import Script, Step, Visit

NOISE = b"\x16\x03\x01\x02\x00\x01\xff\xff" + b"no handshake\r\n" * 40


def stranger(visit: Visit) -> Script:
    """Mail for others, from one of whom nothing is known (RFC 2505 §2.1)."""
    yield from _try_to_relay(visit)


def guessing(visit: Visit) -> Script:
    """Passwords that are wrong, and then the mail all the same."""
    for number in range(visit.chance.randint(1, 3)):
        visit.say(plain(GUESSER, f"{PASSWORD}{number}"))
        said = yield
        if said.code < 400:
            visit.wrong(f"{said} to a wrong password")
        if said.code == 421:
            return
    yield from _try_to_relay(visit)


def logging_in_too_early(visit: Visit) -> Script:
    """The right password, in the clear: it is not even looked at (RFC 4954 §4)."""
    visit.say(plain(USER, PASSWORD))
    said = yield
    if said.code < 400:
        visit.wrong(f"{said} to a password in the clear")
    yield from _try_to_relay(visit)


def logging_out_by_tls(visit: Visit) -> Script:
    """What was said before TLS is forgotten within it: the mail begun there is not there any more (RFC 3207 §4.2)."""
    visit.say("MAIL FROM:<>", "RSET", "STARTTLS")
    for _ in range(3):
        said = yield
    if said.code != 220:
        return
    visit.begin_tls()
    visit.say("MAIL FROM:<>")
    said = yield
    if said.code < 400:
        visit.wrong(f"{said} to MAIL without EHLO within TLS")
    visit.say("QUIT")
    yield


def injecting(visit: Visit) -> Script:
    """Commands in the same segment as STARTTLS, to be done within TLS as if said there (CVE-2011-0411)."""
    letter = visit.letters[0]
    visit.say("STARTTLS", mail_of(letter), rcpt_of(letter, 0), "DATA")
    said = yield
    if said.code != 220:
        return
    visit.begin_tls()
    visit.say("NOOP")
    said = yield
    if said.code != 421 and not (said.code == 250 and said.lines[0].startswith("2.0.0")):
        visit.wrong(f"{said} to what was slipped in before TLS")


def noise_for_a_handshake(visit: Visit) -> Script:
    """STARTTLS, and then what is no TLS."""
    if not (yield from _begun(visit)):
        return
    visit.send(NOISE[: visit.chance.randint(1, len(NOISE))])
    yield 10.0 * visit.chance.random()
    visit.drop()


def silent_in_the_handshake(visit: Visit) -> Script:
    """STARTTLS, and then nothing: the relay does not wait for long."""
    if (yield from _begun(visit)):
        yield 200.0
        if visit.relay_is_there():
            visit.wrong("nothing, when it began no handshake for 200 s")


def cut_in_the_handshake(visit: Visit) -> Script:
    """Gone when the handshake has begun, or just when it is over."""
    if (yield from _begun(visit)):
        visit.begin_tls()
        yield visit.chance.random() * 0.5
        visit.drop()


def _begun(visit: Visit) -> Step:
    """STARTTLS; gives whether the handshake comes next."""
    visit.say("STARTTLS")
    said = yield
    return said.code == 220


def _try_to_relay(visit: Visit) -> Script:
    letter = visit.letters[0]
    visit.say(mail_of(letter), rcpt_of(letter, 0), "DATA")
    for what in ("MAIL", "RCPT", "DATA"):
        said = yield
        if said.code == 421:
            return
        if said.code < 400 and what != "MAIL":
            visit.wrong(f"{said} to {what} of somebody who may not send here")


WAYS = (
    (in_the_clear, stranger),
    (encrypted, stranger),
    (encrypted, guessing),
    (in_the_clear, logging_in_too_early),
    (in_the_clear, logging_out_by_tls),
    (in_the_clear, injecting),
    (in_the_clear, noise_for_a_handshake),
    (in_the_clear, silent_in_the_handshake),
    (in_the_clear, cut_in_the_handshake),
)
"""How each of them opens its session, and what it does then."""
