"""Time in the simulated world: it leaps from one event to the next.

``WorldClock`` is everybody's; ``LifeClock`` is what one life of the relay gets for a reactor.  When that life ends
by a crash, whatever it had still planned never happens.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

EPOCH = 1_900_000_000.0
"""When all worlds begin, seconds since the epoch."""


@implementer(IDelayedCall)
class Call:
    """One planned event; a heap entry whose number is not ``turn`` any more is void."""

    __slots__ = ("_clock", "args", "at", "called", "cancelled", "keywords", "life", "turn", "what")

    def __init__(self, clock: WorldClock, at: float, life: LifeClock | None, what: Any, args: Any, kw: Any) -> None:
        self._clock = clock
        self.at = at
        self.life = life
        self.what = what
        self.args = args
        self.keywords = kw
        self.called = self.cancelled = False
        self.turn = 0

    def getTime(self) -> float:
        return self.at

    def active(self) -> bool:
        return not (self.called or self.cancelled)

    def cancel(self) -> None:
        self._must_be_active()
        self.cancelled = True
        self.turn = -1

    def reset(self, seconds: float) -> None:
        self._must_be_active()
        self.at = self._clock.now + seconds
        self._clock.push(self)

    def delay(self, seconds: float) -> None:
        self._must_be_active()
        self.at += seconds
        self._clock.push(self)

    def _must_be_active(self) -> None:
        if self.cancelled:
            raise AlreadyCancelled()
        if self.called:
            raise AlreadyCalled()


@implementer(IReactorTime)
class WorldClock:
    """now  seconds since the epoch"""

    def __init__(self) -> None:
        self.now = EPOCH
        self.events = 0
        self._heap: list[tuple[float, int, Call]] = []
        self._turn = 0

    def seconds(self) -> float:
        return self.now

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> Call:
        return self.plan(None, delay, callable, args, kwargs)

    def plan(self, life: LifeClock | None, delay: float, what: Any, args: Any, kw: Any) -> Call:
        assert delay >= 0, f"{delay} is in the past"
        call = Call(self, self.now + delay, life, what, args, kw)
        self.push(call)
        return call

    def push(self, call: Call) -> None:
        self._turn += 1
        call.turn = self._turn
        heapq.heappush(self._heap, (call.at, self._turn, call))

    def getDelayedCalls(self) -> list[Call]:
        return [call for _, turn, call in self._heap if call.turn == turn]

    def next_at(self) -> float | None:
        """When the next event comes."""
        heap = self._heap
        while heap:
            at, turn, call = heap[0]
            if call.turn == turn and not (call.life is not None and call.life.is_over):
                return at
            heapq.heappop(heap)
        return None

    def step(self) -> None:
        """The next event happens; ``next_at`` has just said that there is one."""
        at, _, call = heapq.heappop(self._heap)
        self.now = max(self.now, at)
        self.events += 1
        call.called = True
        call.turn = -1
        call.what(*call.args, **call.keywords)


@implementer(IReactorTime)
class LifeClock:
    """The reactor of one life of a process of the relay.

    sockets  where its unix sockets are: the world's network
    """

    def __init__(self, world: WorldClock, sockets: Any = None) -> None:
        self._world = world
        self._sockets = sockets
        self.is_over = False

    def seconds(self) -> float:
        return self._world.now

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> Call:
        return self._world.plan(self, delay, callable, args, kwargs)

    def getDelayedCalls(self) -> list[Call]:
        return [call for call in self._world.getDelayedCalls() if call.life is self]

    def listenUNIX(self, path: str, factory: Any, **kw: object) -> Any:
        return self._sockets.listen_on(self, path, factory)

    def connectUNIX(self, path: str, factory: Any, timeout: float = 30, checkPID: bool = False) -> Any:
        return self._sockets.connect_to(self, path, factory)
