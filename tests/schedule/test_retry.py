"""The back-off: waits, warnings and giving up."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from relay.schedule.retry import RetrySettings

HOUR, DAY = 3600, 86400
EVEN = RetrySettings(spread=0.0)
times = st.floats(0, 6 * DAY)
chances = st.floats(0, 1)


def test_waits_double_up_to_the_longest() -> None:
    """RFC 5321 §4.5.4.1: mail is retried for days, and not in haste."""
    assert [EVEN.wait_s(n, 0.5) for n in range(1, 9)] == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_jitter_makes_a_wait_longer_or_shorter() -> None:
    """A storm that began in one second must not come back in one."""
    settings = RetrySettings(spread=0.2)
    assert (settings.wait_s(1, 0.0), settings.wait_s(1, 0.5), settings.wait_s(1, 1.0)) == (48, 60, 72)


def test_a_million_failures_are_no_overflow() -> None:
    assert EVEN.wait_s(1_000_000, 0.5) == 3600


def test_the_next_attempt_comes_after_the_wait() -> None:
    assert EVEN.next_attempt(0, 100, 2, 0.5) == 220


def test_after_five_days_there_is_no_next_attempt() -> None:
    assert EVEN.next_attempt(0, 5 * DAY, 50, 0.5) is None


def test_the_last_attempt_is_made_just_when_it_expires() -> None:
    """All recipients of a message meet there, however far jitter drove them apart: one report tells of all."""
    assert EVEN.next_attempt(0, 5 * DAY - 1800, 50, 0.9) == 5 * DAY


def test_an_attempt_is_made_just_when_the_sender_is_to_be_warned() -> None:
    assert EVEN.next_attempt(0, 4 * HOUR - 1800, 50, 0.9) == 4 * HOUR


def test_no_attempt_comes_sooner_than_the_first_wait() -> None:
    """A second before the hour of the warning is not a reason to try twice in a second."""
    assert EVEN.next_attempt(0, 4 * HOUR - 1, 50, 0.5) == 4 * HOUR - 1 + 60


def test_without_warnings_no_attempt_is_made_for_one() -> None:
    never = RetrySettings(warn_after_s=None, spread=0.0)
    assert never.warns_at(0) == math.inf
    assert never.next_attempt(0, 4 * HOUR - 1800, 50, 0.5) == 4 * HOUR + 1800


def test_after_a_leap_of_the_clock_nothing_expires_for_a_while() -> None:
    """A clock set ahead by a week has not given the mail a week of attempts."""
    assert EVEN.next_attempt(0, 9 * DAY, 3, 0.5, not_before=9 * DAY + HOUR) == 9 * DAY + 240
    assert EVEN.next_attempt(0, 9 * DAY + HOUR, 3, 0.5, not_before=9 * DAY + HOUR) is None


@given(times, st.integers(1, 500), chances)
def test_an_attempt_lies_ahead_and_not_much_beyond_expiry(now: float, failures: int, jitter: float) -> None:
    settings = RetrySettings()
    next_at = settings.next_attempt(0, now, failures, jitter)
    if now >= 5 * DAY:
        assert next_at is None
    else:
        assert next_at is not None
        assert now + 48 <= next_at <= max(5 * DAY, now + 48)
        assert next_at <= now + 3600 * 1.2
