"""Shards that have no worker of their own, since there are fewer workers than there were: their mail goes on from here.

Such a shard gets no new mail but reports.  When it is empty, and its journal forgotten, it is closed and its folder
removed.

The rule that must not be broken: a folder goes only when its queue is empty and nothing in it was set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.python.failure import Failure

from relay.message.step import Tell
from relay.queue.ids import shard_of
from relay.queue.spool import remove_empty
from relay.queue.store import Content, Store, StoreUnavailable
from relay.schedule.runner import Runner

LOOK_S = 20.0
"""How often is looked whether a shard is empty, or can be opened now."""


@dataclass(slots=True)
class Adopted:
    """A shard at work here."""

    folder: Path
    store: Store
    runner: Runner
    control: IListeningPort | None


class Adoption:
    """The shards that one process has adopted.

    opened   opens the queue in a folder; raises StoreUnavailable
    at_work  begins to try what is in a queue
    control  opens its control socket, if that can be
    left     is told that one is about to be closed
    """

    def __init__(
        self,
        folders: Iterable[Path],
        clock: IReactorTime,
        tell: Tell,
        opened: Callable[[Path], Store],
        at_work: Callable[[Store], Runner],
        control: Callable[[Path, Store, Runner], IListeningPort | None],
        left: Callable[[Path], object] = lambda _: None,
    ) -> None:
        self._waiting = list(folders)
        self._adopted: dict[int, Adopted] = {}
        self._clock = clock
        self._tell = tell
        self._opened = opened
        self._at_work = at_work
        self._control = control
        self._left = left
        self._call: IDelayedCall | None = None

    @property
    def stores(self) -> Sequence[Store]:
        return [one.store for one in self._adopted.values()]

    @property
    def runners(self) -> Sequence[Runner]:
        return [one.runner for one in self._adopted.values()]

    def open(self, message_id: str, otherwise: Callable[[str], Content]) -> Content:
        """A large content of one of these shards; of any other message ``otherwise`` gives it."""
        one = self._adopted.get(shard_of(message_id))
        return one.store.open(message_id) if one is not None else otherwise(message_id)

    def start(self) -> None:
        """Opens them, and looks now and then how they do."""
        waiting, self._waiting = self._waiting, []
        for folder in waiting:
            try:
                self._adopt(folder)
            except StoreUnavailable as error:
                self._waiting.append(folder)
                self._tell("trouble", place=str(folder), error=f"its mail has to wait: {error}")
        if self._adopted or self._waiting:
            self._call = self._clock.callLater(LOOK_S, self._look)

    def _adopt(self, folder: Path) -> None:
        store = self._opened(folder)
        runner = self._at_work(store)
        self._adopted[int(folder.name)] = Adopted(folder, store, runner, self._control(folder, store, runner))
        runner.start()
        self._tell("started", place=str(folder))

    def _look(self) -> None:
        self._call = None
        for shard, one in list(self._adopted.items()):
            counts = one.store.counts()
            if not counts.messages and not counts.set_aside and not counts.journal:
                del self._adopted[shard]
                Deferred.fromCoroutine(self._remove(one)).addErrback(self._not_removed, one)
        self.start()

    async def _remove(self, one: Adopted) -> None:
        self._left(one.folder)
        await _close(one, 1.0)
        if remove_empty(one.folder):
            self._tell("stopped", place=str(one.folder))

    def _not_removed(self, failure: Failure, one: Adopted) -> None:
        self._tell("trouble", place=str(one.folder), error=f"it cannot be removed: {failure.getErrorMessage()}")

    async def stop(self, bound_s: float) -> None:
        """Brings their attempts to an end, within so many seconds, and closes them."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for one in self._adopted.values():
            self._left(one.folder)
        await gatherResults([Deferred.fromCoroutine(_close(one, bound_s)) for one in self._adopted.values()])


async def _close(one: Adopted, bound_s: float) -> None:
    if one.control is not None:
        await maybeDeferred(one.control.stopListening)
    await one.runner.stop(bound_s)
    await one.store.close()
