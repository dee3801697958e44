"""What the control socket can be asked of the journal: which journeys there are, and one of them whole.

The rule that must not be broken: a search reads the journal in portions, and gives what it has found as it goes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.message.journey import Entry, read
from relay.message.outline import FOUND_LIMIT, Outline, is_about, key_of
from relay.operate.control import BadRequest, Command, Request, Row
from relay.queue.store import FOR_EVER


class Journals(Protocol):
    """What this needs of relay.queue.store.Store."""

    def journey(self, message_id: str) -> AsyncIterator[Entry]: ...

    def journeys(
        self, since: float = 0.0, until: float = FOR_EVER, words: str = "", before: str = ""
    ) -> AsyncIterator[tuple[str, Sequence[Entry]]]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which journeys are meant: all given conditions must hold."""

    id: str | None
    message_id: str | None
    address: str | None
    since: float
    until: float
    before: str

    def words(self) -> str:
        """What stands in an entry of each, as far as that can be told without understanding it."""
        if self.message_id:
            return self.message_id if self.message_id.isascii() and _is_plain(self.message_id) else ""
        if self.address:
            local = self.address.partition("@")[0]  # the domain may be written in more than one way
            return local if local.isascii() and _is_plain(local) else ""
        return ""

    def means(self, outline: Outline) -> bool:
        if self.message_id and outline.message_id.strip("<> ") != self.message_id:
            return False
        return not self.address or is_about(outline, self.address)


@dataclass(frozen=True, slots=True)
class TraceAnswers:
    """Answers questions about one shard's journal."""

    store: Journals

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {"trace.find": self.find, "trace.show": self.show, "trace.envelopes": self.envelopes}

    async def find(self, request: Request) -> AsyncGenerator[Row, None]:
        """A row for each journey that is meant, the newest first."""
        wanted, limit = wanted_of(request)
        left = limit
        async for message_id, outline in self._outlines(wanted):
            if left > 0 and wanted.means(outline):
                left -= 1
                yield outline.row(message_id)
            if not left:
                return

    async def show(self, request: Request) -> AsyncGenerator[Row, None]:
        """A row for each entry of one journey, in order of time."""
        message_id = request.text("id") or ""
        request.no_more()
        is_known = False
        async for entry in self.store.journey(message_id):
            is_known = True
            yield read(entry)
        if not is_known:
            raise BadRequest(f"the journal knows nothing of {message_id}; it may have been forgotten, see journal.keep")

    async def envelopes(self, request: Request) -> AsyncGenerator[Row, None]:
        """The first entry of each journey that began since a time, the newest first: what came, from whom and for whom,
        and what was refused."""
        since = request.number("since") or 0.0
        request.no_more()
        known = ""
        async for message_id, entries in self.store.journeys(since):
            if message_id != known and entries:
                yield {"id": message_id, **read(entries[0])}
            known = message_id

    async def _outlines(self, wanted: Wanted) -> AsyncGenerator[tuple[str, Outline], None]:
        if wanted.id is not None:
            outline = Outline()
            async for entry in self.store.journey(wanted.id):
                outline.add(read(entry))
            if outline.is_known:
                yield wanted.id, outline
            return
        known, outline = "", Outline()
        async for message_id, entries in self.store.journeys(wanted.since, wanted.until, wanted.words(), wanted.before):
            if message_id != known:
                if known:
                    yield known, outline
                known, outline = message_id, Outline()
            for entry in entries:
                outline.add(read(entry))
        if known:
            yield known, outline


def wanted_of(request: Request) -> tuple[Wanted, int]:
    """What the fields of a request mean, and how many at most.  Raises BadRequest."""
    message_id, address = request.text("message_id"), request.text("address")
    limit = request.number("limit", least=1)
    wanted = Wanted(
        request.text("id"),
        message_id.strip("<> ") if message_id is not None else None,
        key_of(address) if address is not None else None,
        request.number("since") or 0.0,
        request.number("until") or FOR_EVER,
        request.text("before") or "",
    )
    request.no_more()
    return wanted, int(limit) if limit is not None else FOUND_LIMIT


def _is_plain(text: str) -> bool:
    """Whether it stands in JSON as it is."""
    return text.isprintable() and '"' not in text and "\\" not in text
