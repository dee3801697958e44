"""What the control socket can be asked: the queue, the destinations, the state of the relay.

Rows use the field names of the log (relay.message.step), times are seconds since the epoch.  The rule that must
not be broken: nothing is done to the whole queue unless ``all`` says so; no condition at all is a mistake.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from relay import __version__
from relay.message.envelope import Message, Notify
from relay.message.step import Tell
from relay.operate.control import BadRequest, Command, Request, Row
from relay.queue.store import QueuedRecipient, QueueRow, Selection, State, Store

DESTINATIONS_SHOWN = 200
HEADER_SHOWN_OCTETS = 64 * 1024

HELD_BY_OPERATOR = "held by the operator"


class Destination(Protocol):
    """What the scheduler tells of a destination; relay.schedule.runner.DestinationStatus."""

    @property
    def lane(self) -> str: ...
    @property
    def window(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def resting_until(self) -> float | None: ...
    @property
    def failures(self) -> int: ...
    @property
    def last_error(self) -> str: ...


class Scheduler(Protocol):
    """What this needs of relay.schedule.runner.Runner."""

    def wake(self) -> None: ...
    def flush(self, lane: str | None = None) -> None: ...
    def destinations(self) -> Sequence[Destination]: ...


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands, with whom they are about.

    counts      step -> how often it was made since the start
    """

    store: Store
    runner: Scheduler
    clock: IReactorTime
    tell: Tell
    hostname: str
    counts: Mapping[str, int]
    started_at: float

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {
            "status": self.status,
            "queue.list": self.list,
            "queue.show": self.show,
            "queue.content": self.content,
            "queue.flush": self.flush,
            "queue.hold": self.hold,
            "queue.release": self.release,
            "queue.retry": self.retry,
            "queue.remove": self.remove,
        }

    async def status(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row: the relay, its queue in numbers, and the destinations that have most to do."""
        request.no_more()
        lanes = await self.store.lanes(DESTINATIONS_SHOWN)
        counts = self.store.counts()
        now = self.clock.seconds()
        yield {
            "version": __version__,
            "hostname": self.hostname,
            "pid": os.getpid(),
            "started_at": self.started_at,
            "uptime_s": round(now - self.started_at, 3),
            "queue": {
                "messages": counts.messages,
                "octets": counts.octets,
                "recipients": {state.value: counts.recipients.get(state, 0) for state in State},
                "oldest_at": counts.oldest_at,
                "set_aside": counts.set_aside,
            },
            "destinations": _destinations(self.runner.destinations(), lanes),
            "steps": dict(self.counts),
        }

    async def list(self, request: Request) -> AsyncGenerator[Row, None]:
        """A row for each recipient that the selection has; all of them when it has no condition."""
        selection, after = selection_of(request), request.text("after") or ""
        request.no_more()
        async for row in self.store.list(selection, after):
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

    async def _message(self, request: Request) -> tuple[Message, tuple[QueuedRecipient, ...]]:
        message_id = request.text("id")
        request.no_more()
        found = await self.store.read(message_id or "")
        if found is None:
            raise BadRequest(f"there is no message {message_id} in the queue; it may have been delivered meanwhile")
        return found

    async def flush(self, request: Request) -> AsyncGenerator[Row, None]:
        """Tries now what waits, for one destination or for all, and ends their rests."""
        lane = request.text("destination")
        request.no_more()
        changed = await self.store.retry(Selection(lane=lane), self.clock.seconds())
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
            raise BadRequest("say which: ids, a sender, recipient, domain, destination or state; or all")
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
        lane=request.text("destination"),
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


def _destinations(active: Sequence[Destination], lanes: Mapping[str, int]) -> Sequence[Row]:
    """Destinations at work or with mail that waits; those with most first."""
    waiting = dict(lanes)
    rows: list[Row] = [
        {
            "destination": one.lane,
            "waiting": max(waiting.pop(one.lane, 0), one.waiting),
            "in_flight": one.in_flight,
            "window": one.window,
            "resting_until": one.resting_until,
            "failures": one.failures,
            "error": one.last_error,
        }
        for one in active
    ]
    rows += [{"destination": lane, "waiting": count, "in_flight": 0} for lane, count in waiting.items()]
    rows.sort(key=lambda row: (-int(str(row["waiting"])), str(row["destination"])))
    return rows[:DESTINATIONS_SHOWN]


def _piece(data: bytes) -> Row:
    return {"data": base64.b64encode(data).decode("ascii")}
