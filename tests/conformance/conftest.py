"""Each store, for the tests of what every store promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from relay.queue.sqlite import SqliteStore
from relay.queue.store import Store
from tests.conformance.mail import clock_at, now
from tests.fakes.executors import inline
from tests.fakes.memory_store import MemoryStore


@pytest.fixture
def clock() -> Clock:
    return clock_at()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore(clock)
        return
    store = SqliteStore(tmp_path / "spool", clock=clock, executors=inline(), reserve_octets=0)
    yield store
    now(store.close())
