"""A server's replies: read the same at every cut, bounded, printable, or found out to be none."""

from __future__ import annotations

from relay.smtp.offer import offer_of
from relay.smtp.replies import REPLY_LIMIT_OCTETS, ReplyFault, ReplyReader


def _read(stream: bytes, size: int) -> list[object]:
    reader, found = ReplyReader(), list[object]()
    try:
        for at in range(0, len(stream), size):
            reader.feed(stream[at : at + size])
            while (reply := reader.next_reply()) is not None:
                assert 200 <= reply.code <= 599
                assert all(line.isprintable() for line in reply.lines)
                assert sum(map(len, reply.lines)) <= REPLY_LIMIT_OCTETS
                assert not reply.enhanced or reply.enhanced[0] == str(reply.code)[0]
                offer_of(reply)
                found.append(reply)
    except ReplyFault as fault:
        found.append(ReplyFault)
        str(fault)
    return found


def run(octets: bytes) -> None:
    size, stream = 1 + (octets[0] if octets else 0) % 9, octets[1:]
    whole, cut = _read(stream, max(1, len(stream))), _read(stream, size)
    # A line that never ends is found out a little sooner or later.
    assert whole == cut or abs(len(whole) - len(cut)) <= 1
