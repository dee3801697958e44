"""A relay and a next hop on real sockets and real time, in a thread beside the tests: for programs that speak SMTP.

    def test_my_app_sends_mail(relay_server):
        my_app.configure(smtp_host=relay_server.host, smtp_port=relay_server.port)
        my_app.sign_up("ann@example.org")
        (message,) = relay_server.wait_for_messages(1)
        assert "Welcome" in message.subject

Nothing leaves this machine: all mail goes to the next hop, whatever its domain, and no DNS is asked.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from relay.embed import Relay
from relay.operate.config import Config
from relay.operate.surroundings import Surroundings, real_surroundings
from relay.queue.store import QueueRow, Selection
from relay.testing import certificates
from relay.testing.arrived import Arrived
from relay.testing.hop import NextHop
from relay.testing.names import SeededNames, Zone
from relay.testing.step import Step

START_WITHIN_S = 30.0
LOOK_EVERY_S = 0.01


class RelayServer:
    """See the module.  A context manager; the fixture ``relay_server`` is one.

    host, port  where the relay takes mail, from this machine
    next_hop    where all of it goes.  On real sockets ``is_down`` means that connections are reset at once, and
                ``is_away`` that nothing is ever said
    log         every step that the relay told, in order
    """

    host = "127.0.0.1"

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """config  what relay.yaml would say, where it is to be other than ``defaults`` has it"""
        self.port = 0
        self.log: list[Step] = []
        self._given = dict(config or {})
        self._folder = Path(tempfile.mkdtemp(prefix="relay-server-"))
        self._reactor: Any = PollReactor()
        self.next_hop = NextHop("mx.example.org", self.host, self._reactor, secure=certificates.server)
        self._thread = threading.Thread(target=self._run, name="relay-server", daemon=True)
        self._relay: Relay
        self._hop_port = 0

    def __enter__(self) -> RelayServer:
        self._thread.start()
        try:
            self._within(self._begin)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._within(self._end)
        finally:
            self._reactor.callFromThread(self._reactor.stop)
            self._thread.join()
            shutil.rmtree(self._folder, ignore_errors=True)

    def defaults(self) -> dict[str, Any]:
        """The configuration where nobody says otherwise."""
        return {
            "hostname": "relay.example",
            "spool": str(self._folder / "spool"),
            "listen": [{"endpoint": f"tcp:0:interface={self.host}"}],
            "routes": [{"to": "*", "via": f"smtp://{self.host}:{self._hop_port}"}],
            "retry": {"first": "1s", "longest": "5s"},
            "timeouts": {"shutdown": "1s"},
        }

    # -- what is seen ---------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def messages(self) -> list[Arrived]:
        """What has arrived, in order."""
        return list(self.next_hop.messages)

    def wait_for_messages(self, count: int = 1, within_s: float = 10.0) -> list[Arrived]:
        """What has arrived, once it is so many.  Raises AssertionError when it is not in that time."""
        self.wait_until(lambda: len(self.next_hop.messages) >= count, within_s)
        return self.messages

    def wait_until(self, condition: Callable[[], object], within_s: float = 10.0) -> None:
        """Waits until this is so.  Raises AssertionError when it is not so in that time."""
        until = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < until, f"not so within {within_s:g} seconds; {len(self.messages)} have arrived"
            time.sleep(LOOK_EVERY_S)

    @property
    def queue(self) -> list[QueueRow]:
        """What is in the queue: a row for each recipient that is not finished."""

        async def rows() -> list[QueueRow]:
            return [row async for row in self._relay.store.list()]

        found: list[QueueRow] = self._within(lambda: ensureDeferred(rows()))
        return found

    def flush(self) -> None:
        """What waits is tried now, as by ``relay queue flush``."""
        self._within(lambda: ensureDeferred(self._flush()))

    # -- in its thread --------------------------------------------------------------------------

    def _run(self) -> None:
        self._reactor.run(installSignalHandlers=False)

    def _within(self, work: Callable[[], Any]) -> Any:
        """Does it in the relay's thread; gives its result, that of the Deferred if it is one, or raises."""
        done = threading.Event()
        results: list[Any] = []

        def finished(result: Any) -> None:
            results.append(result)
            done.set()

        self._reactor.callFromThread(lambda: maybeDeferred(work).addBoth(finished))
        assert done.wait(START_WITHIN_S), "the relay does not answer"
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def _begin(self) -> None:
        hops: Any = _Hops(self.next_hop)
        self._hop_port = self._reactor.listenTCP(0, hops, interface=self.host).getHost().port
        config = {**self.defaults(), **self._given}
        self._relay = relay = Relay(config, reactor=self._reactor, surroundings=_without_names)
        relay.follow(lambda step, /, **fields: self.log.append(Step(self._reactor.seconds(), step, fields)))
        relay.startService()
        port: Any = relay.doors.ports[0]
        self.port = port.getHost().port

    def _end(self) -> Deferred[None] | None:
        return self._relay.stopService() if hasattr(self, "_relay") and self._relay.running else None

    async def _flush(self) -> None:
        await self._relay.store.retry(Selection(), self._reactor.seconds())
        self._relay.runner.flush()


class _Hops(Factory):
    """The next hop's port."""

    noisy = False

    def __init__(self, hop: NextHop) -> None:
        self._hop = hop

    def buildProtocol(self, addr: object) -> Any:
        answer = self._hop.answer()
        return answer if hasattr(answer, "dataReceived") else _Nobody(is_down=answer is not None)


class _Nobody:
    """What answers where nobody does."""

    def __init__(self, *, is_down: bool) -> None:
        self._is_down = is_down

    def makeConnection(self, transport: Any) -> None:
        if self._is_down:
            transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Nobody hears it."""

    def connectionLost(self, reason: object) -> None:
        """Nobody minds."""


def _without_names(reactor: Any, config: Config) -> Surroundings:
    names = SeededNames(reactor, Random(0), Zone(), lambda name: "fine")
    return replace(real_surroundings(reactor, config), names=names)
