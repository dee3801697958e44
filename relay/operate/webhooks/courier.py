"""Brings what one journal has to one receiver: in order, again and again until it is taken.

    taken (2xx)            the next ones
    not for its content    (4xx that blames the request) in smaller parts; one event alone that is refused again and
                           again is dropped, so that it does not stop all that come after it
    not just now           (all else) the same again, after a wait that grows

The place in the journal moves on when events are taken; it is kept on disk, a little behind, so that after a crash some
come twice, with the same ids, and none is left out.  What the journal forgets meanwhile is dropped.

The rules that must not be broken: what is dropped is told; and no more than one batch is in memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.message.step import Tell
from relay.operate.webhooks.events import Event, events_of
from relay.operate.webhooks.signature import UnusableSecret, signed
from relay.queue.store import Followed, Noted, Place, StoreUnavailable

POLL_S = 1.0
ENTRIES_AT_ONCE = 200
EVENTS_AT_ONCE = 500
"""The most in one request; one entry of the journal may have a thousand recipients."""
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 600.0
REFUSALS_LIMIT = 5
"""So often an event alone is refused before it is dropped."""
TELL_AGAIN_S = 3600.0
NOT_ITS_CONTENT = frozenset({401, 402, 403, 404, 405, 407, 408, 409, 410, 421, 423, 425, 426, 429})
"""4xx that say nothing of what was sent."""

_log = Logger()
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Journals(Protocol):
    """What this needs of relay.queue.store.Store."""

    def follow(self, after: Place, limit: int) -> Deferred[Followed]: ...
    def journal_end(self) -> Deferred[Place]: ...


class Post(Protocol):
    """Sends a body; gives the status that answers it.  Fails with an Exception whose text says why there is none."""

    def __call__(self, body: bytes, fields: Mapping[str, str], /) -> Deferred[int]: ...


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told.

    name    for the log: its address, without what may be a secret in it
    events  the kinds that it wants
    secret  gives what requests are signed with; raises UnusableSecret
    place   where it stands in the configuration
    """

    name: str
    events: Collection[str]
    secret: Callable[[], bytes]
    post: Post
    place: str


class Courier:
    """See the module.

    place     behind what was taken; None: nothing yet, and it begins with what comes
    behind    entries of the journal that are still to be looked at
    sent      events that were taken
    failures  requests that were not
    dropped   events, or entries of the journal, that nobody took
    trouble   why the last request failed; empty when it did not
    since     when that began, seconds since the epoch
    next_at   when it is tried again
    moved     called when the place has moved
    """

    def __init__(
        self,
        journal: Journals,
        receiver: Receiver,
        origin: str,
        clock: IReactorTime,
        chance: Random,
        tell: Tell,
        place: Place | None = None,
        moved: Callable[[], object] = lambda: None,
    ) -> None:
        """origin  who we are: the relay's name"""
        self.receiver = receiver
        self.place = place
        self.behind = 0
        self.sent = self.failures = self.dropped = 0
        self.trouble = ""
        self.since: float | None = None
        self.next_at: float | None = None
        self._journal = journal
        self._origin = origin
        self._clock = clock
        self._chance = chance
        self._tell = tell
        self._moved = moved
        self._most = EVENTS_AT_ONCE
        self._in_a_row = 0
        self._refusals = 0
        self._told_at = float("-inf")
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        self._running = Deferred.fromCoroutine(self._run()).addErrback(self._ended)

    def stop(self) -> None:
        """What is under way is given up, and sent again by who goes on from this place."""
        if self._running is not None:
            self._running.cancel()

    def _ended(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            _log.failure("webhooks: {name}", failure, name=self.receiver.name)

    async def _run(self) -> None:
        while True:
            try:
                if self.place is None:
                    self.place = await self._journal.journal_end()
                found = await self._journal.follow(self.place, ENTRIES_AT_ONCE)
            except StoreUnavailable:
                await self._wait(FIRST_WAIT_S)
                continue
            if found.missed:
                self._drop(found.missed, "the journal has forgotten entries before they were taken")
            self.behind = found.behind
            await self._bring(found.entries)
            if found.place != self.place:
                self.place = found.place
                self._moved()
            if len(found.entries) < ENTRIES_AT_ONCE:
                await self._wait(POLL_S)

    async def _bring(self, entries: Sequence[Noted]) -> None:
        """The events of these entries, in requests that are not too large."""
        batch: list[Event] = []
        for noted in entries:
            batch += events_of(noted, self.receiver.events)
            if len(batch) >= EVENTS_AT_ONCE:
                await self._deliver(batch)
                batch = []
        await self._deliver(batch)

    async def _deliver(self, events: list[Event]) -> None:
        while events:
            part = events[: self._most]
            status = await self._send(part)
            if 200 <= status < 300:
                self._taken(len(part))
            elif not _blames_content(status):
                await self._wait_after_failure()
                continue
            elif len(part) > 1:
                self._most = max(1, len(part) // 2)
                continue
            else:
                self._refusals += 1
                if self._refusals < REFUSALS_LIMIT:
                    await self._wait_after_failure()
                    continue
                self._drop(1, f"it refuses {part[0]['event_id']} again and again: {self.trouble}")
                self._refusals = 0
            events = events[len(part) :]

    async def _send(self, events: Sequence[Event]) -> int:
        """The status of the answer; 0 when there is none."""
        now = self._clock.seconds()
        timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        said = {"type": "relay.events", "timestamp": timestamp, "data": {"relay": self._origin, "events": events}}
        body = _encode(said).encode("utf-8", "backslashreplace")
        name = f"{events[0]['event_id']}-{events[-1]['event_id']}"
        try:
            fields = signed(self.receiver.secret(), name, now, body)
        except UnusableSecret as error:
            return self._failed(0, f"its secret cannot be used: {error}")
        try:
            status = await self.receiver.post(body, fields)
        except CancelledError:
            raise
        except Exception as error:  # no name, no connection, no certificate, no answer in time
            return self._failed(0, str(error))
        if not 200 <= status < 300:
            return self._failed(status, f"it answers {status}")
        return status

    def _taken(self, count: int) -> None:
        self.sent += count
        self._in_a_row = self._refusals = 0
        self._most = min(EVENTS_AT_ONCE, self._most * 2)
        self.trouble, self.since, self.next_at = "", None, None
        self._told_at = float("-inf")

    def _failed(self, status: int, why: str) -> int:
        now = self._clock.seconds()
        self.failures += 1
        self.trouble = why
        self.since = self.since if self.since is not None else now
        if now >= self._told_at + TELL_AGAIN_S:
            self._told_at = now
            about = f"nothing can be told to {self.receiver.name} just now: {why}"
            self._tell("trouble", place=self.receiver.place, error=about)
        return status

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        self._tell("trouble", place=self.receiver.place, error=f"{self.receiver.name} was not told of {count}: {why}")

    async def _wait_after_failure(self) -> None:
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**self._in_a_row) * (0.75 + 0.5 * self._chance.random())
        self._in_a_row = min(self._in_a_row + 1, 20)
        self.next_at = self._clock.seconds() + wait_s
        await self._wait(wait_s)

    async def _wait(self, seconds: float) -> None:
        await deferLater(self._clock, seconds)


def _blames_content(status: int) -> bool:
    return 400 <= status < 500 and status not in NOT_ITS_CONTENT
