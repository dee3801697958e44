"""Who is told of what (RFC 3461 §4.1, §5.2; RFC 5321 §6.1)."""

from __future__ import annotations

import pytest

from relay.message.address import Address
from relay.message.envelope import Envelope, Notify, Recipient
from relay.message.notify import is_undeliverable_report, wants
from relay.message.outcome import Action

ANN = Address("ann", "example.org")
BOB = Address("bob", "example.net")
SUCCESSES = (Action.DELIVERED, Action.RELAYED, Action.EXPANDED)


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        (None, {Action.FAILED, Action.DELAYED}),
        (Notify.NEVER, set()),
        (Notify.FAILURE, {Action.FAILED}),
        (Notify.DELAY, {Action.DELAYED}),
        (Notify.SUCCESS, set(SUCCESSES)),
        (Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, set(Action)),
        (Notify.NEVER | Notify.FAILURE, set()),
    ],
)
def test_the_sender_is_told_what_was_asked_for(notify: Notify | None, told: set[Action]) -> None:
    recipient = Recipient(BOB, notify)
    assert {action for action in Action if wants(recipient, Envelope(ANN), action)} == told


@pytest.mark.parametrize("notify", [None, Notify.FAILURE, Notify.SUCCESS | Notify.FAILURE | Notify.DELAY])
def test_the_null_sender_is_told_nothing(notify: Notify | None) -> None:
    """Else two servers would send each other reports of reports for ever."""
    assert not any(wants(Recipient(BOB, notify), Envelope(None), action) for action in Action)


def test_only_a_failure_from_the_null_sender_is_an_undeliverable_report() -> None:
    assert [action for action in Action if is_undeliverable_report(Envelope(None), action)] == [Action.FAILED]
    assert not is_undeliverable_report(Envelope(ANN), Action.FAILED)
