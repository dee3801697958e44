"""Ids: never given twice, and in the order of acceptance, as numbers and as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from relay.queue.ids import TEXT_LENGTH, IdSource, to_number, to_text
from tests.conformance.mail import NOW, clock_at

numbers = st.integers(0, (1 << 60) - 1)


@given(numbers, numbers)
def test_the_text_sorts_as_the_number_and_comes_back(one: int, other: int) -> None:
    assert to_number(to_text(one)) == one
    assert len(to_text(one)) == TEXT_LENGTH
    assert (to_text(one) < to_text(other)) == (one < other)


@given(numbers)
def test_an_id_read_aloud_or_in_capitals_is_understood(number: int) -> None:
    """Crockford's rule: o is read as zero, i and l as one."""
    text = to_text(number)
    assert to_number(text.upper()) == number
    assert to_number(text.replace("0", "O").replace("1", "l")) == number


@pytest.mark.parametrize(
    "text", ["", "x", "0" * 13, "00000000000u", "00000000000-", "+00000000000", "0_0000000000", "²" * 12, "é" * 12]
)
def test_what_is_no_id_is_nobody(text: str) -> None:
    assert to_number(text) == -1


def test_ids_grow_within_a_microsecond_and_when_the_clock_is_set_back() -> None:
    clock = clock_at()
    ids = IdSource(clock, 0, 0)
    given = [ids.next() for _ in range(3)]
    clock.rightNow -= 1000
    given += [ids.next() for _ in range(3)]
    clock.rightNow += 2000
    given.append(ids.next())
    assert given == sorted(set(given))


def test_ids_of_a_new_life_are_above_those_of_the_last_though_the_clock_was_lost() -> None:
    old = IdSource(clock_at(), 0, 0).next()
    assert IdSource(Clock(), 0, old + (1 << 8)).next() > old


def test_shards_never_give_the_same_id() -> None:
    ids = [IdSource(clock_at(), shard, 0).next() for shard in range(256)]
    assert len(set(ids)) == 256
    assert max(ids) - min(ids) < 256
    assert to_text(min(ids)) < to_text(IdSource(clock_at(NOW + 0.001), 0, 0).next())
