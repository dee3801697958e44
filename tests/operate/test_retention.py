"""Journals are kept as long as the configuration says, and no longer; with ``none``, not at all."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from relay.operate.retention import LOOK_S, Retention
from relay.operate.settings.operating import Journal
from relay.queue.store import FOR_EVER, Settlement, StoreUnavailable
from tests.conformance.mail import NOW, all_of, clock_at, now, queue
from tests.fakes.memory_store import MemoryStore

DAY = 86400


def journal(keep: str = "7d", size: str = "1 GiB") -> Journal:
    return Journal.model_validate({"keep": keep, "size": size})


class Asked:
    """A store that is only asked to forget.  ``answer`` is what comes of it."""

    def __init__(self) -> None:
        self.journals = True
        self.forgets: list[tuple[float, int]] = []
        self.answer: Deferred[int] | None = None

    def forget(self, before: float, octets: int) -> Deferred[int]:
        self.forgets.append((before, octets))
        return succeed(0) if self.answer is None else self.answer


def test_a_journey_goes_a_week_after_its_end() -> None:
    clock = clock_at()
    store = MemoryStore(clock)
    retention = Retention(clock, lambda: [store], journal("7d"))
    retention.start()
    message = queue(store, entries=[(NOW, b'["accepted"]')])
    now(store.record(Settlement(message.id, (0,), entries=((NOW + 5, b'["attempted"]'),))))
    clock.advance(7 * DAY - 10)
    assert len(all_of(store.journey(message.id))) == 2
    clock.advance(30)
    assert all_of(store.journey(message.id)) == []
    retention.stop()
    assert clock.getDelayedCalls() == []


def test_every_store_is_looked_at_with_its_bounds() -> None:
    clock = clock_at()
    one, other = Asked(), Asked()
    stores = [one]
    retention = Retention(clock, lambda: stores, journal("1d", "5 MiB"))  # type: ignore[arg-type, return-value]
    retention.start()
    clock.advance(LOOK_S)
    stores.append(other)  # adopted meanwhile
    clock.advance(LOOK_S)
    assert one.forgets == [(NOW + LOOK_S - DAY, 5 << 20), (NOW + 2 * LOOK_S - DAY, 5 << 20)]
    assert other.forgets == [(NOW + 2 * LOOK_S - DAY, 5 << 20)]


def test_none_is_none_from_the_reload_on_and_forgets_what_there_is() -> None:
    clock = clock_at()
    store = Asked()
    retention = Retention(clock, lambda: [store], journal())  # type: ignore[arg-type, list-item, return-value]
    retention.start()
    retention.use(None)
    assert not store.journals
    clock.advance(LOOK_S)
    assert store.forgets == [(FOR_EVER, 0)]
    assert not retention.take(Asked()).journals  # type: ignore[arg-type]
    retention.use(journal())
    assert store.journals


def test_a_store_that_is_slow_is_not_asked_twice_at_once_and_one_in_trouble_is_asked_again() -> None:
    clock = Clock()
    store = Asked()
    retention = Retention(clock, lambda: [store], journal())  # type: ignore[arg-type, list-item, return-value]
    retention.start()
    store.answer = slow = Deferred()
    clock.pump([LOOK_S] * 3)
    assert len(store.forgets) == 1
    store.answer = None
    slow.callback(7)
    clock.advance(LOOK_S)
    store.answer = fail(StoreUnavailable("closed"))
    clock.advance(LOOK_S)
    store.answer = None
    clock.advance(LOOK_S)
    assert len(store.forgets) == 4
