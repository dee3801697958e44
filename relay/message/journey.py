"""A message's journey: what happened to it, entry by entry, as the journal keeps it.

    accepted    it was taken in: from whom, by which checks, for whom; or it is a report of ours
    refused     it, or a recipient of it, was not: a journey by itself.  Or: so many more were, and no more is known
    attempted   it was tried: which way, what was said, what became of each recipient
    expired     recipients that were given up without one more attempt
    warned      the sender is told of a delay
    reported    a report to the sender entered the queue
    held, released, retried, removed   by an operator, or a rule
    set_aside   its row was broken

An entry is one compact JSON array in ASCII: its step, then fields by their place (``_FIELDS``).  It only ever grows at
its end, and what is as usual is null or missing: thousands of these are written in a second.  What was said in an
attempt follows, a line end after it, as it stood on the wire.  ``read`` gives it all back with the names of
relay.message.step.

The rule that must not be broken: no secret and no content is in an entry, and it has a bound, whatever a peer says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from relay.message.account import Account, Part, lines_in, transcript
from relay.message.reply import Reply

Entry = tuple[float, bytes]
"""When, in seconds since the epoch, and what."""

Row = dict[str, Any]

LIMIT_OCTETS: Final = 32 * 1024
"""Of the dialogue of one attempt."""
RECIPIENTS_LIMIT: Final = 1000
"""So many are named in one entry; of the others only how many there are."""

REPLY_LIMIT: Final = 1000  # characters; some peers preach

USUAL_REPLY: Final = "250 2.1.5 OK"

# (notes at either end of a part, octets of a part, parts from the end): the first that fits.
_SHORTER: Final = ((60, 10240, 8), (10, 4096, 6), (3, 1024, 2))
_NOTE_OCTETS: Final = (4096, 1024, 256, 64, 0)
CUT: Final = "...(cut)"
"""At the end of what was longer."""

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "accepted": (
        "session",
        "sender",
        "size",
        "message_id",
        "recipient_count",
        "recipients",
        "check",
        "wishes",
        "report_of",
    ),
    "refused": (
        "session",
        "sender",
        "size",
        "message_id",
        "stage",
        "reply",
        "rule",
        "place",
        "recipients",
        "check",
        "wishes",
    ),
    "refused_more": ("count", "since"),
    "attempted": ("took_ms", "destination", "rule", "recipients", "dialogue"),
    "expired": ("destination", "recipients"),
    "warned": ("recipients",),
    "reported": ("report", "to", "numbers"),
    "held": ("by", "why", "numbers"),
    "released": ("by", "why", "numbers"),
    "retried": ("by", "why", "numbers"),
    "removed": ("by", "why", "numbers"),
    "set_aside": ("why",),
}

_SESSION: Final = (
    "client",
    "client_name",
    "helo",
    "protocol",
    "login",
    "listener",
    "service",
    "tls",
    "certified",
    "rule",
    "place",
)
_WISHES: Final = ("body", "smtputf8", "ret", "envid", "auth", "require_tls")
_NAMED: Final = ("named", "reply", "rule", "place", "to", "notify", "orcpt")
_BECAME: Final = ("number", "recipient", "step", "reply", "hop", "next_at", "in_doubt")

_MESSAGE_ID: Final = re.compile(rb"^Message-ID: (<.{1,250}>)\r$", re.MULTILINE)

_AND: Final = b"\n"
_NEXT: Final = b"\0"

_text: Final[Callable[[str], str]] = encode_basestring_ascii
_known: Final = lru_cache(1024)(encode_basestring_ascii)  # what is said again and again
_dumps: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def place_of(step: str, field: str) -> int:
    """Where a field stands in the array of an entry."""
    return _FIELDS[step].index(field) + 1


# -- writing: pieces are JSON texts, put together by hand where every message has one ---------------------------------


def session(
    client: str,
    client_name: str,
    helo: str,
    protocol: str,
    login: str | None,
    listener: str,
    service: str,
    tls: str,
    certified: bool,
    rule: str,
    place: str,
) -> str:
    """Who is there, and what lets him in; the same for all messages of a session."""
    return _dumps((client, client_name, helo, protocol, login, listener, service, tls, certified, rule, place))


def wishes(
    body: str,
    smtputf8: bool,
    ret: str | None,
    envid: str | None,
    auth: str | None,
    require_tls: bool,
) -> str:
    """What MAIL said beside the reverse-path."""
    return _dumps((body, smtputf8, ret, envid, auth, require_tls))


def check(rule: str, place: str) -> str:
    """What let the sender pass, where that is not what let the client in."""
    return _dumps((rule, place))


def named(address: str) -> str:
    """A recipient as RCPT named it, of whom nothing more is to be said: mail goes to him, as the client may send it."""
    return _text(address)


def judged(
    address: str,
    reply: str,
    rule: str,
    place: str,
    to: Sequence[str] | None,
    notify: int | None = None,
    orcpt: str | None = None,
) -> str:
    """A recipient as RCPT named it, and what was said to that.

    to      where his mail goes; None: to himself
    notify  relay.message.envelope.Notify
    """
    said = None if reply == USUAL_REPLY else reply
    shown = to if to is None or len(to) <= RECIPIENTS_LIMIT else [*to[:RECIPIENTS_LIMIT], f"… {len(to)} in all"]
    return _dumps((address, said, rule, place, shown, notify, orcpt))


def accepted(
    session: str,
    sender: str,
    size: int,
    message_id: str,
    recipient_count: int,
    recipients: Sequence[str],
    check: str = "null",
    wishes: str = "null",
) -> bytes:
    """A message that came in.

    session, recipients, check, wishes  as made by the functions above
    recipient_count                     in the queue, after forwarding
    """
    return (
        f'["accepted",{session},{_text(sender)},{size},{_text(message_id)},{recipient_count},'
        f"[{','.join(recipients[:RECIPIENTS_LIMIT])}],{check},{wishes}]"
    ).encode()


def composed(sender: str, content: bytes, recipients: Sequence[str], report_of: str = "") -> bytes:
    """A message that we wrote ourselves.

    report_of  the message that it tells of; empty for what tells of none
    """
    found = _MESSAGE_ID.search(content)
    message_id = found[1].decode("ascii", "replace") if found else ""
    facts = (sender, len(content), message_id, len(recipients), recipients, None, None, report_of)
    return _dumps(("accepted", None, *facts)).encode()


def refused(
    session: str,
    sender: str | None,
    size: int | None,
    message_id: str,
    stage: str,
    reply: str,
    rule: str,
    place: str,
    recipients: Sequence[str] = (),
    check: str = "null",
    wishes: str = "null",
) -> bytes:
    """What was not taken.

    stage       what was refused: ``sender``, ``recipient`` or ``content``
    recipients  the one that was refused; with the content, all
    """
    facts = _dumps((sender, size, message_id, stage, reply, rule, place))[1:-1]
    return f'["refused",{session},{facts},[{",".join(recipients[:RECIPIENTS_LIMIT])}],{check},{wishes}]'.encode()


def refused_more(count: int, since: float) -> bytes:
    """So many more were refused since then, of which nothing is kept."""
    return _dumps(("refused_more", count, since)).encode()


def became(
    number: int, recipient: str, step: str, reply: str, hop: str, next_at: float | None = None, in_doubt: bool = False
) -> str:
    """What an attempt made of a recipient.

    number  its place in the message
    step    delivered, deferred, failed, expired, held or discarded
    reply   the words of the peer or ours; for one that is held, why
    """
    later = ""
    if in_doubt or next_at is not None:
        later = "," + _dumps((next_at, in_doubt))[1:-1]
    return f'[{number},{_text(recipient)},"{step}",{_text(reply[:REPLY_LIMIT])},{_known(hop)}{later}]'


def attempted(account: Account, at: float, destination: str, recipients: Sequence[str]) -> bytes:
    """An attempt that is over.

    at           now
    destination  the scheduler's name for the way
    recipients   as made by ``became``
    """
    parts = account.parts
    said = [transcript(notes, account.began_at) for _, _, notes in parts]
    if sum(map(len, said)) > LIMIT_OCTETS:
        parts, said = _cut_short(account)
    heads = ",".join([f"[{_pair(hop, tls)}]" for hop, tls, _ in parts])
    head = (
        f'["attempted",{int((at - account.began_at) * 1000)},{_pair(destination, account.rule)},'
        f"[{','.join(recipients)}],[{heads}]]\n"
    ).encode()
    return head + _NEXT.join(said)


@lru_cache(1024)
def _pair(one: str, other: str) -> str:
    return f"{_text(one)},{_text(other)}"


def expired(destination: str, recipients: Sequence[tuple[int, str, str, str]]) -> bytes:
    """Given up untried.  recipients: (number, address, reply, hop)."""
    shown = [(number, to, "expired", reply, hop) for number, to, reply, hop in recipients[:RECIPIENTS_LIMIT]]
    return _dumps(("expired", destination, shown)).encode()


def warned(recipients: Sequence[tuple[int, str, str]]) -> bytes:
    """The sender is told that it takes long.  recipients: (number, address, reply)."""
    return _dumps(("warned", [(number, to, "warned", reply) for number, to, reply in recipients])).encode()


def reported(report: str, to: Sequence[str], numbers: Sequence[int]) -> bytes:
    """A report has entered the queue.

    report   its id
    to       who gets it
    numbers  the recipients that it tells of
    """
    return _dumps(("reported", report, to, numbers)).encode()


def changed(step: str, by: str, why: str, numbers: Sequence[int]) -> bytes:
    """held, released, retried or removed, by whom."""
    return _dumps((step, by, why, numbers)).encode()


def set_aside(why: str) -> bytes:
    return _dumps(("set_aside", why)).encode()


def _cut_short(account: Account) -> tuple[list[Part], list[bytes]]:
    """The parts, cut in the middle until they fit."""
    for ends, octets, last in _SHORTER:
        parts = [_short(part, ends, octets) for part in account.parts[-last:]]
        said = [transcript(notes, account.began_at) for _, _, notes in parts]
        if sum(map(len, said)) <= LIMIT_OCTETS:
            break
    return parts, said


def _short(part: Part, ends: int, octets: int) -> Part:
    hop, tls, notes = part
    if len(notes) > 2 * ends:
        notes = [*notes[:ends], (notes[ends][0], f"{len(notes) - 2 * ends} more{CUT}"), *notes[-ends:]]
    lengths = [len(said.wire if isinstance(said, Reply) else said) for _, said in notes]
    most = next(one for one in _NOTE_OCTETS if sum(min(one, length) for length in lengths) <= octets)
    return hop, tls, [(at, _cut(said, most)) for at, said in notes]


def _cut(said: bytes | Reply | str, octets: int) -> bytes | Reply | str:
    if len(said.wire if isinstance(said, Reply) else said) <= octets:
        return said
    if isinstance(said, Reply):
        return Reply(said.code, said.enhanced, (said.lines[0][:octets] + CUT,))
    return said[:octets] + CUT if isinstance(said, str) else said[:octets] + CUT.encode()


# -- reading -----------------------------------------------------------------------------------------------------------


def read(entry: Entry) -> Row:
    """An entry with names: ``at``, ``step``, and its fields; the dialogue in lines.

    One of a newer relay has what we know of it; one that cannot be understood has the step ``unreadable``.
    """
    at, text = entry
    text, follows, said = text.partition(_AND)
    try:
        step, *values = json.loads(text)
        fields = dict(zip(_FIELDS.get(step, ()), values, strict=False))
        if follows:
            fields["dialogue"] = list(zip(fields["dialogue"], said.split(_NEXT), strict=False))
        return {"at": at, **_READ.get(step, _as_it_is)(at, str(step), fields)}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        return {"at": at, "step": "unreadable", "error": f"{type(error).__name__}: {error}"}


def _as_it_is(at: float, step: str, fields: Row) -> Row:
    return {"step": step, **fields}


def _came(at: float, step: str, fields: Row) -> Row:
    """accepted and refused."""
    known = dict(zip(_SESSION, fields.pop("session") or (), strict=False))
    rule, place = known.pop("rule", ""), known.pop("place", "")
    wishes = dict(zip(_WISHES, fields.pop("wishes", None) or (), strict=False))
    of_sender = fields.pop("check", None) or (rule, place)
    checks = [{"what": "client", "rule": rule, "place": place}] if known else []
    if known and fields.get("stage") != "sender":
        checks.append({"what": "sender", "rule": of_sender[0], "place": of_sender[1]})
    recipients = [_named(one, rule, place) for one in fields.pop("recipients")]
    return {"step": step, **known, **fields, **wishes, "checks": checks, "recipients": recipients}


def _named(one: str | list[Any], rule: str, place: str) -> Row:
    facts: Row = {"named": one} if isinstance(one, str) else dict(zip(_NAMED, one, strict=False))
    to = facts.get("to")
    return {
        "named": facts["named"],
        "reply": facts.get("reply") or USUAL_REPLY,
        "rule": facts.get("rule") or rule,
        "place": facts.get("place") or place,
        "to": [facts["named"]] if to is None else to,
        "notify": facts.get("notify"),
        "orcpt": facts.get("orcpt"),
    }


def _more(at: float, step: str, fields: Row) -> Row:
    return {"step": "refused", **fields}


def _attempted(at: float, step: str, fields: Row) -> Row:
    took_s = int(fields.pop("took_ms")) / 1000
    dialogue = [_spoken(*part) for part in fields.pop("dialogue", ())]
    return {
        "step": step,
        "began_at": at - took_s,
        **fields,
        "hop": dialogue[-1]["hop"] if dialogue else "",
        "tls": dialogue[-1]["tls"] if dialogue else "",
        "recipients": _became(fields["recipients"]),
        "dialogue": dialogue,
    }


def _with_recipients(at: float, step: str, fields: Row) -> Row:
    return {"step": step, **fields, "recipients": _became(fields["recipients"])}


def _became(recipients: Iterable[Sequence[Any]]) -> list[Row]:
    return [dict(zip(_BECAME, one, strict=False)) for one in recipients]


def _spoken(part: Sequence[str], said: bytes) -> Row:
    hop, tls = part
    lines = lines_in(said.decode("utf-8", "replace"))
    return {"hop": hop, "tls": tls, "lines": [[after_s, line] for after_s, line in lines]}


_READ: Final[Mapping[str, Callable[[float, str, Row], Row]]] = {
    "accepted": _came,
    "refused": _came,
    "refused_more": _more,
    "attempted": _attempted,
    "expired": _with_recipients,
    "warned": _with_recipients,
}
