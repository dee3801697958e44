"""What is told of what became of a recipient: one step, with the same fields everywhere."""

from __future__ import annotations

from relay.message.envelope import Message
from relay.message.outcome import Deferred, Discarded, Held, Outcome
from relay.queue.store import QueuedRecipient
from relay.schedule.plan import Planned

About = dict[str, object]


def about(message: Message, row: QueuedRecipient, planned: Planned, outcome: Outcome, now: float) -> About:
    """The fields of the step (relay/message/step.py).

    Beside those: ``attempts``; ``in_doubt`` when the content was sent and no reply came (RFC 1047).
    """
    fields: About = {
        "id": message.id,
        "recipient": str(row.recipient.address),
        "destination": row.lane,
        "attempts": row.attempts,
        "delay_s": now - message.accepted_at,
    }
    if planned.step == "delivered":
        fields["size"] = message.size
    if isinstance(outcome, Held):
        fields["error"] = outcome.why
    elif isinstance(outcome, Discarded):
        fields["place"] = outcome.rule
    else:
        fields["hop"] = outcome.hop
        fields["reply"] = str(outcome.reply)
        if isinstance(outcome, Deferred) and outcome.in_doubt:
            fields["in_doubt"] = True
    if planned.step == "deferred" and planned.row is not None:
        fields["next_at"] = planned.row.due_at
    return fields
