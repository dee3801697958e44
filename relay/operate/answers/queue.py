"""What the control socket can be asked of the queue: what is in it, and changes to it.

The rule that must not be broken: nothing is done to the whole queue unless ``all`` says so; no condition at all is a
mistake.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from relay.message.envelope import Message, Notify
from relay.message.step import Tell
from relay.operate.control import BadRequest, Command, Request, Row
from relay.queue.store import QueuedRecipient, QueueRow, Selection, State, Store

HEADER_SHOWN_OCTETS = 64 * 1024

AGES_S = (300.0, 3600.0, 4 * 3600.0, 86400.0, 3 * 86400.0)
"""Between young and old: five minutes, an hour, four hours, a day, three days."""
COUNTED = 20_000
"""Recipients of one age that are counted: some milliseconds."""
LATER_S = 366 * 86400.0

HELD_BY_OPERATOR = "held by the operator"


class Scheduler(Protocol):
    """What this needs of relay.schedule.runner.Runner."""

    def wake(self) -> None: ...
    def flush(self, lane: str | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class QueueAnswers:
    """Answers questions about one shard's queue."""

    store: Store
    runner: Scheduler
    clock: IReactorTime
    tell: Tell

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {
            "queue.list": self.list,
            "queue.show": self.show,
            "queue.content": self.content,
            "queue.ages": self.ages,
            "queue.flush": self.flush,
            "queue.hold": self.hold,
            "queue.release": self.release,
            "queue.retry": self.retry,
            "queue.remove": self.remove,
        }

    async def list(self, request: Request) -> AsyncGenerator[Row, None]:
        """A row for each recipient that the selection has; all of them when it has no condition."""
        selection, after = selection_of(request), request.text("after") or ""
        newest_first = request.flag("newest_first")
        request.no_more()
        async for row in self.store.list(selection, after, newest_first):
            yield row_of(row)

    async def show(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row: a message whole, but for its body."""
        message, recipients = await self._message(request)
        first = message.content
        if first is None:
            content = self.store.open(message.id)
            try:
                first = await content.read()
            finally:
                content.close()
        header = (message.head + first)[:HEADER_SHOWN_OCTETS].partition(b"\r\n\r\n")[0]
        yield {**message_of(message, recipients), "header": header.decode("utf-8", "replace")}

    async def content(self, request: Request) -> AsyncGenerator[Row, None]:
        """First the message as ``show`` has it, then its octets in pieces, in base64."""
        message, recipients = await self._message(request)
        yield message_of(message, recipients)
        yield _piece(message.head)
        if message.content is not None:
            yield _piece(message.content)
            return
        content = self.store.open(message.id)
        try:
            while piece := await content.read():
                yield _piece(piece)
        finally:
            content.close()

    async def ages(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row: how many recipients have been in the queue for how long.

        ages      youngest first: from ``from_s`` and less than ``below_s`` seconds (None: or longer), ``recipients``
        at_least  there may be more than that in some of them
        """
        request.no_more()
        now, counts = self.clock.seconds(), self.store.counts()
        edges = [0.0, *AGES_S]
        begins = [now - edge for edge in AGES_S] + [0.0]
        ends = [now + LATER_S, *begins[:-1]]  # a clock may have been set back
        found = list(await self.store.ages(list(zip(begins, ends, strict=True)), COUNTED))
        full = [at for at, number in enumerate(found) if number >= COUNTED]
        if len(full) == 1:  # all others are known, and so is the sum
            found[full[0]] = max(COUNTED, sum(counts.recipients.values()) - sum(found) + COUNTED)
        yield {
            "ages": [
                {"from_s": edge, "below_s": below, "recipients": number}
                for edge, below, number in zip(edges, [*AGES_S, None], found, strict=True)
            ],
            "at_least": len(full) > 1,
        }

    async def _message(self, request: Request) -> tuple[Message, tuple[QueuedRecipient, ...]]:
        message_id = request.text("id")
        request.no_more()
        found = await self.store.read(message_id or "")
        if found is None:
            raise BadRequest(f"there is no message {message_id} in the queue; it may have been delivered meanwhile")
        return found

    async def flush(self, request: Request) -> AsyncGenerator[Row, None]:
        """Tries now what waits, for some destinations or for all, and ends their rests."""
        lanes = request.texts("destinations")
        request.no_more()
        changed = await self.store.retry(Selection(lanes=lanes), self.clock.seconds())
        for lane in lanes or (None,):
            self.runner.flush(lane)
        yield {"changed": changed}

    async def hold(self, request: Request) -> AsyncGenerator[Row, None]:
        why = request.text("why") or HELD_BY_OPERATOR
        yield await self._change(request, "held", lambda chosen: self.store.hold(chosen, why))

    async def release(self, request: Request) -> AsyncGenerator[Row, None]:
        now = self.clock.seconds()
        yield await self._change(request, "released", lambda chosen: self.store.release(chosen, now))

    async def retry(self, request: Request) -> AsyncGenerator[Row, None]:
        now = self.clock.seconds()
        yield await self._change(request, None, lambda chosen: self.store.retry(chosen, now))

    async def remove(self, request: Request) -> AsyncGenerator[Row, None]:
        yield await self._change(request, "removed", self.store.remove)

    async def _change(self, request: Request, step: str | None, change: Callable[[Selection], Deferred[int]]) -> Row:
        """Changes what the selection has; one that has no condition must say ``all``."""
        selection, everything = selection_of(request), request.flag("all")
        request.no_more()
        if selection == Selection() and not everything:
            raise BadRequest("say which: ids, a sender, recipient or domain, destinations or a state; or all")
        changed = await change(selection)
        self.runner.wake()
        if step is not None and changed:
            self.tell(
                step, recipients=changed, id=selection.ids[0] if len(selection.ids) == 1 else None, place="control"
            )
        return {"changed": changed}


def selection_of(request: Request) -> Selection:
    """The selection that the fields of a request mean.  Raises BadRequest."""
    state = request.text("state")
    if state is not None and state not in [known.value for known in State]:
        raise BadRequest(f"state must be one of {', '.join(known.value for known in State)}")
    return Selection(
        ids=request.texts("ids"),
        sender=request.text("sender"),
        recipient=request.text("recipient"),
        lanes=request.texts("destinations"),
        state=State(state) if state is not None else None,
        recipient_domain=request.text("domain"),
    )


def row_of(row: QueueRow) -> Row:
    """A recipient in the queue, with the names that the log uses."""
    return {
        "id": row.message_id,
        "sender": row.sender,
        "recipient": row.recipient,
        "state": row.state.value,
        "destination": row.lane,
        "accepted_at": row.accepted_at,
        "next_at": row.due_at if row.state is State.WAITING else None,
        "attempts": row.attempts,
        "size": row.size,
        "error": row.note,
    }


def message_of(message: Message, recipients: Sequence[QueuedRecipient]) -> Row:
    """A message and its envelope."""
    envelope, origin = message.envelope, message.origin
    return {
        "id": message.id,
        "sender": str(envelope.reverse_path) if envelope.reverse_path else "<>",
        "accepted_at": message.accepted_at,
        "size": message.size,
        "body": envelope.body.value,
        "smtputf8": envelope.smtputf8,
        "ret": envelope.ret.value if envelope.ret else None,
        "envid": envelope.envid,
        "client": origin.client_ip,
        "client_name": origin.client_name,
        "helo": origin.helo,
        "protocol": origin.protocol,
        "login": origin.login,
        "recipients": [_recipient_of(recipient) for recipient in recipients],
    }


def _recipient_of(row: QueuedRecipient) -> Row:
    notify = row.recipient.notify
    return {
        "recipient": str(row.recipient.address),
        "state": row.state.value,
        "destination": row.lane,
        "next_at": row.due_at if row.state is State.WAITING else None,
        "attempts": row.attempts,
        "error": row.note,
        "orcpt": row.recipient.orcpt,
        "notify": [flag.name for flag in Notify if flag & notify] if notify is not None else None,
        "warned": row.warned,
    }


def _piece(data: bytes) -> Row:
    return {"data": base64.b64encode(data).decode("ascii")}
