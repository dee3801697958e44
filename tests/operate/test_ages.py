"""How long recipients have been in the queue, counted without reading a long one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.operate.answers import queue as answers
from relay.operate.answers.queue import QueueAnswers
from relay.operate.control import Request
from relay.operate.together import Together
from relay.queue.ids import IdSource, first_of, to_number, to_text
from relay.queue.store import Counts, State
from tests.conformance.mail import NOW, clock_at
from tests.fakes.memory_store import MemoryStore
from tests.operate.running import running_relay


def test_each_age_has_its_recipients(tmp_path: Path) -> None:
    with running_relay(tmp_path) as relay:
        for age_s, recipients in ((10, 2), (400, 1), (3700, 3), (5 * 86400, 1)):
            relay.put("ann@example.org", *(f"bob{n}@example.net" for n in range(recipients)), age_s=age_s)
        with Together(tmp_path) as control:
            row = control.ask_one("queue.ages")
    assert [one["recipients"] for one in row["ages"]] == [2, 1, 3, 0, 0, 1]
    assert [one["below_s"] for one in row["ages"]] == [300, 3600, 14400, 86400, 259200, None]
    assert row["at_least"] is False


class Full(MemoryStore):
    """A long queue, of which only so many are counted."""

    def __init__(self, clock: Any, sizes: list[int]) -> None:
        super().__init__(clock)
        self.sizes = sizes

    def ages(self, spans: Any, limit: int) -> Any:
        return self._answer("ages", lambda: [min(limit, size) for size in self.sizes])

    def counts(self) -> Counts:
        return Counts(0, 0, {**dict.fromkeys(State, 0), State.WAITING: sum(self.sizes)})


@pytest.mark.parametrize(
    ("sizes", "told", "at_least"),
    [
        ([50, 7, 0, 0, 0, 1], [50, 7, 0, 0, 0, 1], False),  # one that is full follows from the sum
        ([10, 0, 0, 0, 0, 0], [10, 0, 0, 0, 0, 0], False),
        ([50, 70, 0, 0, 0, 1], [10, 10, 0, 0, 0, 1], True),
    ],
)
def test_what_was_not_counted_to_its_end_is_known_from_the_sum_or_said(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], told: list[int], at_least: bool
) -> None:
    monkeypatch.setattr(answers, "COUNTED", 10)
    clock = clock_at()
    asked = QueueAnswers(Full(clock, sizes), None, clock, lambda step, **fields: None)  # type: ignore[arg-type]

    async def row() -> Any:
        return [row async for row in asked.ages(Request({}))]

    found: list[Any] = []
    Deferred.fromCoroutine(row()).addCallback(found.extend)
    assert [one["recipients"] for one in found[0]["ages"]] == told
    assert found[0]["at_least"] is at_least


def test_the_first_id_of_a_time_is_below_all_ids_of_it_and_above_all_before() -> None:
    ids = IdSource(clock_at(NOW), 255, 0)
    assert first_of(NOW) <= ids.next() < first_of(NOW + 0.001)
    assert IdSource(clock_at(NOW - 0.001), 255, 0).next() < first_of(NOW)
    assert first_of(-5) == first_of(0) == 0
    for far in (1e12, 1e30):
        assert 0 < first_of(far) < 1 << 63
    assert to_number(to_text(first_of(NOW))) == first_of(NOW)
