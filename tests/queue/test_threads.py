"""With the real reactor and real threads: what a test without them cannot show."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import mock

from twisted.internet import defer, reactor
from twisted.trial.unittest import TestCase

from relay.queue import threads as threads_module
from relay.queue.sqlite import SqliteStore
from relay.queue.store import EVERYTHING, Settlement, StoreUnavailable
from relay.queue.threads import Threads, run_in, threads
from tests.conformance.mail import FULL_ENVELOPE, ORIGIN, to


class ThreadedStoreTests(TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.store = self.opened()

    def opened(self) -> SqliteStore:
        place = Path(self.folder.name) / "spool"
        return SqliteStore(place, clock=reactor, executors=threads(reactor), reserve_octets=0)  # type: ignore[arg-type]

    def tearDown(self) -> defer.Deferred[None]:
        return self.store.close()

    def commit(self, content: bytes) -> defer.Deferred[Any]:
        draft = self.store.begin()
        draft.write(content)
        at = reactor.seconds()  # type: ignore[attr-defined]
        return draft.commit(FULL_ENVELOPE, ORIGIN, b"", (to("bob@example.org", due_at=at),), at)

    @defer.inlineCallbacks
    def test_mail_goes_all_the_way(self) -> Generator[Any, Any, None]:
        messages = yield defer.gatherResults([self.commit(b"x" * size) for size in (1, 1000, 70_000, 200_000) * 20])
        assert self.store.counts().messages == 80
        at = reactor.seconds()  # type: ignore[attr-defined]
        leased = yield self.store.lease(at + 1, at + 900, 100)
        assert {one.message for one in leased} == set(messages)
        content = self.store.open(messages[3].id)
        octets = 0
        while piece := (yield content.read()):
            octets += len(piece)
        content.close()
        assert octets == 200_000
        yield defer.gatherResults([self.store.record(Settlement(one.id, finished=(0,))) for one in messages])
        assert self.store.counts().messages == 0

    @defer.inlineCallbacks
    def test_a_closed_store_can_be_opened_again_at_once(self) -> Generator[Any, Any, None]:
        message = yield self.commit(b"x" * 100_000)
        waiting = self.commit(b"under way")
        yield self.store.close()
        yield waiting
        self.store = self.opened()
        found = yield self.store.read(message.id)
        assert found[0] == message
        assert self.store.counts().messages == 2

    @defer.inlineCallbacks
    def test_no_thread_is_left_behind(self) -> Generator[Any, Any, None]:
        yield self.commit(b"x" * 100_000)
        yield self.store.retry(EVERYTHING, 0)
        assert [thread for thread in threading.enumerate() if thread.name.startswith("relay-")]
        yield self.store.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("relay-")]

    @defer.inlineCallbacks
    def test_what_work_raises_comes_back_in_the_reactors_thread(self) -> Generator[Any, Any, None]:
        executors = threads(reactor)  # type: ignore[arg-type]

        def work() -> None:
            raise StoreUnavailable(threading.current_thread().name)

        with self.assertRaises(StoreUnavailable) as raised:
            yield run_in(executors.files, work)
        assert str(raised.exception) == "relay-files-0"
        assert threading.current_thread() is threading.main_thread()
        executors.files.close()


class ScarceThreadsTests(TestCase):
    """The system has no thread to give: what is to be done waits until it has."""

    @defer.inlineCallbacks
    def test_work_waits_until_a_thread_can_be_started(self) -> Generator[Any, Any, None]:
        place = Threads(reactor, "scarce")  # type: ignore[arg-type]
        start = threading.Thread.start
        refusals = iter([RuntimeError("can't start new thread")] * 2)

        def scarce(thread: threading.Thread) -> None:
            for refusal in refusals:
                raise refusal
            start(thread)

        with mock.patch.object(threads_module, "START_AGAIN_S", 0.01), mock.patch.object(Thread, "start", scarce):
            first = run_in(place, lambda: 1)
            second = yield run_in(place, lambda: 2)
        assert second == 2
        assert (yield first) == 1
        place.close()

    def test_what_never_had_a_thread_is_done_when_it_is_closed(self) -> None:
        place = Threads(reactor, "scarce")  # type: ignore[arg-type]
        done: list[int] = []
        with mock.patch.object(Thread, "start", side_effect=RuntimeError("can't start new thread")):
            run_in(place, lambda: done.append(1))
        place.close()
        assert done == [1]
        for call in reactor.getDelayedCalls():  # type: ignore[attr-defined]
            call.cancel()
