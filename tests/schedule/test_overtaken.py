"""An answer of the store that comes late, when what it tells of has changed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from twisted.internet.defer import Deferred as Later

from relay.message.outcome import Outcome
from relay.queue.store import Leased
from tests.fakes.memory_store import MemoryStore
from tests.schedule.house import BUSY, DELIVERED, HANG, HOUR, House


class SlowToAnswer(MemoryStore):
    """Leases at once, and says so when ``tell_now`` is called, as when the disk is slow to be read."""

    is_slow = False

    def lease(self, *args: object, **kwargs: object) -> Later[Sequence[Leased]]:
        leased = super().lease(*args, **kwargs)  # type: ignore[arg-type]
        if not self.is_slow:
            return leased
        self.late: Later[Sequence[Leased]] = Later()
        leased.addCallback(lambda found: setattr(self, "found", found))
        return self.late

    def tell_now(self) -> None:
        self.is_slow = False
        self.late.callback(self.found)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("outcome", "times"), [(DELIVERED, 1), (BUSY, 2)])
def test_what_ends_while_the_store_is_asked_is_not_tried_at_once_again(outcome: Outcome, times: int) -> None:
    """Scar: an attempt outlasted its lease; the store gave the recipient once more, and while that answer was on its
    way the attempt ended and was recorded.  The answer was believed: mail was delivered twice, with no doubt on
    record, or tried again before its time (simulation, seeds 2061 and 2113)."""
    house = House()
    store = SlowToAnswer(house.clock)
    house.store = store
    house.crash()
    house.start()
    house.answers["slow.example"] = HANG
    house.send("bob@slow.example")
    house.pass_time(house.settings.lease_s + 30)
    store.is_slow = True
    house.runner.wake()  # the lease has run out, and the store is asked for what is due
    house.answer(outcome)
    store.tell_now()
    house.clock.advance(1)
    assert len(house.tried) == 1
    house.answers["slow.example"] = DELIVERED
    house.pass_time(HOUR)
    assert len(house.tried) == times
    assert not store.messages
