"""Failed logins: who is locked out, for how long, and at what cost."""

from __future__ import annotations

import sys

from relay.policy.attempts import AttemptLimits, Attempts

LIMITS = AttemptLimits(failures=3, forget_s=60, remembered=100)
BAD, GOOD = "203.0.113.9", "192.0.2.7"


def failing(attempts: Attempts, times: int, client: str = BAD, user: str = "ann", now: float = 0.0) -> list[float]:
    return [attempts.failed(client, user, now) for _ in range(times)]


def test_a_client_that_fails_too_often_is_locked_out_whatever_the_name() -> None:
    attempts = Attempts(LIMITS)
    for user in ("ann", "bob", "carl"):
        assert not attempts.is_locked_out(BAD, user, 0)
        attempts.failed(BAD, user, 0)
    assert attempts.is_locked_out(BAD, "dora", 0)
    assert not attempts.is_locked_out(GOOD, "dora", 0)


def test_a_name_that_is_tried_from_everywhere_is_locked_out_whether_it_exists_or_not() -> None:
    attempts = Attempts(LIMITS)
    for number in range(3):
        attempts.failed(f"203.0.113.{number}", "ann", 0)
    assert attempts.is_locked_out("203.0.113.77", "ann", 0)


def test_who_logged_in_from_there_before_is_not_locked_out_by_others() -> None:
    """Else anybody could keep a user out by failing with the name."""
    attempts = Attempts(LIMITS)
    attempts.succeeded(GOOD, "ann")
    failing(attempts, 5)
    assert not attempts.is_locked_out(GOOD, "ann", 0)
    failing(attempts, 3, client=GOOD)
    assert attempts.is_locked_out(GOOD, "ann", 0)


def test_failures_are_forgotten_one_by_one() -> None:
    attempts = Attempts(LIMITS)
    failing(attempts, 3)
    assert attempts.is_locked_out(BAD, "ann", 0)
    assert not attempts.is_locked_out(BAD, "ann", 61)
    failing(attempts, 2, now=61)
    assert attempts.is_locked_out(BAD, "ann", 62)
    assert not attempts.is_locked_out(BAD, "ann", 400)


def test_a_lock_out_does_not_grow_for_ever() -> None:
    attempts = Attempts(LIMITS)
    failing(attempts, 1000)
    assert not attempts.is_locked_out(BAD, "ann", 6 * 60)


def test_a_clock_that_was_set_back_changes_nothing() -> None:
    attempts = Attempts(LIMITS)
    failing(attempts, 2, now=1000)
    assert not attempts.is_locked_out(BAD, "ann", 0)
    failing(attempts, 1, now=0)
    assert attempts.is_locked_out(BAD, "ann", 0)


def test_each_failure_is_answered_later_than_the_one_before_up_to_a_bound() -> None:
    assert failing(Attempts(AttemptLimits()), 6) == [1, 2, 4, 8, 8, 8]


def test_a_success_forgives_the_user_and_not_the_client() -> None:
    """Who has one account could otherwise try all the others for ever."""
    attempts = Attempts(LIMITS)
    failing(attempts, 2, user="bob")
    attempts.failed(BAD, "ann", 0)
    attempts.succeeded(BAD, "ann")
    assert attempts.is_locked_out(BAD, "ann", 0)
    assert not attempts.is_locked_out(GOOD, "ann", 0)


def test_memory_is_bounded_whatever_is_tried() -> None:
    attempts = Attempts(LIMITS)
    failing(attempts, 3)
    for number in range(10_000):
        attempts.failed(f"10.{number >> 8}.{number & 255}.1", f"user{number}", 0)
        attempts.succeeded(f"10.{number}", f"user{number}")
    held = [attempts._clients._scores, attempts._users._scores, attempts._known]
    assert [len(one) for one in held] == [100, 0, 100] or all(len(one) <= 100 for one in held)
    assert sum(sys.getsizeof(one) for one in held) < 100_000
