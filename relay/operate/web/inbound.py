"""The body of a request as it comes, for what may be too large to be in memory.

The rule that must not be broken: no more is ahead of who takes it than a few pieces; until these are taken, the client
is not read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable

from twisted.internet.defer import Deferred

AHEAD_OCTETS = 128 * 1024


class BrokenOff(Exception):
    """The client hung up in the midst of it."""


class TooLarge(Exception):
    """More came than may."""


def too_large(limit_octets: int, advice: str) -> str:
    """Why a body is refused, and what helps."""
    return f"more was sent than the {limit_octets:,} octets that are taken here; {advice}"


class Inbound:
    """See the module.  Is iterated once, piece by piece.

    length  octets, where the client has told it
    advice  for who sends more than ``limit_octets``
    pause, resume  stop and go on reading from the client
    """

    def __init__(
        self,
        length: int | None,
        limit_octets: int,
        pause: Callable[[], object],
        resume: Callable[[], object],
        advice: str = "send less",
    ) -> None:
        self.length = length
        self.advice = advice
        self.limit_octets = limit_octets
        self._left_octets = limit_octets
        self._pause = pause
        self._resume = resume
        self._pieces: deque[bytes] = deque()
        self._ahead = 0
        self._is_paused = False
        self._is_whole = False
        self._is_unwanted = False
        self._why: Exception | None = None
        self._more: Deferred[None] | None = None

    @property
    def is_too_large(self) -> bool:
        """More came than may, or is going to come."""
        return self._left_octets < 0 or (self.length or 0) > self.limit_octets

    # -- the client's side -------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        self._left_octets -= len(data)
        if self.is_too_large and self._why is None:
            self._why = TooLarge()
        if self._is_unwanted or self._why is not None:
            self._wake()
            return
        self._pieces.append(data)
        self._ahead += len(data)
        if self._ahead > AHEAD_OCTETS and not self._is_paused:
            self._is_paused = True
            self._pause()
        self._wake()

    def end(self) -> None:
        """It is here as a whole."""
        self._is_whole = True
        self._wake()

    def break_off(self) -> None:
        """Nothing more will come."""
        if not self._is_whole and self._why is None:
            self._why = BrokenOff()
        self._wake()

    # -- the taker's side --------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next piece.  Raises BrokenOff, TooLarge."""
        while not self._pieces:
            if self._why is not None:
                raise self._why
            if self._is_whole:
                raise StopAsyncIteration
            self._go_on()
            self._more = Deferred()
            await self._more
        piece = self._pieces.popleft()
        self._ahead -= len(piece)
        return piece

    def refuse(self) -> None:
        """Nobody wants the rest: it is read, since who is not heard out does not hear us, and thrown away."""
        self._is_unwanted = True
        self._pieces.clear()
        self._ahead = 0
        self._go_on()

    def _go_on(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._resume()

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None and not more.called:  # it is called already when its waiter was cancelled
            more.callback(None)


async def gathered(pieces: AsyncIterator[bytes]) -> bytes:
    """All of it, for what is bounded."""
    return b"".join([piece async for piece in pieces])
