"""What an operator is told, and what is not done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from relay.operate.answers.queue import QueueAnswers
from relay.queue import sqlite
from relay.queue.operating import Hold, Remove
from relay.schedule.runner import Runner
from tests.simulate.defects import Around, around, breakage


@breakage(orders=200.0, bad_hours=0.8, per_domain=1, bursts=20.0)
def held_mail_is_in_hand() -> Sequence[Any]:
    """What is held in the store and waits in memory is tried all the same."""
    return [mock.patch.object(Runner, "wake", lambda runner: runner.look())]


@breakage(orders=60.0, bad_hours=0.8, slow_disk_s=2.0)
def answer_before_it_is_done() -> Sequence[Any]:
    """An order is answered when it is begun."""

    async def early(original: Around, answers: Any, request: Any, step: Any, change: Any) -> Any:
        def begun(selection: Any) -> Any:
            change(selection).addErrback(lambda _: None)
            return sqlite.succeed(1)

        return await original(answers, request, step, begun)

    return [around(QueueAnswers, "_change", early)]


@breakage(orders=60.0, bad_hours=0.8)
def hold_the_first_only() -> Sequence[Any]:
    """Of each portion that is to be held, the last is forgotten."""
    return [around(Hold, "__call__", lambda hold, one, writer: hold(replace(one, keys=one.keys[:-1]), writer))]


@breakage(orders=60.0, bad_hours=0.8)
def remove_the_first_only() -> Sequence[Any]:
    """Of each portion that is to be removed, the last is forgotten."""
    return [around(Remove, "__call__", lambda remove, one, writer: remove(replace(one, keys=one.keys[:-1]), writer))]


@breakage(orders=60.0, bad_hours=0.8)
def list_without_its_end() -> Sequence[Any]:
    """A list ends with its first portion."""

    async def short(original: Around, store: Any, *args: Any) -> Any:
        number = 0
        async for row in original(store, *args):
            yield row
            number += 1
            if number == sqlite.PORTION_ROWS:
                return

    return [around(sqlite.SqliteStore, "list", short)]
