"""A journey in short: from whom, to whom, and what became of it.

    queued     some recipient is still to be tried
    held       none is, and some are held
    delivered, failed, discarded, removed   all of them
    mixed      some this, some that
    refused    it was not taken in

It is made of the entries in their order, one after the other, so that a long journey need not be in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from relay.message.address import AddressFault, parse_mailbox
from relay.message.journey import Row

FOUND_LIMIT: Final = 100
"""So many journeys are found, when nobody says how many."""
RECIPIENTS_SHOWN: Final = 20

_BECOMES: Final = {
    "delivered": "delivered",
    "discarded": "discarded",
    "failed": "failed",
    "expired": "failed",
    "deferred": "queued",
    "held": "held",
    "released": "queued",
    "retried": "queued",
    "removed": "removed",
}


class Outline:
    """What is known of one journey so far."""

    def __init__(self) -> None:
        self._came: Row | None = None
        self._began_at: float | None = None
        self._last: Row = {}
        self._states: dict[int, str] = {}
        self._addresses: dict[str, None] = {}  # in the order in which they were met

    @property
    def is_known(self) -> bool:
        return self._began_at is not None

    @property
    def addresses(self) -> Iterable[str]:
        """The sender, and the recipients: as they were named, and where their mail goes."""
        sender = self._came.get("sender") if self._came is not None else None
        return [sender, *self._addresses] if sender else list(self._addresses)

    @property
    def message_id(self) -> str:
        return str((self._came or {}).get("message_id") or "")

    def add(self, row: Row) -> None:
        """Takes the next entry, as ``journey.read`` gives it."""
        step = row["step"]
        if self._began_at is None:
            self._began_at = row["at"]
        self._last = row
        if step in ("accepted", "refused"):
            self._came = row
        for one in row.get("recipients", ()):
            self._take(one)
        for number in row.get("numbers", ()):
            if step in _BECOMES:
                self._states[number] = _BECOMES[step]

    def _take(self, one: Row) -> None:
        for address in (one.get("recipient"), one.get("named"), *one.get("to", ())):
            if address and (len(self._addresses) < 10_000 or address in self._addresses):
                self._addresses[address] = None
        if "number" in one and one.get("step") in _BECOMES:
            self._states[one["number"]] = _BECOMES[one["step"]]

    def row(self, message_id: str) -> Row:
        """The journey in short."""
        came = self._came or {}
        recipients = self._recipients()
        return {
            "id": message_id,
            "at": self._began_at,
            "sender": came.get("sender"),
            "recipients": recipients[:RECIPIENTS_SHOWN],
            "recipient_count": came.get("recipient_count") or len(recipients),
            "client": came.get("client", ""),
            "message_id": self.message_id,
            "size": came.get("size"),
            "state": self._state(),
            "last_at": self._last.get("at"),
            "last": words_of(self._last),
        }

    @property
    def _is_refused(self) -> bool:
        return self._came is not None and self._came["step"] == "refused"

    def _recipients(self) -> list[str]:
        """As they were named, if that is known."""
        named = [one["named"] for one in (self._came or {}).get("recipients", ()) if one["to"] or self._is_refused]
        return named or list(self._addresses)

    def _state(self) -> str:
        if self._is_refused:
            return "refused"
        known = Counter(self._states.values())
        count = (self._came or {}).get("recipient_count") or len(self._states)
        if len(self._states) < count:
            known["queued"] += count - len(self._states)
        if known["queued"] or not known:
            return "queued"
        if known["held"]:
            return "held"
        return next(iter(known)) if len(known) == 1 else "mixed"


def words_of(row: Row) -> str:
    """What an entry says, in one line."""
    step = row.get("step", "")
    if step == "accepted":
        if "client" in row:
            return f"accepted from {row['client'] or 'this machine'}"
        return "written here" + (f", a report of {row['report_of']}" if row.get("report_of") else "")
    if step == "refused":
        return f"{row['count']} more refused" if "count" in row else f"refused: {row['reply']}"
    if step in ("attempted", "expired"):
        return _outcomes_of(row["recipients"])
    if step == "reported":
        return f"the sender was told, in {row['report']}"
    if step == "warned":
        return "the sender was told that it takes long"
    if step in ("set_aside", "unreadable"):
        return f"{step.replace('_', ' ')}: {row.get('why') or row.get('error')}"
    by = f" by {row['by']}" if row.get("by") else ""
    why = f": {_once(step, row['why'])}" if row.get("why") else ""
    return f"{step}{by}{why}"


def _outcomes_of(recipients: list[Row]) -> str:
    """``delivered: 250 Ok``, or of several that fared differently how many fared how."""
    steps = Counter(one["step"] for one in recipients)
    if len(steps) != 1:
        return ", ".join(f"{count} {step}" for step, count in steps.items())
    (step,) = steps
    last = recipients[-1]
    so_many = f" ({steps[step]})" if steps[step] > 1 else ""
    return f"{step}{so_many}: {_once(step, said_by(last))}"


def _once(step: str, said: str) -> str:
    """``by routes[3]`` of ``discarded by routes[3]``, where the step was told already."""
    return said.removeprefix(f"{step} ")


def said_by(one: Row) -> str:
    """The reply that decided about a recipient, and the host it is about: of one that could not be reached, the words
    are ours."""
    return f"{one['hop']}: {one['reply']}" if one.get("hop") else str(one["reply"])


def is_about(outline: Outline, wanted: str) -> bool:
    """Whether an address occurs in the journey; ``@example.org`` is any of that domain."""
    key = key_of(wanted)
    if key.startswith("@"):
        return any(key_of(address).endswith(key) for address in outline.addresses)
    return any(key_of(address) == key for address in outline.addresses)


def key_of(address: Any) -> str:
    """The form in which addresses are compared: without case, the domain in A-labels."""
    text = str(address).strip()
    if text.startswith("@"):
        return "@" + key_of(f"x{text}").partition("@")[2]
    try:
        return parse_mailbox(text).key
    except AddressFault:
        return text.lower()
