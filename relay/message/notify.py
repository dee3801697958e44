"""Who is to be told of an outcome: the one rule, used by all who decide about reports.

The rule that must not be broken: a message from the null sender, a report among them, never
causes another report to its sender (RFC 5321 §4.5.5, §6.1; RFC 3461 §5.2).
"""

from __future__ import annotations

from relay.message.envelope import Envelope, Notify, Recipient
from relay.message.outcome import Action

_ASKED_BY = {
    Action.FAILED: Notify.FAILURE,
    Action.DELAYED: Notify.DELAY,
    Action.DELIVERED: Notify.SUCCESS,
    Action.RELAYED: Notify.SUCCESS,  # the hop cannot report success, so we say how far we know it came
    Action.EXPANDED: Notify.SUCCESS,
}
# RFC 3461 §4.1: without NOTIFY, both FAILURE and FAILURE,DELAY are allowed readings; people want to know of delays.
_UNSAID = Notify.FAILURE | Notify.DELAY


def wants(recipient: Recipient, envelope: Envelope, action: Action) -> bool:
    """Whether the sender is to be told of this outcome of this recipient (RFC 3461 §5.2.2 to §5.2.7)."""
    if envelope.reverse_path is None:
        return False
    asked = _UNSAID if recipient.notify is None else recipient.notify
    return not asked & Notify.NEVER and bool(asked & _ASKED_BY[action])


def is_undeliverable_report(envelope: Envelope, action: Action) -> bool:
    """Whether this outcome leaves a report (whatever came from the null sender) that nobody can be sent back to.

    Its sender is not told; what becomes of it is the postmaster's setting (RFC 3461 §5.2, the note).
    """
    return envelope.reverse_path is None and action is Action.FAILED
