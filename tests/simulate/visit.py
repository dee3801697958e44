"""A client's connection to the relay, and the script that it follows.

A script is a generator that sends commands, gets the next reply for each bare ``yield``, and waits when it yields a
number of seconds.  What the relay says is held against what was asked, reply by reply.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from random import Random
from typing import TYPE_CHECKING

from relay.testing import certificates
from relay.testing.clock import Call
from relay.testing.link import Transport
from tests.simulate.ledger import Letter

if TYPE_CHECKING:
    from tests.simulate.world import World

PATIENCE_S = 630.0
PIECE_OCTETS = 16 * 1024


class Said:
    """A reply."""

    def __init__(self, code: int, lines: list[str]) -> None:
        self.code = code
        self.lines = lines

    def __str__(self) -> str:
        return f"{self.code} {' / '.join(self.lines)}"


Script = Generator[float | None, Said, None]
Step = Generator[float | None, Said, bool]
"""A part of a script, which gives whether to go on."""


class Visit:
    """One connection of a client, and what it wants to hand in.

    opening    how it opens the session; gives whether it is open
    way        what it does then
    """

    def __init__(
        self,
        world: World,
        letters: list[Letter],
        way: Callable[[Visit], Script],
        chance: Random,
        opening: Callable[[Visit], Step],
    ) -> None:
        self.world = world
        self.letters = letters
        self.chance = chance
        self.is_over = False
        self._script = self._whole(opening, way)
        self._buffer = b""
        self._lines: list[str] = []
        self._replies: list[Said] = []
        self._waits = True  # for a reply, and not for time to pass
        self._end: Transport | None = None
        self._patience: Call | None = None

    def _whole(self, opening: Callable[[Visit], Step], way: Callable[[Visit], Script]) -> Script:
        if (yield from opening(self)):
            yield from way(self)

    # -- what the network calls -----------------------------------------------------------------

    def makeConnection(self, end: Transport) -> None:
        self._end = end
        self._be_patient()
        next(self._script)

    def dataReceived(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            self._lines.append(text[4:])
            if text[3:4] != "-":
                self._replies.append(Said(int(text[:3]), self._lines))
                self._lines = []
        self._go_on()

    def connectionLost(self, reason: object) -> None:
        self._over()

    # -- what the script calls ------------------------------------------------------------------

    def say(self, *lines: str) -> None:
        self.send("".join(f"{line}\r\n" for line in lines).encode())

    def send(self, data: bytes) -> None:
        if self._end is not None:
            self._end.write(data)

    def begin_tls(self) -> None:
        """From now on within TLS; what is said before the handshake is over waits for that."""
        if self._end is not None:
            self._end.startTLS(certificates.client())

    def drop(self) -> None:
        """Cuts the connection off, after what was sent."""
        if self._end is not None:
            self._end.abortConnection() if self.chance.random() < 0.5 else self._end.loseConnection()

    def relay_is_there(self) -> bool:
        """Whether the relay still has its end of this connection, and can reach ours."""
        return self._end is not None and not self._end.link.is_broken and not self._end.other.disconnected

    def wrong(self, what: str) -> None:
        self.world.violated(f"a client was answered wrongly: {what}")

    # -- how it goes on -------------------------------------------------------------------------

    def _go_on(self) -> None:
        while self._waits and self._replies and not self.is_over:
            self._be_patient()
            self._advance(self._replies.pop(0))

    def _advance(self, said: Said | None) -> None:
        try:
            pause_s = self._script.send(said)  # type: ignore[arg-type]
        except StopIteration:
            if self._end is not None:
                self._end.loseConnection()
            self._over()
            return
        if pause_s is not None:
            self._waits = False
            self.world.clock.callLater(pause_s, self._paused)

    def _paused(self) -> None:
        if not self.is_over:
            self._waits = True
            self._advance(None)
            self._go_on()

    def _be_patient(self) -> None:
        if self._patience is None:
            self._patience = self.world.clock.callLater(PATIENCE_S, self._impatient)
        elif self._patience.active():
            self._patience.reset(PATIENCE_S)

    def _impatient(self) -> None:
        if self._end is not None:
            self._end.abortConnection()
        self._over()

    def _over(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._end = None
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._script.close()
