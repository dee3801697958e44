"""The last hour in numbers, on virtual time."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from relay.operate.history import KEPT, History


def at(seconds: float) -> tuple[Clock, dict[str, int], History]:
    clock = Clock()
    clock.advance(seconds)
    counts = {"accepted": 7, "failed": 0}
    history = History(clock, counts)
    history.start()
    return clock, counts, history


def test_what_was_before_the_start_counts_in_no_minute() -> None:
    _, _, history = at(1000.0)
    assert history.row()["steps"] == {}


def test_each_minute_of_the_clock_has_its_number_and_the_last_is_not_over() -> None:
    clock, counts, history = at(1000.0)  # 16 minutes and 40 s
    counts["accepted"] += 2
    clock.advance(20)
    counts["accepted"] += 3
    clock.advance(60)
    counts["accepted"] += 5
    row: Any = history.row()
    assert row["steps"]["accepted"][-3:] == [2, 3, 5]
    assert len(row["steps"]["accepted"]) == KEPT
    assert (row["every_s"], row["now_at"]) == (60, 1080.0)
    assert row["from_at"] + 59 * 60 == 1080.0


def test_a_step_that_is_new_is_there() -> None:
    _, counts, history = at(1000.0)
    counts["held"] = 1
    row: Any = history.row()
    assert row["steps"] == {"held": [0] * 59 + [1]}


def test_after_an_hour_it_is_forgotten() -> None:
    clock, counts, history = at(1000.0)
    counts["accepted"] += 2
    for _ in range(KEPT - 1):
        clock.advance(60)
    row: Any = history.row()
    assert row["steps"]["accepted"][0] == 2
    clock.advance(60)
    assert history.row()["steps"] == {}
    assert len(history._minutes) <= KEPT


def test_a_clock_that_is_set_loses_nothing_and_keeps_nothing_for_ever() -> None:
    clock, counts, history = at(7200.0)
    counts["accepted"] += 1
    clock.advance(30)
    clock.rightNow -= 60  # the clock is set back within the minute that runs
    counts["accepted"] += 1
    clock.advance(90)
    clock.advance(60)
    row: Any = history.row()
    assert sum(row["steps"]["accepted"]) == 2
    clock.rightNow -= 10 * 3600
    clock.advance(10 * 3600 + 60)
    assert len(history._minutes) <= KEPT


def test_it_ends() -> None:
    clock, _, history = at(1000.0)
    history.stop()
    assert clock.getDelayedCalls() == []
