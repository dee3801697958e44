"""What becomes of a recipient: the rules of RFC 3461 and of giving up, as one pure function."""

from __future__ import annotations

import pytest

from relay.message.address import parse_mailbox
from relay.message.envelope import Envelope, Message, Notify, Origin, Recipient
from relay.message.outcome import Action, Deferred, Delivered, Discarded, Failed, Held, Outcome
from relay.message.reply import reply
from relay.queue.store import QueuedRecipient, State
from relay.schedule.plan import Planned, note_of, plan, plan_expanded, plan_untried
from relay.schedule.retry import RetrySettings

HOUR, DAY = 3600, 86400
RETRY = RetrySettings(spread=0.0)
HOP = "mx.example [192.0.2.1]"
OK = Delivered(reply(250, "2.6.0", "Got it"), HOP)
BUSY = Deferred(reply(450, "4.2.1", "Busy"), HOP)
UNKNOWN = Failed(reply(550, "5.1.1", "No such user"), HOP)


def message(sender: str | None = "ann@client.example") -> Message:
    envelope = Envelope(parse_mailbox(sender) if sender else None)
    return Message("1", envelope, Origin(), 0.0, b"", b"", 0)


def row(notify: Notify | None = None, attempts: int = 1, warned: bool = False) -> QueuedRecipient:
    recipient = Recipient(parse_mailbox("bob@example.org"), notify)
    return QueuedRecipient(0, recipient, "example.org", 900.0, attempts, warned=warned, note="before")


def planned(
    outcome: Outcome, now: float = 10.0, notify: Notify | None = None, sender: str | None = "ann@client.example"
) -> Planned:
    return plan(message(sender), row(notify), outcome, now, RETRY, 0.5)


# -- delivered --------------------------------------------------------------------------------------


def test_what_is_delivered_is_finished() -> None:
    assert planned(OK) == Planned("delivered", None)


@pytest.mark.parametrize("notify", [Notify.NEVER, Notify.FAILURE, Notify.FAILURE | Notify.DELAY])
def test_success_that_was_not_asked_for_is_not_reported(notify: Notify) -> None:
    """RFC 3461 §5.2.3 b."""
    assert planned(OK, notify=notify).row is None


def test_success_at_a_hop_without_dsn_is_reported_as_relayed() -> None:
    """RFC 3461 §5.2.2 b: nobody behind us will tell the sender."""
    owing = planned(OK, notify=Notify.SUCCESS).row
    assert owing is not None
    assert owing.state is State.OWING
    assert owing.final is not None
    assert (owing.final.action, owing.final.status) == (Action.RELAYED, "2.6.0")


def test_success_at_a_hop_with_dsn_is_its_business() -> None:
    outcome = Delivered(reply(250, "2.0.0", "OK"), HOP, dsn=True)
    assert planned(outcome, notify=Notify.SUCCESS).row is None


def test_success_in_the_mailbox_is_reported_as_delivered() -> None:
    """RFC 3461 §5.2.3 a: after LMTP it lies in the mailbox."""
    owing = planned(Delivered(reply(250, "", "OK"), HOP, final=True), notify=Notify.SUCCESS).row
    assert owing is not None and owing.final is not None
    assert (owing.final.action, owing.final.status) == (Action.DELIVERED, "2.0.0")


def test_what_is_discarded_counts_as_delivered() -> None:
    assert planned(Discarded("routes[0]")) == Planned("discarded", None)
    owing = planned(Discarded("routes[0]"), notify=Notify.SUCCESS).row
    assert owing is not None and owing.final is not None
    assert owing.final.action is Action.DELIVERED


# -- failed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("notify", [None, Notify.FAILURE, Notify.FAILURE | Notify.SUCCESS])
def test_a_failure_is_owed_to_the_sender(notify: Notify | None) -> None:
    """RFC 3461 §5.2.6 a and c."""
    result = planned(UNKNOWN, notify=notify)
    assert result.step == "failed"
    assert result.row is not None
    assert result.row.state is State.OWING
    final = result.row.final
    assert final is not None
    assert (final.action, final.status, final.reply, final.hop, final.at) == (
        Action.FAILED,
        "5.1.1",
        "550 5.1.1 No such user",
        HOP,
        10.0,
    )


@pytest.mark.parametrize("notify", [Notify.NEVER, Notify.DELAY, Notify.SUCCESS])
def test_a_failure_that_the_sender_does_not_want_to_hear_of_is_finished(notify: Notify) -> None:
    """RFC 3461 §5.2.6 b."""
    assert planned(UNKNOWN, notify=notify) == Planned("failed", None)


@pytest.mark.parametrize("notify", [None, Notify.NEVER])
def test_a_report_that_fails_is_owed_to_whoever_decides_about_such(notify: Notify | None) -> None:
    """RFC 3461 §5.2, the note: never told to a sender, but not silently lost."""
    result = planned(UNKNOWN, sender=None, notify=notify)
    assert result.row is not None
    assert result.row.state is State.OWING


def test_a_stale_enhanced_code_does_not_stand_in_a_report() -> None:
    """A peer that says ``550 2.0.0`` has not delivered."""
    owing = planned(Failed(reply(550, "2.0.0", "No"), HOP)).row
    assert owing is not None and owing.final is not None
    assert owing.final.status == "5.0.0"


# -- deferred ---------------------------------------------------------------------------------------


def test_what_is_deferred_waits_for_its_next_attempt() -> None:
    result = planned(BUSY)
    assert result.step == "deferred"
    assert result.row is not None
    assert (result.row.state, result.row.due_at, result.row.attempts) == (State.WAITING, 70.0, 1)
    assert result.row.note == f"{HOP}: 450 4.2.1 Busy"
    assert result.warning is None


def test_doubt_stays_in_the_note() -> None:
    """RFC 1047: the operator must be able to see which message may arrive twice."""
    assert "in doubt" in note_of(Deferred(reply(451, "4.4.2", "Timed out"), HOP, in_doubt=True))


def test_the_sender_is_warned_once_of_a_delay() -> None:
    result = planned(BUSY, now=4 * HOUR)
    assert result.row is not None and result.row.warned
    assert result.warning is not None
    assert (result.warning.action, result.warning.status) == (Action.DELAYED, "4.2.1")
    again = plan(message(), result.row, BUSY, 5 * HOUR, RETRY, 0.5)
    assert again.warning is None


@pytest.mark.parametrize("notify", [Notify.NEVER, Notify.FAILURE, Notify.SUCCESS])
def test_no_warning_for_who_does_not_want_it(notify: Notify) -> None:
    """RFC 3461 §5.2.5 c.  Marked all the same: the question is settled."""
    result = planned(BUSY, now=4 * HOUR, notify=notify)
    assert result.warning is None
    assert result.row is not None and result.row.warned


def test_no_warning_to_the_null_sender() -> None:
    assert planned(BUSY, now=4 * HOUR, sender=None).warning is None


def test_after_five_days_it_fails_with_the_code_of_the_actual_trouble() -> None:
    """RFC 3463 §3.5 X.4.7, RFC 3464 §2.3.3: action failed, status of class 4."""
    result = planned(BUSY, now=5 * DAY)
    assert result.step == "expired"
    assert result.row is not None and result.row.final is not None
    final = result.row.final
    assert (final.action, final.status, final.reply, final.hop) == (Action.FAILED, "4.2.1", "450 4.2.1 Busy", HOP)


def test_expired_without_a_code_is_expired() -> None:
    result = planned(Deferred(reply(451, "", "Later")), now=5 * DAY)
    assert result.row is not None and result.row.final is not None
    assert result.row.final.status == "4.4.7"


def test_after_a_leap_of_the_clock_it_waits_again_instead() -> None:
    result = plan(message(), row(), BUSY, 9 * DAY, RETRY, 0.5, not_before=9 * DAY + HOUR)
    assert result.step == "deferred"
    assert result.warning is None


# -- held, and not tried ----------------------------------------------------------------------------


def test_what_is_held_says_why() -> None:
    result = planned(Held("a rule"))
    assert result.step == "held"
    assert result.row is not None
    assert (result.row.state, result.row.note) == (State.HELD, "a rule")


def test_what_waits_behind_a_rest_stays_due() -> None:
    result = plan_untried(message(), row(attempts=0), BUSY, HOUR, RETRY)
    assert result.step == ""
    assert result.row is not None
    assert (result.row.due_at, result.row.attempts, result.row.note) == (HOUR, 0, "before")


def test_what_waits_behind_a_rest_is_warned_of_and_expires() -> None:
    """Expiry holds in every state."""
    warned = plan_untried(message(), row(attempts=0), BUSY, 4 * HOUR, RETRY)
    assert warned.warning is not None
    assert warned.row is not None and warned.row.warned and warned.row.due_at == 4 * HOUR
    expired = plan_untried(message(), row(attempts=0), BUSY, 5 * DAY, RETRY)
    assert expired.step == "expired"
    assert expired.row is not None and expired.row.state is State.OWING


def test_expansion_is_owed_to_those_who_asked_for_success() -> None:
    """RFC 3461 §5.2.7.3 c."""
    envelope = message().envelope
    asked = Recipient(parse_mailbox("list@example.org"), Notify.SUCCESS)
    did_not = Recipient(parse_mailbox("other@example.org"))
    (owing,) = plan_expanded(envelope, [asked, did_not], 10.0, 130.0)
    assert owing.recipient is asked
    assert (owing.state, owing.due_at, owing.attempts) == (State.OWING, 130.0, 0)
    assert owing.final is not None and owing.final.action is Action.EXPANDED
    assert plan_expanded(Envelope(None), [asked], 10.0, 130.0) == []
