"""How long the journals of one process are kept, and how much of the disk they take.

The rule that must not be broken: what is beyond its bounds goes, whether mail comes or not; and nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.operate.settings.operating import Journal
from relay.queue.store import FOR_EVER, Store

LOOK_S = 10.0
"""How often is looked; in the meantime a busy relay may journal some tens of MiB beyond the bound."""


class Retention:
    """Looks at the journals now and then.

    stores  those that there are now
    """

    def __init__(self, clock: IReactorTime, stores: Callable[[], Iterable[Store]], journal: Journal | None) -> None:
        self._clock = clock
        self._stores = stores
        self._call: IDelayedCall | None = None
        self._busy: set[Store] = set()
        self.use(journal)

    def use(self, journal: Journal | None) -> None:
        """From now on; with None nothing is journaled, and what there is, is forgotten."""
        self._journal = journal
        for store in self._stores():
            self.take(store)

    def take(self, store: Store) -> Store:
        """The store, which is new here, as it is to be."""
        store.journals = self._journal is not None
        return store

    def start(self) -> None:
        self._call = self._clock.callLater(LOOK_S, self._look)

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = self._clock.callLater(LOOK_S, self._look)
        for store in self._stores():
            if store not in self._busy:
                self._busy.add(store)
                self._forget(store).addBoth(self._forgot, store)

    def _forget(self, store: Store) -> Deferred[int]:
        journal = self._journal
        if journal is None:
            return store.forget(FOR_EVER, 0)
        return store.forget(self._clock.seconds() - journal.keep_s, journal.size_octets)

    def _forgot(self, _: object, store: Store) -> None:
        """Or it could not: then there is a next time."""
        self._busy.discard(store)
