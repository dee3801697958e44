"""What is promised and is not on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

from twisted.internet.defer import succeed

from relay.queue import batch, schema
from relay.queue.draft import BodyDraft
from relay.queue.sqlite import SqliteStore
from relay.testing.disk import SimulatedFiles
from tests.simulate.defects import Around, around, breakage


@breakage(power_cuts=12.0)
def forget_the_sync() -> Sequence[Any]:
    """SQLite does not sync: 250 is said for what is in the page cache only."""

    def unsynced(open_it: Around, *args: Any) -> Any:
        db = open_it(*args)
        schema.pragma(db, "synchronous = OFF")
        return db

    return [around(schema, "open_for_writing", unsynced)]


@breakage(power_cuts=12.0, slow_disk_s=2.0)
def commit_after_250() -> Sequence[Any]:
    """The message is acknowledged when its commit begins, and not when it has ended."""

    def early(commit: Around, store: Any, change: Any, body: Any) -> Any:
        commit(store, change, body).addErrback(lambda _: None)
        return succeed(change.result)

    return [around(SqliteStore, "commit", early)]


@breakage(power_cuts=12.0, large=0.5)
def body_not_synced() -> Sequence[Any]:
    """A large body gets its name without having been synced."""

    def seal(_: Around, body: Any) -> None:
        fd, body._fd = body._fd, None
        body._files.close(fd)
        body._files.rename(body._draft_path, body._path)
        body._files.sync_directory(body._path.parent)

    return [around(BodyDraft, "_seal", seal)]


@breakage(power_cuts=12.0, large=0.5)
def directory_not_synced() -> Sequence[Any]:
    """A large body is synced, its name is not."""
    return [mock.patch.object(SimulatedFiles, "sync_directory", lambda files, path: None)]


@breakage(disk_faults=60.0, large=0.9, letters=300.0)
def sync_once_more() -> Sequence[Any]:
    """A body whose sync failed is synced again, and taken: the kernel has thrown away what it could not write."""

    def stubborn(seal: Around, body: Any) -> None:
        try:
            seal(body)
        except OSError:
            seal(body)

    return [around(BodyDraft, "_seal", stubborn)]


@breakage()
def numbers_that_are_wrong() -> Sequence[Any]:
    """The queue's numbers count a message for each batch that brings none."""

    def written(write: Around, db: Any, changes: Any, *args: Any) -> Any:
        result = write(db, changes, *args)
        if not any(change.messages for change in changes):
            db.execute("UPDATE tally SET messages = messages + 1").fetchall()
        return result

    return [around(batch, "write", written)]
