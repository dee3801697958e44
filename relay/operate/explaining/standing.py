"""Why a message is still in the queue, and what happens to each of its recipients when.

Pure: the message, whose turn comes when, and how its destinations stand come in; the times are the scheduler's own
(relay.schedule.retry).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from relay.message.address import Address
from relay.message.envelope import Message
from relay.operate.explaining.finding import Finding
from relay.operate.explaining.premises import Row
from relay.operate.explaining.times import attempts_ahead
from relay.queue.store import QueuedRecipient, State
from relay.schedule.retry import RetrySettings


def message_of(message: Message, recipients: int) -> Finding:
    """The message, in short."""
    envelope, origin = message.envelope, message.origin
    details = {
        "sender": str(envelope.reverse_path) if envelope.reverse_path is not None else "<>",
        "accepted_at": message.accepted_at,
        "size": message.size,
        "client": origin.client_ip,
        "client_name": origin.client_name,
        "protocol": origin.protocol,
        "login": origin.login,
        "require_tls": envelope.require_tls,
        "recipients": recipients,
    }
    return Finding("queue", "message", message.id, details=details)


class Standing:
    """How the recipients of one message stand.

    turns         as relay.schedule.runner.Runner.turns has them
    destinations  lane -> how it stands; what is not there is at rest
    lane_of       the lane by the routes of now
    now           seconds since the epoch
    """

    def __init__(
        self,
        message: Message,
        turns: Mapping[int, int],
        destinations: Mapping[str, Row],
        lane_of: Callable[[Address | None, Address], str],
        retry: RetrySettings,
        now: float,
    ) -> None:
        self._message = message
        self._turns = turns
        self._destinations = destinations
        self._lane_of = lane_of
        self._retry = retry
        self._now = now

    def findings(self, rows: Sequence[QueuedRecipient]) -> Iterator[Finding]:
        """One for each."""
        for row in rows:
            yield self._of(row)

    def _of(self, row: QueuedRecipient) -> Finding:
        why, remedy = self._why(row)
        lane_now = self._lane_of(self._message.envelope.reverse_path, row.recipient.address)
        details = {
            "state": row.state.value,
            "attempts": row.attempts,
            "destination": row.lane,
            "destination_now": lane_now,
            "place": self._turns.get(row.number),
            "orcpt": row.recipient.orcpt,
            **self._times(row),
        }
        said = row.final.reply if row.final is not None else row.note if row.state is State.WAITING else ""
        return Finding("queue", "recipient", str(row.recipient.address), "told", why, "", said, remedy, details)

    def _why(self, row: QueuedRecipient) -> tuple[str, str]:
        """Why it is still here, and what would change that."""
        message_id, place = self._message.id, self._turns.get(row.number)
        if row.state is State.HELD:
            return f"it is held: {row.note}", f"relay queue release {message_id}"
        if row.state is State.OWING:
            return "its outcome is final, and the report to the sender is not in the queue yet", ""
        if place == 0:
            return "it is being tried now", ""
        if place is not None:
            return self._in_line(row, place), ""
        if self._rests_until(row) is not None:
            return "its destination rests", f"relay queue flush --destination '{row.lane}' ends that, and tries again"
        if row.due_at > self._now:
            return "it could not be served so far, and is tried again", f"relay queue retry {message_id}"
        return "it is due, and waits for room: as much is in hand as may be", ""

    def _in_line(self, row: QueuedRecipient, place: int) -> str:
        standing = self._destinations.get(row.lane, {})
        at_work = f"{standing.get('in_flight', 0)} of {standing.get('window', 0)} attempts are under way"
        return f"it waits for its turn at its destination, in place {place}; there {at_work}"

    def _rests_until(self, row: QueuedRecipient) -> float | None:
        until: float | None = self._destinations.get(row.lane, {}).get("resting_until")
        return until

    def _times(self, row: QueuedRecipient) -> Mapping[str, object]:
        if row.state is not State.WAITING:
            return {"next_at": None, "attempts_at": [], "warned": row.warned, "warns_at": None, "expires_at": None}
        retry, accepted_at = self._retry, self._message.accepted_at
        in_hand = row.number in self._turns  # its due time is a lease then
        next_at = self._now if in_hand else max(row.due_at, self._now, self._rests_until(row) or 0.0)
        failures = max(0, row.attempts - 1) if in_hand else row.attempts  # the attempt in hand is counted
        warns_at, expires_at = retry.warns_at(accepted_at), retry.expires_at(accepted_at)
        return {
            "next_at": next_at,
            "attempts_at": [at for at in attempts_ahead(retry, accepted_at, next_at, failures) if at <= expires_at],
            "warned": row.warned,
            "warns_at": warns_at if not row.warned and warns_at != float("inf") else None,
            "expires_at": expires_at,
        }
