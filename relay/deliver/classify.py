"""What a reply, or its absence, means for a recipient.

    connect refused, timed out           Deferred, whole destination
    TLS fails                            Deferred, whole destination
    the log-in fails                     likewise, and lasting: one more try is one more failed login
    greeting or EHLO not 2yz             Deferred, whole destination: also a 5yz, which says nothing about this
                                         message, but that we are not welcome or misconfigured (RFC 5321 §3.1)
    MAIL, RCPT, DATA, BDAT, end: 5yz     Failed, except
        530 534 535 538                  Deferred, whole destination, lasting: our log-in or TLS is wrong, not the
                                         message
        552 at RCPT without x.2.x        Deferred: "too many recipients" (RFC 5321 §4.5.3.1.10)
    MAIL, RCPT, DATA, BDAT, end: 4yz     Deferred; 421 at MAIL: whole destination
    no reply to MAIL                     Deferred, whole destination
    no reply later                       Deferred; to the end of the content: in doubt (RFC 1047)
    the end: 2yz                         Delivered

The rule that must not be broken: our own trouble never fails a recipient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from relay.message.outcome import Deferred, Delivered, Failed, Outcome
from relay.message.reply import LOCAL_ERROR, Reply, printable, reply
from relay.route.tls import Security
from relay.route.via import Hop
from relay.smtp.client_events import SessionEnded
from relay.smtp.transaction import Answer, Step

_OUR_CREDENTIALS = frozenset((530, 534, 535, 538))  # RFC 4954 §6
_KEPT_OCTETS = 2000
# For a host that gives no enhanced code: the one that its basic code says clearly (RFC 5248), else X.0.0.
_DERIVED = {
    421: "4.3.2",
    450: "4.2.0",
    451: "4.3.0",
    452: "4.3.1",
    500: "5.5.2",
    501: "5.5.4",
    502: "5.5.1",
    503: "5.5.1",
    504: "5.5.4",
    530: "5.7.0",
    535: "5.7.8",
    551: "5.1.6",
    553: "5.1.3",
    555: "5.5.4",
    556: "5.1.10",
}

NO_ANSWER = reply(451, "4.4.1", "No answer from host")
BAD_CONNECTION = reply(451, "4.4.2", "Bad connection")
NO_TLS = reply(451, "4.7.4", "TLS is required, and not offered")
TLS_FAILED = reply(451, "4.7.5", "TLS failed")
NEEDS_TLS = reply(550, "5.7.10", "The message says REQUIRETLS, and the next host offers no TLS")  # RFC 8689 §4.2.1
LOGIN_FAILED = reply(451, "4.7.8", "Cannot log in")
_SECURITY: dict[Step | None, Reply] = {
    Step.STARTTLS: NO_TLS,
    Step.HANDSHAKE: TLS_FAILED,
    Step.CREDENTIALS: LOGIN_FAILED,
    Step.AUTH: LOGIN_FAILED,
}
SHUTTING_DOWN = reply(451, "4.3.2", "We are shutting down")


def outcome_of(answer: Answer, hop: str, *, dsn: bool, final: bool) -> Outcome:
    """What became of the recipient.

    hop    whose answer it is, as ``name [address]``
    dsn    the hop offers DSN
    final  the hop speaks LMTP: it has delivered, not relayed
    """
    said = answer.reply
    if said is None:
        return Deferred(
            BAD_CONNECTION.saying(f"{printable(answer.why)} ({answer.step.value})"),
            hop,
            whole_destination=answer.step is Step.MAIL,
            in_doubt=answer.step is Step.END,
        )
    if said.code < 300:
        return Delivered(to_keep(said), hop, dsn, final)
    said = to_keep(said)
    if said.code in _OUR_CREDENTIALS:
        return Deferred(said, hop, whole_destination=True, lasting=True)
    if said.is_temporary:
        return Deferred(said, hop, whole_destination=said.code == 421 and answer.step is Step.MAIL)
    if said.code == 552 and answer.step is Step.RECIPIENT and not _is_about_mailbox(said):
        return Deferred(said, hop)
    return Failed(said, hop)


def refuses_parameter(answers: Iterable[Answer | None]) -> bool:
    """Whether MAIL was refused for how it was written: a parameter may be what the host does not know."""
    return all(
        one is not None and one.step is Step.MAIL and one.reply is not None and one.reply.code in (500, 501, 504, 555)
        for one in answers
    )


def says_too_many(answer: Answer) -> bool:
    """Whether a recipient was refused only because there were enough of them already."""
    said = answer.reply
    return (
        said is not None and answer.step is Step.RECIPIENT and said.code in (452, 552) and not _is_about_mailbox(said)
    )


def _is_about_mailbox(said: Reply) -> bool:
    """X.2.2 is the recipient's full mailbox, which no further transaction empties."""
    return said.enhanced[1:3] == ".2"


def session_refused(ended: SessionEnded, hop: str) -> Deferred:
    """The session ended before a transaction could begin."""
    lasting = ended.step in (Step.AUTH, Step.CREDENTIALS)
    if ended.reply is not None:
        return Deferred(to_keep(ended.reply), hop, whole_destination=True, lasting=lasting)
    if ended.step in _SECURITY:
        why = _SECURITY[ended.step].saying(printable(ended.why))
        return Deferred(why, hop, whole_destination=True, lasting=lasting)
    waiting = f" ({ended.step.value})" if ended.step else ""
    return Deferred(BAD_CONNECTION.saying(f"{printable(ended.why)}{waiting}"), hop, whole_destination=True)


def unreachable(why: str, hop: str) -> Deferred:
    """No connection could be made."""
    return Deferred(NO_ANSWER.saying(printable(why)), hop, whole_destination=True)


def untrusted(hop: Hop, security: Security) -> Deferred:
    """The hop must not be talked to now, for what is asked of it cannot be had."""
    return Deferred(TLS_FAILED.saying(printable(security.trouble)), hop.host, whole_destination=True)


def of_the_message_alone(why: Deferred) -> Deferred | Failed:
    """What trouble with TLS means that only this message asks for: it is no trouble of the destination's, which takes
    other mail.  Where there is no TLS the sender is told (RFC 8689 §4.2.1); a certificate may be mended."""
    if why.reply.enhanced == NO_TLS.enhanced:
        return Failed(NEEDS_TLS, why.hop)
    return replace(why, whole_destination=False) if why.reply.enhanced == TLS_FAILED.enhanced else why


def our_trouble(why: str) -> Deferred:
    """Trouble of our own, such as a disk that does not give the content back."""
    return Deferred(LOCAL_ERROR.saying(printable(why)))


def milder(before: Outcome | None, now: Outcome) -> Outcome:
    """Of what two hosts of one route answered, what to go by: a word about the message tells more than silence."""
    if (
        isinstance(before, Deferred)
        and isinstance(now, Deferred)
        and now.whole_destination
        and not before.whole_destination
    ):
        return before
    return now


def to_keep(said: Reply) -> Reply:
    """A reply fit to be kept in the queue: of a very long one its beginning, and never without an enhanced code.

    One that the host did not give does not stand in ``said``.
    """
    if not said.enhanced:
        said = replace(said, enhanced=_DERIVED.get(said.code, f"{said.code // 100}.0.0"))
    if len(said.lines) == 1 and len(said.lines[0]) <= _KEPT_OCTETS:
        return said
    return replace(said, lines=_beginning(said.lines), said=_beginning(said.said))


def _beginning(lines: tuple[str, ...]) -> tuple[str, ...]:
    room = _KEPT_OCTETS
    kept: list[str] = []
    for line in lines:
        kept.append(line[:room])
        room -= len(line)
        if room <= len("550-"):
            break
    return tuple(kept)
