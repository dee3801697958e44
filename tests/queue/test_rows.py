"""What a row holds, also one that an older version wrote."""

from __future__ import annotations

import json

import pytest

from relay.message.address import parse_mailbox
from relay.message.envelope import Body, Envelope, Message, Origin, Ret
from relay.queue.rows import message_of, message_row

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
