"""Where the shards of a spool lie.

    spool/             shard 0: the whole queue of a relay with one worker, the first part of one with several
    spool/shards/1     shard 1, a spool by itself: lock, queue.db, bodies/, control.sock
    spool/shards/2     …

So a spool needs no migration when ``workers`` changes: more workers begin shards, fewer leave some without a worker,
and those are adopted (relay.operate.adoption) until they are empty.

The rule that must not be broken: no two processes work on one shard; each holds its lock for as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SHARDS = "shards"


def folder_of(spool: Path, shard: int) -> Path:
    """Where a shard lies."""
    return spool / SHARDS / str(shard) if shard else spool


def number_of(folder: Path) -> int:
    """Which shard lies there: what its ids have in their lowest bits."""
    return int(folder.name) if folder.parent.name == SHARDS and folder.name.isdecimal() else 0


def root_of(folder: Path) -> Path:
    """The spool that a shard belongs to."""
    return folder.parent.parent if number_of(folder) else folder


def shards_in(spool: Path) -> Sequence[int]:
    """The numbers of the shards that have a folder, 0 first; 0 always is there."""
    try:
        names = [place.name for place in (spool / SHARDS).iterdir()]
    except OSError:
        names = []
    return sorted({0, *(int(name) for name in names if name.isdecimal() and name == str(int(name)))})


def orphans(spool: Path, workers: int, worker: int) -> Sequence[Path]:
    """The folders of shards without a worker that this one has to adopt; they are spread evenly."""
    left = [shard for shard in shards_in(spool) if shard >= workers]
    return [folder_of(spool, shard) for shard in left if shard % workers == worker]
