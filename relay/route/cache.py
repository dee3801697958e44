"""What is remembered until it expires, and at most so much of it: the least recently used goes first."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """A bounded table whose entries expire.

    limit  entries kept at most
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[K, tuple[V, float]] = {}  # the least recently used is the first

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """What is remembered under ``key``, or None.  ``now`` in seconds since the epoch."""
        entry = self._entries.pop(key, None)
        if entry is None or entry[1] <= now:
            return None
        self._entries[key] = entry
        return entry[0]

    def put(self, key: K, value: V, expires_at: float) -> None:
        self._entries.pop(key, None)
        if len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (value, expires_at)

    def clear(self) -> None:
        self._entries.clear()
