"""Puts many messages into the spool of a relay that is not running, as if they had been taken in long ago.

python -m bench.fill SPOOL MESSAGES LANE [OCTETS [DUE_IN_S]]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from relay.message.address import parse_mailbox
from relay.message.envelope import Body, Envelope, Origin, Recipient
from relay.queue.sqlite import SqliteStore
from relay.queue.store import NewRecipient
from relay.queue.threads import threads

HEAD = b"Received: from client.bench (localhost [127.0.0.1])\r\n\tby relay.bench with ESMTP\r\n"
ENVELOPE = Envelope(parse_mailbox("ann@client.bench"), Body.SEVENBIT)
ORIGIN = Origin("127.0.0.1", "localhost", "client.bench", "ESMTP")
AT_ONCE = 500


async def fill(
    reactor: object, spool: Path, messages: int, lane: str, domain: str, octets: int, due_in_s: float
) -> None:
    store = SqliteStore(spool, clock=reactor, executors=threads(reactor))  # type: ignore[arg-type]
    now = time.time()
    for begin in range(0, messages, AT_ONCE):
        committed = []
        for number in range(begin, min(messages, begin + AT_ONCE)):
            draft = store.begin()
            name = f"Message-ID: <{draft.id}@fill.bench>\r\nSubject: bench\r\n\r\n".encode()
            draft.write(name + (b"x" * 76 + b"\r\n") * (octets // 78))
            recipient = Recipient(parse_mailbox(f"r{number}@{domain}"))
            row = NewRecipient(recipient, lane, now + due_in_s)
            committed.append(draft.commit(ENVELOPE, ORIGIN, HEAD, (row,), now))
        await gatherResults(committed)
    await store.close()


def main() -> None:
    spool, messages, lane, domain, *more = sys.argv[1:]
    octets, due_in_s = int(more[0]) if more else 4096, float(more[1]) if more[1:] else 0.0
    Path(spool).mkdir(mode=0o700, parents=True, exist_ok=True)
    react(
        lambda reactor: Deferred.fromCoroutine(
            fill(reactor, Path(spool), int(messages), lane, domain, octets, due_in_s)
        )
    )


if __name__ == "__main__":
    main()
