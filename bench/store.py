"""How fast the queue is: messages committed and finished, a second, as the relay would do it.

    python bench/store.py [--messages 30000] [--batch 100] [--size 4096] [--spool DIR]

Each round commits a batch of one-recipient messages and records the batch before as delivered.  ``alone``
has nothing else to do; ``busy`` has a thread that keeps the interpreter as busy as a loaded reactor does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from relay.message.address import parse_mailbox
from relay.message.envelope import Body, Envelope, Message, Origin, Recipient
from relay.queue.sqlite import SqliteStore
from relay.queue.store import NewRecipient, Settlement
from relay.queue.threads import threads

HEAD = b"Received: from client.example (host.client.example [192.0.2.1])\r\n\tby relay.example with ESMTP\r\n" * 2
ENVELOPE = Envelope(parse_mailbox("ann@client.example"), Body.EIGHTBIT)
ORIGIN = Origin("192.0.2.1", "host.client.example", "client.example", "ESMTP")
BOB = Recipient(parse_mailbox("bob@example.org"))


def commit(store: SqliteStore, content: bytes) -> Deferred[Message]:
    now = time.time()
    draft = store.begin()
    draft.write(content)
    return draft.commit(ENVELOPE, ORIGIN, HEAD, (NewRecipient(BOB, "example.org", now + 900, 1),), now)


async def rounds(store: SqliteStore, messages: int, batch: int, size: int) -> float:
    """Pairs of commit and record, a second."""
    content = os.urandom(size)
    before: list[Message] = []
    began = time.perf_counter()
    for _ in range(messages // batch):
        committed = gatherResults([commit(store, content) for _ in range(batch)])
        recorded = [store.record(Settlement(message.id, finished=(0,))) for message in before]
        before = list(await committed)
        await gatherResults(recorded)
    for message in before:
        await store.record(Settlement(message.id, finished=(0,)))
    return messages / (time.perf_counter() - began)


def spin(stop: threading.Event) -> None:
    reading, writing = os.pipe()
    while not stop.is_set():
        for _ in range(1000):
            pass
        os.write(writing, b"x")
        os.read(reading, 1)


async def main(options: argparse.Namespace, directory: Path) -> None:
    store = SqliteStore(directory / "spool", clock=reactor, executors=threads(reactor))  # type: ignore[arg-type]
    for batch in sorted({1, 10, options.batch}):
        count = min(options.messages, 1000 * batch)
        used = time.process_time()
        pace = await rounds(store, count, batch, options.size)
        used = (time.process_time() - used) / count
        print(f"alone, batches of {batch:4}: {pace:9,.0f} pairs/s, {used * 1e6:5.0f} µs of processor each", flush=True)
    stop = threading.Event()
    threading.Thread(target=spin, args=(stop,), daemon=True).start()
    for batch in sorted({10, options.batch}):
        pace = await rounds(store, min(options.messages, 100 * batch), batch, options.size)
        print(f"busy,  batches of {batch:4}: {pace:9,.0f} pairs/s", flush=True)
    stop.set()
    await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=30000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--spool", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.spool) as place:
        react(lambda _: Deferred.fromCoroutine(main(options, Path(place))))
