"""A report about a stranger's message and the words of a stranger's host: its parts, fields and lines are ours."""

from __future__ import annotations

from relay.message.address import Address
from relay.message.envelope import Composed, Envelope, Message, Origin, Recipient
from relay.message.outcome import Action, Final
from tests.bounce.cases import HEAD, NOW, a_reporter, read


def run(octets: bytes) -> None:
    helo, reply, orcpt, envid, content = (octets.split(b"\xfe", 4) + [b""] * 4)[:5]
    envelope = Envelope(Address("ann", "example.org"), envid=envid.decode("utf-8", "replace") or None)
    origin = Origin("192.0.2.9", "unknown", helo.decode("utf-8", "replace"))
    message = Message("q1", envelope, origin, NOW - 60, HEAD, content, len(HEAD) + len(content))
    recipient = Recipient(Address("bob", "example.net"), None, orcpt.decode("utf-8", "replace") or None)
    words = reply.decode("utf-8", "replace")
    final = Final(Action.FAILED, "5.1.1", words, "mx.example.net", NOW, tuple(words.split("\n")))
    composed = a_reporter().compose(message, [(recipient, final)], None, NOW, NOW + 60)
    assert isinstance(composed, Composed)
    report = read(composed)
    assert [fields["Action"] for fields in report.of_recipients] == ["failed"]
    assert [fields["Final-Recipient"] for fields in report.of_recipients] == ["rfc822; bob@example.net"]
    header = composed.content.partition(b"\r\n\r\n")[0]
    assert not set(header) & (set(range(32)) - set(b"\r\n"))
    assert "\x1b" not in report.text
