"""What stands in a file of the maildrop: the content, and behind it the envelope.

    content     octets as they are to be sent, lines ending with CRLF
    envelope    JSON, ASCII, in one line
    tail        the envelope's octets as 8 hexadecimal digits, and `` relay-drop-1`` with a line end

The envelope comes last since it says what only the end of the content shows (whether it is 8-bit), and since a file
that was cut short has then no tail: it cannot be taken for a whole one.

The rule that must not be broken: whoever wrote the file may be an enemy.  Addresses are parsed here, and what is left
over is a fault, told without a word of what the file holds: it may be a file of somebody else's, linked here for that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from relay.message.address import Address, AddressFault, parse_mailbox, parse_path
from relay.message.envelope import Body, Envelope, Notify, Recipient, Ret

ENVELOPE_LIMIT_OCTETS = 1 << 20  # some ten thousand recipients
_MARK = b" relay-drop-1\n"
TAIL_OCTETS = 8 + len(_MARK)
_TAIL = re.compile(rb"([0-9a-f]{8})" + re.escape(_MARK))

_ENVID_LIMIT = 100  # characters (RFC 3461 §4.4)
_ORCPT = re.compile(r"[A-Za-z0-9-]{1,40};[^\x00-\x1f\x7f]{1,460}")  # RFC 3461 §4.2, xtext decoded


class NotADrop(ValueError):
    """This is no file as programs leave it; ``str()`` says why, in words of ours alone."""


class EnvelopeTooLarge(ValueError):
    """There are more recipients than a file may name."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The envelope of a message that was left."""

    envelope: Envelope
    recipients: tuple[Recipient, ...]


def written(drop: Drop) -> bytes:
    """What goes behind the content.  Raises EnvelopeTooLarge."""
    envelope = drop.envelope
    said: dict[str, object] = {
        "sender": str(envelope.reverse_path) if envelope.reverse_path is not None else None,
        "recipients": [_said_of(one) for one in drop.recipients],
        "body": envelope.body.value,
    }
    if envelope.smtputf8:
        said["smtputf8"] = True
    if envelope.require_tls:
        said["require_tls"] = True
    if envelope.ret is not None:
        said["ret"] = envelope.ret.value
    if envelope.envid is not None:
        said["envid"] = envelope.envid
    line = json.dumps(said, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > ENVELOPE_LIMIT_OCTETS:
        raise EnvelopeTooLarge(f"{len(drop.recipients)} recipients are more than one message may have")
    return line + b"%08x" % len(line) + _MARK


def _said_of(recipient: Recipient) -> Mapping[str, object]:
    said: dict[str, object] = {"address": str(recipient.address)}
    if recipient.notify is not None:
        said["notify"] = [flag.name for flag in Notify if flag & recipient.notify]
    if recipient.orcpt is not None:
        said["orcpt"] = recipient.orcpt
    return said


def envelope_octets(tail: bytes, size: int) -> int:
    """How many octets the envelope has that stands before this tail.  Raises NotADrop.

    tail  the file's last TAIL_OCTETS, or all of it if it has fewer
    size  octets of the whole file
    """
    found = _TAIL.fullmatch(tail)
    octets = int(found[1], 16) if found is not None else 0
    if not 0 < octets <= min(ENVELOPE_LIMIT_OCTETS, size - TAIL_OCTETS):
        raise NotADrop("it does not end as a message that was left whole")
    return octets


def parse(line: bytes) -> Drop:
    """The envelope that this line is.  Raises NotADrop."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        raise NotADrop("its envelope is not JSON") from None
    if not line.endswith(b"\n") or not isinstance(said, dict):
        raise NotADrop("its envelope is not one JSON object in a line")
    try:
        return _drop_of(_Members(said))
    except AddressFault as fault:
        raise NotADrop(f"an address in its envelope is none: {fault}") from None


class _Members:
    """The members of a JSON object, each of a kind; what nobody asked for is a fault."""

    def __init__(self, said: Mapping[str, object]) -> None:
        self._said = dict(said)

    def take(self, name: str, kind: type, otherwise: Any = None) -> Any:
        """The value, which must be of just this kind; null and no value are ``otherwise``."""
        value = self._said.pop(name, None)
        if value is None:
            return otherwise
        if type(value) is not kind:
            raise NotADrop(f"{name} in its envelope is of another kind")
        return value

    def no_more(self) -> None:
        if self._said:
            raise NotADrop("its envelope says more than is known here; was it left by a newer version?")


def _drop_of(said: _Members) -> Drop:
    sender = said.take("sender", str)
    recipients = said.take("recipients", list, [])
    envelope = Envelope(
        parse_mailbox(sender) if sender is not None else None,
        _one_of(Body, said.take("body", str, Body.SEVENBIT.value)),
        said.take("smtputf8", bool, False),
        _one_of(Ret, ret) if (ret := said.take("ret", str)) is not None else None,
        _envid(said.take("envid", str)),
        require_tls=said.take("require_tls", bool, False),
    )
    said.no_more()
    if not recipients:
        raise NotADrop("its envelope names no recipient")
    return Drop(envelope, tuple(map(_recipient, recipients)))


def _recipient(said: object) -> Recipient:
    if not isinstance(said, dict):
        raise NotADrop("a recipient in its envelope is no JSON object")
    members = _Members(said)
    address = _forward_path(members.take("address", str, ""))
    notify = _notify(names) if (names := members.take("notify", list)) is not None else None
    orcpt = members.take("orcpt", str)
    members.no_more()
    if orcpt is not None and not (_ORCPT.fullmatch(orcpt) and orcpt.isprintable()):
        raise NotADrop("an original recipient in its envelope is none")
    return Recipient(address, notify, orcpt)


def _forward_path(text: str) -> Address:
    if text.lower() == "postmaster":  # the one that has no domain (RFC 5321 §4.5.1)
        address, _ = parse_path(f"<{text}>")
        assert address is not None
        return address
    return parse_mailbox(text)


def _notify(names: Iterable[object]) -> Notify:
    notify = Notify(0)
    for name in names:
        if not isinstance(name, str) or name not in Notify.__members__:
            raise NotADrop("notify in its envelope is of another kind")
        notify |= Notify[name]
    if not notify or (notify & Notify.NEVER and notify != Notify.NEVER):  # RFC 3461 §4.1
        raise NotADrop("notify in its envelope says nothing, or NEVER and something else")
    return notify


def _envid(text: str | None) -> str | None:
    if text is not None and not (0 < len(text) <= _ENVID_LIMIT and text.isascii() and text.isprintable()):
        raise NotADrop("envid in its envelope is none")
    return text


def _one_of(choices: Any, name: str) -> Any:
    try:
        return choices(name)
    except ValueError:
        raise NotADrop("its envelope says something that is not known here") from None
