"""kill -9 at any moment: what was acknowledged is in the queue afterwards, whole.

Threads and disk are the real ones.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from relay.queue.sqlite import SqliteStore
from relay.queue.store import StoreUnavailable
from tests.conformance.mail import all_of, clock_at, content_of, now, whole
from tests.fakes.executors import inline

# Commits for ever, a large one now and then, finishes every second one, and says so when it is done.
CHILD = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from relay.message.address import parse_mailbox
from relay.message.envelope import Envelope, Origin, Recipient
from relay.queue.sqlite import SqliteStore
from relay.queue.store import NewRecipient, Settlement
from relay.queue.threads import threads

store = SqliteStore(Path(sys.argv[1]), clock=reactor, executors=threads(reactor), reserve_octets=0)
bob = Recipient(parse_mailbox("bob@example.org"))

async def one(number):
    draft = store.begin()
    for _ in range(20 if number % 7 == 0 else 1):
        wait = draft.write(draft.id.encode() * 400)
        if wait is not None:
            await wait
    recipients = (NewRecipient(bob, "example.org", reactor.seconds() + 900, 1),)
    message = await draft.commit(Envelope(None), Origin(), b"", recipients, reactor.seconds())
    print("+", message.id, flush=True)
    if number % 2:
        print("?", message.id, flush=True)
        await store.record(Settlement(message.id, finished=(0,)))
        print("-", message.id, flush=True)

async def lane():
    number = 0
    while True:
        number += 1
        await one(number)

for _ in range(10):
    Deferred.fromCoroutine(lane()).addErrback(lambda failure: (failure.printTraceback(), reactor.stop()))
reactor.run()
"""


def killed_after(spool: Path, seconds: float) -> tuple[set[str], set[str], set[str]]:
    """Ids that a relay said were committed, were about to be finished, and were finished, before it was killed."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(spool)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [child.stdout.readline()]  # it has begun
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    said += child.stdout.read().splitlines()
    child.wait()
    assert child.returncode == -signal.SIGKILL
    ids: dict[str, set[str]] = {"+": set(), "?": set(), "-": set()}
    for line in said:
        mark, _, message_id = line.strip().partition(" ")
        if len(message_id) == 12:  # the last line may be torn
            ids[mark].add(message_id)
    return ids["+"], ids["?"], ids["-"]


def rounds(tmp_path: Path, how_many: int, chance: Random) -> None:
    spool = tmp_path / "spool"
    kept: set[str] = set()
    for _ in range(how_many):
        committed, finishing, finished = killed_after(spool, chance.uniform(0.02, 0.3))
        assert committed
        kept = (kept | committed) - finishing
        steps: list[tuple[str, dict[str, object]]] = []
        store = SqliteStore(
            spool,
            clock=clock_at(time.time()),
            executors=inline(),
            reserve_octets=0,
            tell=lambda step, *, to=steps, **fields: to.append((step, fields)),
        )
        there = {row.message_id for row in all_of(store.list())}
        assert kept <= there, "acknowledged and lost"
        assert not finished & there
        assert steps == []
        for message_id in there:
            message, recipients = whole(store, message_id)
            content = message.content or content_of(store, message_id)
            assert content == message_id.encode() * (len(content) // 12)
            assert len(recipients) == 1
        counts = store.counts()
        assert counts.messages == len(there)
        assert sum(counts.recipients.values()) == len(there)
        now(store.close())


def test_what_was_acknowledged_is_there_after_kill_9(tmp_path: Path) -> None:
    rounds(tmp_path, 2, Random(1))


@pytest.mark.slow
def test_what_was_acknowledged_is_there_after_many_kills(tmp_path: Path) -> None:
    rounds(tmp_path, 25, Random(2))


def test_a_store_on_a_killed_spool_is_whole_for_sqlite(tmp_path: Path) -> None:
    killed_after(tmp_path / "spool", 0.1)
    store = SqliteStore(tmp_path / "spool", clock=clock_at(time.time()), executors=inline(), reserve_octets=0)
    assert store.committer._writer.value("PRAGMA integrity_check") == "ok"
    now(store.close())
    with pytest.raises(StoreUnavailable):
        store.begin()
