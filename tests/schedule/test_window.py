"""The window of a destination: opens with success, closes with trouble, rests, is probed."""

from __future__ import annotations

from relay.schedule.retry import RetrySettings
from relay.schedule.window import Window, WindowSettings

SETTINGS = WindowSettings(initial=5, minimum=1, maximum=20, rest=RetrySettings(spread=0.0))


def rested(window: Window, now: float = 0.0) -> int:
    """How much trouble it took until the rest began."""
    count = 1
    while not window.troubled(now, 0.5):
        count += 1
    return count


def test_a_window_in_use_opens_with_each_success_up_to_its_maximum() -> None:
    window = Window(SETTINGS)
    sizes = []
    for _ in range(20):
        window.succeeded(in_flight=window.size)
        sizes.append(window.size)
    assert sizes[:3] == [6, 7, 8]
    assert sizes[-1] == 20


def test_a_window_that_is_not_used_does_not_open() -> None:
    """Else a trickle of mail would open it wide, and the first burst would find no brake."""
    window = Window(SETTINGS)
    for _ in range(100):
        window.succeeded(in_flight=1)
    assert window.size == 5


def test_one_trouble_among_successes_only_narrows_it() -> None:
    """A host that allows ten connections answers 421 to the eleventh; it is well."""
    window = Window(SETTINGS)
    for _ in range(50):
        window.succeeded(window.size)
        assert not window.troubled(0.0, 0.5)
    assert not window.is_resting
    assert 1 <= window.size <= 6


def test_a_destination_that_takes_nothing_rests_after_about_a_window_of_trouble() -> None:
    window = Window(SETTINGS)
    assert rested(window) == 4
    assert window.size == 0
    assert window.resting_until == 60


def test_a_narrow_window_rests_at_the_first_trouble() -> None:
    assert rested(Window(WindowSettings(initial=1))) == 1


def test_trouble_that_lasts_is_not_tried_again_at_once() -> None:
    """A login that is refused once is refused four times, and then the account is locked."""
    window = Window(SETTINGS)
    assert window.troubled(0.0, 0.5, lasting=True)
    assert window.is_resting and window.resting_until == 60


def test_after_the_rest_one_probe_goes_alone() -> None:
    window = Window(SETTINGS)
    rested(window)
    window.wake()
    assert window.size == 1
    assert window.on_probation


def test_each_failed_probe_makes_the_rest_longer_up_to_the_longest() -> None:
    window = Window(SETTINGS)
    rests = []
    for _ in range(9):
        rested(window, now=0.0)
        rests.append(window.resting_until)
        window.wake()
    assert rests == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_probe_that_succeeds_ends_the_probation() -> None:
    window = Window(SETTINGS)
    rested(window)
    window.wake()
    window.succeeded(in_flight=1)
    assert not window.on_probation
    assert window.size == 2


def test_a_refusal_is_an_answer_too() -> None:
    """A host that says 550 to one recipient is there."""
    window = Window(SETTINGS)
    rested(window)
    window.wake()
    window.answered()
    assert not window.on_probation
    assert window.size == 1


def test_what_was_begun_before_the_rest_does_not_draw_it_out() -> None:
    """Twenty connections that time out together are one trouble, not a rest of days."""
    window = Window(SETTINGS)
    rested(window)
    for _ in range(20):
        assert not window.troubled(50.0, 0.5)
    assert window.resting_until == 60
    assert window.rests == 1


def test_a_success_of_what_was_begun_before_ends_the_rest() -> None:
    window = Window(SETTINGS)
    rested(window)
    window.succeeded(in_flight=1)
    assert window.size >= 1
    assert not window.on_probation


def test_forgiven_is_as_new() -> None:
    window = Window(SETTINGS)
    rested(window)
    window.forgive()
    assert (window.size, window.rests, window.troubles) == (5, 0, 0)


def test_new_settings_bound_an_open_window_and_wake_no_resting_one() -> None:
    window, resting = Window(SETTINGS), Window(SETTINGS)
    rested(resting)
    for one in (window, resting):
        one.resettle(WindowSettings(initial=2, maximum=3))
    assert (window.size, resting.size) == (3, 0)
