"""One message: as it is in the queue, if it still is, and its journey so far."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar

from relay.operate.asking import Refusal
from relay.operate.web.journey import journey_of
from relay.operate.web.page import Call, Elsewhere, Page, Row, Shown, error, no_in_words
from relay.operate.web.pages.queue import WISHES

RECIPIENTS_SHOWN = 500
NAMED = 3


class Message(Page):
    """/message/ID"""

    name: ClassVar[str] = "message"
    title: ClassVar[str] = "Message"
    depth: ClassVar[int] = 1

    async def show(self, call: Call) -> Shown | Elsewhere:
        if len(call.rest) != 1:
            return Elsewhere("/queue")
        message_id = call.rest[0]
        queued, not_queued = await self._first("queue.show", message_id)
        entries, untold = await self._all("trace.show", message_id)
        if queued is None and not entries:
            return error(
                HTTPStatus.NOT_FOUND,
                f"Nothing is known of {message_id}. {not_queued} If it was delivered, its journey may have been "
                "forgotten since, or the journal is switched off.",
            )
        recipients = queued["recipients"] if queued is not None else []
        sender, to = between(queued, entries)
        return Shown(
            "message.html",
            {
                "title": f"Message {message_id}",
                "id": message_id,
                "queued": queued,
                "recipients": recipients[:RECIPIENTS_SHOWN],
                "more": len(recipients) - RECIPIENTS_SHOWN,
                "sender": sender,
                "to": to[:NAMED],
                "to_more": len(to) - NAMED,
                "states": sorted({one["state"] for one in recipients}),
                "journey": journey_of(entries),
                "untold": untold,
                "wishes": WISHES,
            },
        )

    async def _first(self, do: str, message_id: str) -> tuple[Row | None, str]:
        rows, why = await self._all(do, message_id)
        return (rows[0] if rows else None), why

    async def _all(self, do: str, message_id: str) -> tuple[list[Row], str]:
        """The rows; none, and why, when the relay says no to the question."""
        try:
            return await self.house.asks.ask(do, id=message_id), ""
        except Refusal as refusal:
            if refusal.kind != "request":
                raise
            return [], no_in_words(refusal)


def between(queued: Row | None, entries: Sequence[Row]) -> tuple[str, Sequence[str]]:
    """From whom it is, and to whom it was: as the client named them, else those whom it has still to reach."""
    came = next((entry for entry in entries if entry["step"] in ("accepted", "refused") and entry.get("sender")), None)
    if came is not None:
        named = [one.get("named", one) for one in came.get("recipients") or ()]
        return str(came["sender"]), [str(one) for one in named]
    return ("", []) if queued is None else (queued["sender"], [one["recipient"] for one in queued["recipients"]])
