"""The journal as a store offers it: journeys read in portions, and forgotten in steps (entries.py has the SQL)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred

from relay.message.journey import Entry
from relay.queue import entries
from relay.queue.breath import Breath
from relay.queue.entries import Forget, Forgotten
from relay.queue.ids import to_number, to_text
from relay.queue.listing import Listing
from relay.queue.store import FOR_EVER
from relay.queue.writer import Task

READ_AT_ONCE: Final = 20  # journeys
AHEAD_S: Final = 60.0
"""Ids are never further ahead of the clock; see relay.queue.batch.IDS_AHEAD."""
LOOK_AGAIN_S: Final = 86400.0
"""How often is looked anew at what was in the queue when it was looked at: it may have gone without an entry."""

Read = Callable[[Callable[[], Any]], Deferred[Any]]
"""Does work where the database is read."""

AddTask = Callable[[Task], Deferred[Any]]


class Journal:
    """See the module.

    read  does work in the reading thread
    """

    def __init__(self, listing: Listing, read: Read) -> None:
        self._listing = listing
        self._read = read
        self._looked_up_to = 0
        self._looked_anew = 0.0
        self._next_at = 0.0

    async def journey(self, message_id: str) -> AsyncIterator[Entry]:
        """See Store.journey."""
        message, after = to_number(message_id), 0
        while True:
            found, more = await self._asked(partial(entries.entries, message=message, after=after))
            for entry in found:
                yield entry
            if more is None:
                return
            after = more

    async def journeys(
        self, since: float = 0.0, until: float = FOR_EVER, words: str = "", before: str = ""
    ) -> AsyncIterator[tuple[str, Sequence[Entry]]]:
        """See Store.journeys."""
        # Ids run ahead of the clock after a restart: those near either end are known by their first entry.
        not_below = entries.first_id_of(since)
        certain = range(entries.first_id_of(since + AHEAD_S), entries.first_id_of(until))
        below: int | None = entries.first_id_of(until + AHEAD_S)
        if before:
            below = min(entries.first_id_of(until + AHEAD_S), to_number(before))
        while below is not None:
            ids, below = await self._asked(partial(entries.ids, below=below, not_below=not_below, words=words))
            for at in range(0, len(ids), READ_AT_ONCE):
                some = ids[at : at + READ_AT_ONCE]
                begun = await self._asked(partial(entries.beginnings, messages=some))
                for message in some:
                    found, more = begun[message]
                    if message not in certain and found and not since <= found[0][0] < until:
                        continue
                    yield to_text(message), found
                    while more is not None:
                        found, more = await self._asked(partial(entries.entries, message=message, after=more))
                        yield to_text(message), found

    def _asked(self, ask: Callable[..., Any]) -> Deferred[Any]:
        return self._read(lambda: self._listing.asked(ask))

    async def forget(self, before: float, octets: int, is_over: bool, add: AddTask, breath: Breath) -> int:
        """See Store.forget.

        is_over  there is more than these octets
        """
        gone = 0
        if not self._looked_anew <= before < self._looked_anew + LOOK_AGAIN_S:
            self._looked_up_to, self._looked_anew = 0, before
        elif before < self._next_at and not is_over:
            return 0  # who has no old mail is not woken for it
        while True:
            done: Forgotten = await add(Task(Forget(self._looked_up_to, before, octets)))
            self._looked_up_to = done.looked_up_to
            gone += done.entries
            if done.is_done:
                self._next_at = done.next_at
                return gone
            await breath.take()
