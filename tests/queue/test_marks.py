"""A body that a crash leaves without its row is ours, and swept: its id is below the mark before it has its name."""

from __future__ import annotations

import shutil
from pathlib import Path

from relay.queue.files import DiskFiles
from relay.queue.sqlite import SqliteStore
from relay.queue.store import NewMessage, Settlement
from tests.conformance.mail import NOW, clock_at, now, queue, to
from tests.fakes.executors import inline


class CrashesAfterRename(DiskFiles):
    """Keeps the spool as it is when a body has just got its name."""

    def __init__(self, spool: Path, kept: Path) -> None:
        self.spool = spool
        self.kept = kept

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        shutil.copytree(self.spool, self.kept, dirs_exist_ok=True)


def begin_again(spool: Path) -> list[str]:
    """The steps that the next start on this spool tells."""
    steps: list[str] = []
    clock = clock_at(NOW + 10_000)
    store = SqliteStore(
        spool, clock=clock, executors=inline(), reserve_octets=0, tell=lambda step, **_: steps.append(step)
    )
    now(store.close())
    return steps


def bodies(spool: Path) -> list[Path]:
    return [path for path in (spool / "bodies").rglob("*") if path.is_file()]


def test_a_crash_before_the_commit_of_a_large_message_leaves_nothing_to_look_at(tmp_path: Path) -> None:
    """Scar: the first large message after a quiet minute was set aside as mail of another database, and an
    operator called, though nobody had been told 250 (simulation, seed 168)."""
    spool, kept = tmp_path / "spool", tmp_path / "kept"
    files = CrashesAfterRename(spool, kept)
    store = SqliteStore(spool, clock=clock_at(NOW), executors=inline(), files=files, reserve_octets=0)
    queue(store, content=b"x" * 100_000)
    now(store.close())
    assert len(bodies(kept)) == 1
    assert begin_again(kept) == []
    assert bodies(kept) == []


def test_nor_does_one_before_the_commit_of_a_large_report(tmp_path: Path) -> None:
    spool, kept = tmp_path / "spool", tmp_path / "kept"
    clock = clock_at(NOW)
    store = SqliteStore(spool, clock=clock, executors=inline(), files=CrashesAfterRename(spool, kept), reserve_octets=0)
    message = queue(store)
    clock.advance(3600)
    report = NewMessage(message.envelope, message.origin, b"", b"x" * 100_000, (to("ann@example.org"),), NOW + 3600)
    now(store.record(Settlement(message.id, finished=(0,), reports=(report,))))
    now(store.close())
    assert begin_again(kept) == []
    assert bodies(kept) == []
