"""How the runner tells what became of a recipient: one step, with the same fields everywhere."""

from __future__ import annotations

from relay.message.envelope import Message
from relay.message.outcome import Deferred, Discarded, Held, Outcome
from relay.message.step import Tell
from relay.queue.store import QueuedRecipient
from relay.schedule.plan import Planned


def tell_of(tell: Tell, message: Message, row: QueuedRecipient, planned: Planned, outcome: Outcome, now: float) -> None:
    """Tells the step, if there was one (fields: relay/message/step.py).

    Beside those: ``attempts``; ``in_doubt`` when the content was sent and no reply came (RFC 1047).
    """
    if not planned.step:
        return
    about: dict[str, object] = {
        "id": message.id,
        "recipient": str(row.recipient.address),
        "destination": row.lane,
        "attempts": row.attempts,
        "delay_s": now - message.accepted_at,
    }
    if planned.step == "delivered":
        about["size"] = message.size
    if isinstance(outcome, Held):
        about["error"] = outcome.why
    elif isinstance(outcome, Discarded):
        about["place"] = outcome.rule
    else:
        about["hop"] = outcome.hop
        about["reply"] = str(outcome.reply)
        if isinstance(outcome, Deferred) and outcome.in_doubt:
            about["in_doubt"] = True
    if planned.step == "deferred" and planned.row is not None:
        about["next_at"] = planned.row.due_at
    tell(planned.step, **about)
