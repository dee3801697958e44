"""How much room the spool's disk has, looked at no more than once a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from relay.queue.room import LEAVE_FREE_OCTETS

LOOK_S = 1.0


class Disk:
    """The disk under a folder."""

    def __init__(self, folder: Path, clock: IReactorTime, free: Callable[[Path], int]) -> None:
        """free  octets that may be written to the disk of a folder; may raise OSError"""
        self._folder = folder
        self._clock = clock
        self._look = free
        self._looked_at = float("-inf")
        self._free: int | None = None

    def has_room(self, octets: int) -> bool:
        """Whether a message of this size fits.  What cannot be found out is found out when it is written."""
        free = self.free()
        return free is None or octets + LEAVE_FREE_OCTETS <= free

    def free(self) -> int | None:
        """Octets that may be written, a second ago or now; None when that cannot be found out."""
        now = self._clock.seconds()
        if not self._looked_at <= now < self._looked_at + LOOK_S:
            self._looked_at = now
            try:
                self._free = self._look(self._folder)
            except OSError:
                self._free = None
        return self._free
