"""Messages and recipients as they stand in the database, to and fro.

The envelope is one compact JSON array per message, so that a new wish of a sender needs no change
of the schema; it only ever grows at its end, and so do a recipient's wishes and what a sender is to be
told.  What the queue itself looks at (lane, state, times) has columns of its own.  Decoding raises
ValueError, TypeError, KeyError or IndexError for a broken row.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import Any
from typing import Final as Constant

from relay.message.address import Address
from relay.message.envelope import Body, Envelope, Message, Notify, Origin, Recipient, Ret
from relay.message.outcome import Action, Final
from relay.message.reply import printable
from relay.queue.ids import to_text
from relay.queue.selection import NULL_SENDER
from relay.queue.store import NewRecipient, QueuedRecipient, State

# A recipient's state in the database.  One that is leased is waiting too, but an operator's "retry" passes it over.
WAITING: Constant = 0
IN_HAND: Constant = 1
HELD: Constant = 2
OWING: Constant = 3

CODES: Constant = {State.WAITING: WAITING, State.HELD: HELD, State.OWING: OWING}
STATES: Constant = (State.WAITING, State.WAITING, State.HELD, State.OWING)

dumps: Constant = json.JSONEncoder(separators=(",", ":")).encode
text: Constant = encode_basestring_ascii
NULL: Constant = "null"


def message_row(number: int, message: Message) -> str:
    """The message as members of a JSON array, without its octets: id, accepted_at, sender, size, envelope.

    Raises UnicodeEncodeError for an address that no protocol can carry.
    """
    envelope, origin = message.envelope, message.origin
    path = envelope.reverse_path
    sender = NULL_SENDER if path is None else str(path)
    _must_be_text(sender)
    kept = (
        path and (path.local, path.domain),
        envelope.body.value,
        envelope.smtputf8,
        envelope.ret and envelope.ret.value,
        envelope.envid,
        origin.client_ip,
        origin.client_name,
        origin.helo,
        origin.protocol,
        origin.login,
        envelope.auth,
        envelope.require_tls,
        origin.tls,
    )
    return f"{number},{message.accepted_at!r},{text(sender)},{message.size},{dumps(kept)}"


def message_of(
    number: int, accepted_at: float, size: int, envelope: bytes, head: bytes, content: bytes | None
) -> Message:
    """The message of a row; ``envelope`` is its JSON."""
    path, body, smtputf8, ret, envid, client_ip, client_name, helo, protocol, login, *later = json.loads(envelope)
    # Grown at its end since the first version.
    auth = later[0] if later else None
    require_tls = bool(later[1]) if len(later) > 1 else False
    tls = str(later[2]) if len(later) > 2 else ""
    if not (isinstance(head, bytes) and isinstance(content, bytes | None) and isinstance(helo, str)):
        raise TypeError("a column holds what does not belong there")
    return Message(
        to_text(number),
        Envelope(path and Address(*path), Body(body), smtputf8, ret and Ret(ret), envid, auth, require_tls),
        Origin(client_ip, client_name, helo, protocol, login, tls),
        accepted_at,
        head,
        content,
        size,
    )


def recipient_row(message: int, number: int, new: NewRecipient) -> str:
    """A new recipient as a JSON array, in the order in which batch.py takes it."""
    recipient = new.recipient
    address = recipient.address
    _must_be_text(address.local, address.domain, new.lane)
    wishes = NULL
    if recipient.notify is not None or recipient.orcpt is not None:
        kept = (recipient.notify, recipient.orcpt)
        wishes = dumps((*kept, True) if recipient.orcpt_is_ours else kept)
    state = CODES[new.state]
    if new.attempts and state == WAITING:
        state = IN_HAND
    return (
        f"[{message},{number},{text(address.local)},{text(address.domain)},{wishes},{text(new.lane)},"
        f"{new.due_at!r},{new.attempts},{state},{text(printable(new.note))},{_told(new.final)}]"
    )


def change_row(message: int, one: QueuedRecipient) -> str:
    """What has become of a recipient, as a JSON array, in the order in which batch.py takes it."""
    _must_be_text(one.lane)
    return (
        f"[{message},{one.number},{text(one.lane)},{one.due_at!r},{one.attempts},{CODES[one.state]},"
        f"{text(printable(one.note))},{one.warned:d},{_told(one.final)}]"
    )


def recipient_of(row: list[Any]) -> QueuedRecipient:
    """A recipient from its columns: number, local, domain, wishes, lane, due_at, attempts, state, note, warned, final.

    ``wishes`` and ``final`` are JSON or None.
    """
    number, local, domain, wishes, lane, due_at, attempts, state, note, warned, told = row
    notify, orcpt, *ours = json.loads(wishes) if wishes else (None, None)
    final = None
    if told:
        action, status, reply, hop, at, *later = json.loads(told)
        final = Final(Action(action), status, reply, hop, at, *map(tuple, later))
    return QueuedRecipient(
        number,
        Recipient(Address(local, domain), None if notify is None else Notify(notify), orcpt, bool(ours)),
        lane,
        due_at,
        attempts,
        STATES[state],
        note,
        bool(warned),
        final,
    )


def queued(recipients: tuple[NewRecipient, ...]) -> tuple[QueuedRecipient, ...]:
    """New recipients as they are once they are in the queue."""
    return tuple(
        QueuedRecipient(
            number, new.recipient, new.lane, new.due_at, new.attempts, new.state, new.note, False, new.final
        )
        for number, new in enumerate(recipients)
    )


def _told(final: Final | None) -> str:
    if final is None:
        return NULL
    kept = (final.action.value, final.status, final.reply, final.hop, final.at)
    return dumps((*kept, final.said) if final.said else kept)


def _must_be_text(*texts: str) -> None:
    for text in texts:
        if not text.isascii():
            text.encode()
