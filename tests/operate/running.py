"""A control socket in a thread, with a queue in memory behind it, for the command line to talk to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from twisted.internet.epollreactor import EPollReactor

from relay.message.address import parse_mailbox
from relay.message.envelope import Body, Envelope, Message, Notify, Origin, Recipient, Ret
from relay.operate.answers.configuration import ConfigurationAnswers
from relay.operate.answers.destinations import DestinationAnswers
from relay.operate.answers.forecast import ForecastAnswers
from relay.operate.answers.queue import QueueAnswers
from relay.operate.answers.status import StatusAnswers
from relay.operate.answers.trace import TraceAnswers
from relay.operate.answers.vitals import VitalsAnswers
from relay.operate.answers.watching import WatchingAnswers
from relay.operate.config import Config, load
from relay.operate.control import listen_for_control
from relay.operate.history import History
from relay.operate.recent import Recent
from relay.queue.store import NewRecipient, State
from relay.receive.watched import at_once
from relay.route.table import RouteTable
from relay.schedule.runner import DestinationStatus
from relay.schedule.settings import ScheduleSettings
from tests.fakes.memory_store import MemoryStore

T = TypeVar("T")

HEAD = b"Received: from client.example\r\n"
ORIGIN = Origin("192.0.2.7", "client.example", "client.example", "ESMTP")


@dataclass
class FakeRunner:
    """What the commands ask of the scheduler."""

    woken: int = 0
    flushed: list[str | None] = field(default_factory=list)
    rested: list[tuple[str, float]] = field(default_factory=list)
    known: Sequence[DestinationStatus] = ()

    def wake(self) -> None:
        self.woken += 1

    def flush(self, lane: str | None = None) -> None:
        self.flushed.append(lane)

    def rest(self, lane: str, seconds: float) -> None:
        self.rested.append((lane, seconds))

    def destinations(self) -> Sequence[DestinationStatus]:
        return self.known


@dataclass
class Running:
    """A relay as the command line sees it."""

    spool: Path
    reactor: EPollReactor
    store: MemoryStore
    runner: FakeRunner
    told: list[tuple[str, dict[str, object]]]
    counts: dict[str, int]
    recent: Recent

    def within(self, work: Callable[[], T]) -> T:
        """Does something in the relay's thread, and gives its result."""
        done = threading.Event()
        results: list[T] = []

        def run() -> None:
            try:
                results.append(work())
            finally:
                done.set()

        self.reactor.callFromThread(run)
        assert done.wait(10)
        return results[0]

    def put(
        self,
        sender: str | None,
        *recipients: str,
        content: bytes = b"Subject: hello\r\n\r\nIt works.\r\n",
        state: State = State.WAITING,
        note: str = "",
        age_s: float = 0,
        attempts: int = 0,
        lane: str = "",
    ) -> str:
        """Puts a message in the queue, by default on its way to the domains of its recipients; gives its id."""

        def commit() -> Message:
            now = self.reactor.seconds()
            draft = self.store.begin()
            draft.write(content)
            envelope = Envelope(
                parse_mailbox(sender) if sender else None, Body.EIGHTBIT, ret=Ret.HDRS, envid="QQ314159"
            )
            rows = [
                NewRecipient(
                    Recipient(parse_mailbox(one), Notify.FAILURE | Notify.DELAY, f"rfc822;{one}"),
                    lane or one.rpartition("@")[2],
                    now + 600,
                    attempts=attempts,
                    state=state,
                    note=note,
                )
                for one in recipients
            ]
            committed: list[Message] = []
            draft.commit(envelope, ORIGIN, HEAD, rows, now - age_s).addCallback(committed.append)
            return committed[0]

        return self.within(commit).id

    def ids(self) -> set[str]:
        return self.within(lambda: set(self.store.messages))

    def states(self) -> list[str]:
        return self.within(
            lambda: [row.state.value for stored in self.store.messages.values() for row in stored.recipients.values()]
        )


@contextmanager
def running_relay(
    spool: Path,
    config: Config | None = None,
    look: Callable[[], Config] | None = None,
    table: RouteTable = RouteTable(),  # noqa: B008  # it never changes
) -> Iterator[Running]:
    """Runs a reactor of its own in a thread, so that the tests' process keeps its one."""
    reactor = EPollReactor()
    store, runner = MemoryStore(reactor), FakeRunner()
    told: list[tuple[str, dict[str, object]]] = []
    counts = {"accepted": 3, "delivered": 2, "deferred": 0}

    def tell(step: str, /, **fields: object) -> None:
        told.append((step, fields))

    recent, history = Recent(), History(reactor, counts)
    config = config or load(spool=spool)
    commands = {
        **DestinationAnswers(store, runner, tell, lambda: table).by_name(),
        **WatchingAnswers(recent, history, reactor).by_name(),
        **ConfigurationAnswers(lambda: config, look, at_once).by_name(),
        **QueueAnswers(store, runner, reactor, tell).by_name(),
        **VitalsAnswers(store, runner, reactor, lambda: 432_000.0, None).by_name(),
        **StatusAnswers(store, runner, reactor, "relay.test", counts, reactor.seconds()).by_name(),
        **TraceAnswers(store).by_name(),
        **ForecastAnswers(store, runner, reactor, ScheduleSettings).by_name(),
    }
    listen_for_control(reactor, spool, commands)
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
    thread.start()
    try:
        yield Running(spool, reactor, store, runner, told, counts, recent)
    finally:
        reactor.callFromThread(reactor.stop)
        thread.join(10)
