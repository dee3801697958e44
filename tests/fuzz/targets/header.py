"""The header section of a content: found at every cut, and what is added or counted does not hang on the cut."""

from __future__ import annotations

from relay.message.address import Address
from relay.message.trace import count_received
from relay.policy.content import HeaderWatch

_SENDER = Address("ann", "example.org")


def _seen(content: bytes, size: int) -> object:
    watch = HeaderWatch(300)
    for at in range(0, len(content), size):
        watch.feed(content[at : at + size])
    added = watch.missing("q1", "foo.com", "Mon, 23 Nov 2026 17:10:00 +0000", _SENDER)
    assert added.count(b"\n") == added.count(b"\r\n") == added.count(b"\r")
    assert not set(watch.message_id) & set("\r\n")  # the rest is made printable where it is shown
    return watch.too_big, watch.separator, watch.message_id, added


def run(octets: bytes) -> None:
    size, content = 1 + (octets[0] if octets else 0) % 9, octets[1:]
    count_received(content)
    assert _seen(content, size) == _seen(content, max(1, len(content)))
