"""What a row holds, also one that an older version wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.message.address import Address, parse_mailbox
from relay.message.envelope import Body, Envelope, Message, Notify, Origin, Recipient, Ret
from relay.message.outcome import Action, Final
from relay.queue.rows import OWING, change_row, message_of, message_row, recipient_of, recipient_row
from relay.queue.store import NewRecipient, QueuedRecipient, State

ORIGIN = Origin("192.0.2.1", "c", "h", "ESMTPSA", "ann", "TLS_AES_256_GCM_SHA384 (TLSv1.3)")


def written(envelope: Envelope) -> str:
    """The envelope's JSON as it stands in the database."""
    message = Message("x", envelope, ORIGIN, 1.0, b"H: x\r\n", b"", 6)
    return json.dumps(json.loads(f"[{message_row(7, message)}]")[-1])


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(None),
        Envelope(parse_mailbox("ann@example.org"), Body.EIGHTBIT, True, Ret.HDRS, "id", "<>", True),
        Envelope(parse_mailbox("ann@example.org"), require_tls=True),
        Envelope(parse_mailbox("ann@example.org"), auth="bob@example.org"),
    ],
)
def test_an_envelope_comes_back_as_it_went(envelope: Envelope) -> None:
    back = message_of(7, 1.0, 6, written(envelope).encode(), b"H: x\r\n", b"")
    assert (back.envelope, back.origin) == (envelope, ORIGIN)


def test_an_envelope_of_an_older_version_is_read() -> None:
    """The array has only ever grown at its end."""
    whole = json.loads(written(Envelope(parse_mailbox("ann@example.org"), auth="<>", require_tls=True)))
    for missing in (1, 2, 3):
        older = message_of(7, 1.0, 6, json.dumps(whole[:-missing]).encode(), b"", b"")
        assert older.origin.tls == ""
        assert older.envelope.require_tls is (missing == 1)
        assert older.envelope.reverse_path == parse_mailbox("ann@example.org")


@pytest.mark.parametrize(
    "wishes", [(None, None), (Notify.FAILURE, None), (None, "rfc822;a@b", True), (None, "rfc822;a@b")]
)
def test_a_recipient_comes_back_as_it_went(wishes: tuple[Any, ...]) -> None:
    recipient = Recipient(Address("bob", "example.org"), *wishes)
    _, number, local, domain, kept, *_ = json.loads(recipient_row(7, 1, NewRecipient(recipient, "lane", 1.0)))
    kept = kept and json.dumps(kept)
    assert recipient_of([number, local, domain, kept, "lane", 1.0, 1, 0, "", 0, None]).recipient == recipient


def test_a_recipient_of_an_older_version_is_read() -> None:
    row = [0, "bob", "example.org", '[2,"rfc822;a@b"]', "lane", 1.0, 1, 0, "", 0, None]
    assert recipient_of(row).recipient == Recipient(Address("bob", "example.org"), Notify(2), "rfc822;a@b")


def told(final: Final) -> str:
    """What the sender is to be told, as JSON, as it stands in the database."""
    recipient = QueuedRecipient(
        0, Recipient(parse_mailbox("bob@example.org")), "lane", 1.0, 1, State.OWING, "", False, final
    )
    return json.dumps(json.loads(change_row(7, recipient))[-1])


def told_of(told: str) -> Final | None:
    return recipient_of([0, "bob", "example.org", None, "lane", 1.0, 1, OWING, "", 0, told]).final


@pytest.mark.parametrize("said", [(), ("550 no",), ("550-5.1.1 No", "550 gibt\u2019s nicht")])
def test_what_is_to_be_told_comes_back_as_it_went(said: tuple[str, ...]) -> None:
    final = Final(Action.FAILED, "5.1.1", "550 5.1.1 No", "mx [192.0.2.1]", 1.5, said)
    assert told_of(told(final)) == final


def test_what_an_older_version_was_to_tell_is_read() -> None:
    """It did not keep who had said it."""
    older = '["failed","5.1.1","550 5.1.1 No such user","mx [192.0.2.1]",1.5]'
    assert told_of(older) == Final(Action.FAILED, "5.1.1", "550 5.1.1 No such user", "mx [192.0.2.1]", 1.5)
