"""All couriers of one process: one for each receiver and each journal that it keeps.

Where each of them is in its journal is kept in the folder of the journal's spool, and written a few seconds after it
has moved; what was sent in these comes again after a crash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.message.step import Tell
from relay.operate.webhooks.courier import Courier, Journals, Receiver
from relay.queue.store import Place

FILE = "webhooks.json"
SAVE_AFTER_S = 5.0


class Shelf(Protocol):
    """A small text that outlives restarts; relay.operate.shelf.FileShelf."""

    def load(self) -> str | None: ...
    def save(self, text: str) -> None: ...


@dataclass(slots=True)
class _Followed:
    """A journal, and who follows it."""

    journal: Journals
    shelf: Shelf
    places: dict[str, Place] = field(default_factory=dict)
    is_read: bool = False
    couriers: dict[str, Courier] = field(default_factory=dict)
    saving: IDelayedCall | None = None


class Couriers:
    """See the module."""

    def __init__(
        self, clock: IReactorTime, chance: Random, tell: Tell, origin: str, shelf: Callable[[Path], Shelf]
    ) -> None:
        """shelf  the one at a path"""
        self._clock = clock
        self._chance = chance
        self._tell = tell
        self._origin = origin
        self._shelf = shelf
        self._receivers: Mapping[str, Receiver] = {}
        self._followed: dict[Path, _Followed] = {}

    def use(self, receivers: Mapping[str, Receiver]) -> None:
        """These are told from now on, by their addresses.  A new one is told of what comes; one that is gone, and comes
        back, too."""
        self._receivers = receivers
        for one in self._followed.values():
            self._appoint(one)

    def follow(self, folder: Path, journal: Journals) -> None:
        """From now on, what is in the journal of this spool folder is told."""
        one = self._followed[folder] = _Followed(journal, self._shelf(folder / FILE))
        self._appoint(one)

    def leave(self, folder: Path) -> None:
        """No longer; its places are kept."""
        one = self._followed.pop(folder, None)
        if one is not None:
            for courier in one.couriers.values():
                courier.stop()
            self._save(one)

    def stop(self) -> None:
        for folder in list(self._followed):
            self.leave(folder)

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """How each receiver is told, over all journals of this process."""
        return [
            _row(receiver, [one.couriers[key] for one in self._followed.values() if key in one.couriers])
            for url, receiver in self._receivers.items()
            for key in [key_of(url)]
        ]

    def _appoint(self, one: _Followed) -> None:
        wanted = {key_of(url): receiver for url, receiver in self._receivers.items()}
        if wanted and not one.is_read:
            one.places, one.is_read = _read(one.shelf.load()), True
        for key in [key for key in one.couriers if key not in wanted]:
            one.couriers.pop(key).stop()
        one.places = {key: place for key, place in one.places.items() if key in wanted}
        for key, receiver in wanted.items():
            if key in one.couriers:
                one.couriers[key].receiver = receiver
                continue
            courier = one.couriers[key] = Courier(
                one.journal,
                receiver,
                self._origin,
                self._clock,
                self._chance,
                self._tell,
                one.places.get(key),
                lambda: self._moved(one),
            )
            courier.start()

    def _moved(self, one: _Followed) -> None:
        if one.saving is None:
            one.saving = self._clock.callLater(SAVE_AFTER_S, self._save, one)

    def _save(self, one: _Followed) -> None:
        if one.saving is not None and one.saving.active():
            one.saving.cancel()
        one.saving = None
        places = {key: courier.place for key, courier in one.couriers.items() if courier.place is not None}
        if places != one.places:
            one.places = places
            one.shelf.save(json.dumps(places))


def key_of(url: str) -> str:
    """By which a receiver is known in the file: its address may have a secret in it."""
    return hashlib.sha256(url.encode()).hexdigest()[:24]


def _read(text: str | None) -> dict[str, Place]:
    """What a file has; one that is broken has nothing, and its receivers are told of what comes."""
    try:
        found = json.loads(text or "{}")
        return {str(key): Place(int(n), float(at)) for key, (n, at) in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _row(receiver: Receiver, couriers: Sequence[Courier]) -> Mapping[str, Any]:
    troubled = [one for one in couriers if one.since is not None]
    first = min(troubled, key=lambda one: one.since or 0.0, default=None)
    return {
        "webhook": receiver.name,
        "events": sorted(receiver.events),
        "place": receiver.place,
        "behind": sum(one.behind for one in couriers),
        "sent": sum(one.sent for one in couriers),
        "failures": sum(one.failures for one in couriers),
        "dropped": sum(one.dropped for one in couriers),
        "failing_since": first.since if first is not None else None,
        "next_at": first.next_at if first is not None else None,
        "error": first.trouble if first is not None else "",
    }
