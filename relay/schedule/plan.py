"""What becomes of a recipient after an attempt, or after too long a wait for one.

Pure: the outcome, the times and the settings come in, what is to be recorded and told comes out.  The same
code that decides about real mail can so be run over the queue with a clock of one's choice.

The rule that must not be broken: a recipient leaves the queue only when it was delivered, when the sender
wished not to hear of a failure, or when the report is in the queue; what is owed stays ``owing``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from relay.message.envelope import Envelope, Message, Recipient
from relay.message.notify import is_undeliverable_report, wants
from relay.message.outcome import Action, Deferred, Delivered, Discarded, Failed, Final, Held, Outcome
from relay.message.reply import Reply
from relay.message.value import value
from relay.queue.store import NewRecipient, QueuedRecipient, State
from relay.schedule.retry import RetrySettings


@value(frozen=True, slots=True)
class Planned:
    """What becomes of one recipient.

    step     what to tell: delivered, deferred, failed, expired, held, discarded; empty when nothing happened
    row      the recipient as it is in the queue from now on; None: it is finished, and its row goes
    warning  what the sender is to be told of the delay now; ``row`` is marked ``warned`` already
    """

    step: str
    row: QueuedRecipient | None = None
    warning: Final | None = None

    @property
    def is_to_be_told(self) -> bool:
        """Whether the sender is to hear of it."""
        return self.warning is not None or (self.row is not None and self.row.state is State.OWING)


_DELIVERED = Planned("delivered")  # nearly all mail


def plan(
    message: Message,
    row: QueuedRecipient,
    outcome: Outcome,
    now: float,
    retry: RetrySettings,
    jitter: float,
    not_before: float = 0.0,
) -> Planned:
    """What becomes of a recipient that was tried.

    row         as it was during the attempt: this attempt is counted
    jitter      0.0..1.0 by chance; one for all recipients of an attempt, so that they come back together
    not_before  nothing expires and nobody is warned before this (seconds since the epoch)
    """
    match outcome:
        case Delivered():
            return _delivered(message.envelope, row, outcome, now)
        case Deferred():
            return _deferred(message, row, outcome, now, retry, jitter, not_before)
        case Failed():
            final = _final(Action.FAILED, _status(outcome.reply, "5"), outcome, now)
            return _lost("failed", message.envelope, row, final)
        case Held(why):
            return Planned("held", replace(row, state=State.HELD, note=why))
        case Discarded(rule):
            final = Final(Action.DELIVERED, "2.0.0", f"250 2.0.0 Discarded by {rule}", "", now)
            return Planned("discarded", _owing_if_wanted(message.envelope, row, final))


def plan_untried(
    message: Message,
    row: QueuedRecipient,
    trouble: Deferred,
    now: float,
    retry: RetrySettings,
    not_before: float = 0.0,
) -> Planned:
    """What becomes of a recipient that has waited too long to be tried: it expires, is warned of, or waits on.

    row      as it is in the queue: no attempt was made now
    trouble  why it was not tried, as far as is known
    """
    if now >= max(retry.expires_at(message.accepted_at), not_before):
        return _expired(message.envelope, row, trouble, now)
    waiting = replace(row, due_at=now)
    return _warned(message, waiting, trouble, now, retry, not_before) or Planned("", waiting)


def plan_expanded(
    envelope: Envelope, recipients: Sequence[Recipient], now: float, due_at: float
) -> Sequence[NewRecipient]:
    """Rows for recipients that became several by forwarding: nothing to try, but a report is owed of each
    whose sender asked for it (RFC 3461 §5.2.7.3 c).

    due_at  when the report is made if that was not done before, seconds since the epoch
    """
    final = Final(Action.EXPANDED, "2.1.5", "250 2.1.5 Forwarded to several recipients", "", now)
    return [
        NewRecipient(recipient, "expanded", due_at, 0, State.OWING, final.reply, final)
        for recipient in recipients
        if wants(recipient, envelope, Action.EXPANDED)
    ]


def note_of(outcome: Deferred) -> str:
    """The outcome in words, for the operator."""
    said = f"{outcome.hop}: {outcome.reply}" if outcome.hop else str(outcome.reply)
    return f"{said} (in doubt: it may have been delivered)" if outcome.in_doubt else said


def _delivered(envelope: Envelope, row: QueuedRecipient, outcome: Delivered, now: float) -> Planned:
    if row.recipient.notify is None or outcome.dsn:  # RFC 3461 §5.2.2: not asked for, or the hop's business now
        return _DELIVERED
    action = Action.DELIVERED if outcome.final else Action.RELAYED
    final = _final(action, _status(outcome.reply, "2"), outcome, now)
    return Planned("delivered", _owing_if_wanted(envelope, row, final))


def _deferred(
    message: Message,
    row: QueuedRecipient,
    outcome: Deferred,
    now: float,
    retry: RetrySettings,
    jitter: float,
    not_before: float,
) -> Planned:
    due_at = retry.next_attempt(message.accepted_at, now, max(row.attempts, 1), jitter, not_before)
    if due_at is None:
        return _expired(message.envelope, row, outcome, now)
    waiting = replace(row, state=State.WAITING, due_at=due_at, note=note_of(outcome))
    return _warned(message, waiting, outcome, now, retry, not_before) or Planned("deferred", waiting)


def _warned(
    message: Message, row: QueuedRecipient, outcome: Deferred, now: float, retry: RetrySettings, not_before: float
) -> Planned | None:
    """The plan with the warning, when it is time for it.

    Whose sender does not wish to hear of it is marked as well: the question is settled.
    """
    if row.warned or now < max(retry.warns_at(message.accepted_at), not_before):
        return None
    final = _final(Action.DELAYED, _status(outcome.reply, "4"), outcome, now)
    wanted = wants(row.recipient, message.envelope, Action.DELAYED)
    return Planned("deferred", replace(row, warned=True), final if wanted else None)


def _expired(envelope: Envelope, row: QueuedRecipient, outcome: Deferred, now: float) -> Planned:
    """The action is "failed", the status stays in class 4: that is how a report knows it (RFC 3464 §2.3.3).

    RFC 3463 §3.5, X.4.7: the code of the actual trouble, where there is one, is told rather than "expired".
    """
    final = _final(Action.FAILED, _status(outcome.reply, "4", "4.4.7"), outcome, now)
    return _lost("expired", envelope, row, final)


def _lost(step: str, envelope: Envelope, row: QueuedRecipient, final: Final) -> Planned:
    """Owing when the sender is to be told; of a report that cannot be delivered, the reporter decides."""
    if is_undeliverable_report(envelope, Action.FAILED):
        return Planned(step, _owing(row, final))
    return Planned(step, _owing_if_wanted(envelope, row, final))


def _owing_if_wanted(envelope: Envelope, row: QueuedRecipient, final: Final) -> QueuedRecipient | None:
    return _owing(row, final) if wants(row.recipient, envelope, final.action) else None


def _owing(row: QueuedRecipient, final: Final) -> QueuedRecipient:
    return replace(row, state=State.OWING, note=final.reply, final=final)


def _final(action: Action, status: str, outcome: Delivered | Deferred | Failed, now: float) -> Final:
    reply = outcome.reply
    return Final(action, status, str(reply), outcome.hop, now, reply.said)


def _status(reply: Reply, in_class: str, otherwise: str = "") -> str:
    """The enhanced code; one that is missing or of another class than the outcome gives way to ours."""
    if reply.enhanced.startswith(in_class + "."):
        return reply.enhanced
    return otherwise or f"{in_class}.0.0"
