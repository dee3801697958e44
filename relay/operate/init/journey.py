"""The journey of one message that was left in the maildrop, told as it goes on.

By the relay's journal where it keeps one; else by what the queue shows, which does not tell how a message left it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from relay.operate.asking import Control, Refusal

Row = Mapping[str, Any]

OVER = ("delivered", "discarded", "failed", "held", "refused", "mixed", "removed", "gone")
"""States after which nothing more is to be waited for."""
LOOK_S = 0.2


class Journey:
    """Follows a message.

    state    queued, or how it ended, as relay trace has it; ``gone``: it has left the queue while some message failed,
             this one perhaps; empty while it was not seen
    entries  what was told so far: at, step, and the fields of the log
    """

    def __init__(self, control: Control, message_id: str, recipient: str, told: Callable[[Row], object]) -> None:
        """message_id  the value of its Message-ID field

        To be made before the message is handed over.  Raises CannotAsk, Refusal.
        """
        self.state = ""
        self.entries: list[Row] = []
        self._control = control
        self._message_id = message_id
        self._recipient = recipient
        self._told = told
        self._has_journal = True
        self._shown = 0
        self._error = ""
        self._failures = self._count_failures()

    def follow(self, patience_s: float, is_left: Callable[[], bool]) -> None:
        """Until it is over, or was tried without success; so long at most.

        is_left  whether it is in the maildrop still

        Raises CannotAsk, Refusal.
        """
        end = time.monotonic() + patience_s
        while self.state not in OVER and not self._has_failed_for_now() and time.monotonic() < end:
            if not self._look(is_left):
                time.sleep(LOOK_S)

    def _has_failed_for_now(self) -> bool:
        return bool(self.entries) and self.entries[-1]["step"] == "deferred"

    def _look(self, is_left: Callable[[], bool]) -> bool:
        """Whether to look again at once, in another way."""
        if not self._has_journal:
            was_left = is_left()  # first: what is in neither has gone on its way
            self._look_into_the_queue(was_left)
            return False
        try:
            self._look_into_the_journal()
        except Refusal as no:
            if no.kind != "request":
                raise
            self._has_journal = False
        return not self._has_journal

    def _look_into_the_journal(self) -> None:
        for found in list(self._control.ask("trace.find", message_id=self._message_id, limit=1)):
            entries = list(self._control.ask("trace.show", id=found["id"]))
            for entry in entries[self._shown :]:
                for line in _flat(entry):
                    self._say(line)
            self._shown = len(entries)
            self.state = found["state"]

    def _look_into_the_queue(self, was_left: bool) -> None:
        rows = list(self._control.ask("queue.list", recipient=self._recipient))
        row = next((row for row in reversed(rows) if self._is_ours(row)), None)
        if row is not None:
            self._take(row)
        elif not was_left:
            self.state = "delivered" if self._count_failures() == self._failures else "gone"

    def _count_failures(self) -> int:
        """How many recipients of any message have failed so far."""
        steps = self._control.ask_one("status")["steps"]
        return int(steps.get("failed", 0) + steps.get("expired", 0))

    def _take(self, row: Row) -> None:
        if not self.state:
            self._say({"at": row["accepted_at"], "step": "accepted", "id": row["id"], "size": row["size"]})
        self.state = "held" if row["state"] == "held" else "queued"
        if row["error"] and row["error"] != self._error:
            self._error = row["error"]
            step = "held" if row["state"] == "held" else "deferred"
            self._say({"at": time.time(), "step": step, "reply": row["error"], "next_at": row["next_at"]})

    def _is_ours(self, row: Row) -> bool:
        try:
            found = self._control.ask_one("queue.show", id=row["id"])
        except Refusal:  # it has left the queue meanwhile
            return False
        return self._message_id in found["header"]

    def _say(self, entry: Row) -> None:
        self.entries.append(entry)
        self._told(entry)


def _flat(entry: Row) -> Iterator[Row]:
    """An entry of the journal; where it tells what became of recipients, one for each of them."""
    if entry["step"] not in ("attempted", "expired"):
        yield entry
        return
    for one in entry["recipients"]:
        yield {"at": entry["at"], "tls": entry.get("tls"), **one}
