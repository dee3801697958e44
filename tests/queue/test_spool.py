"""The spool directory: one relay at a time, and closed to everybody else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from relay.queue.files import DiskFiles
from relay.queue.spool import Spool, SpoolInUse, SpoolNotOurs, remove_empty
from relay.queue.sqlite import SqliteStore
from tests.conformance.mail import clock_at, now, queue
from tests.fakes.executors import inline


def opened(directory: Path) -> SqliteStore:
    return SqliteStore(directory, clock=clock_at(), executors=inline(), reserve_octets=4096)


def test_a_second_relay_on_the_same_spool_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """Two of them would send all mail twice."""
    store = opened(tmp_path / "spool")
    with pytest.raises(SpoolInUse, match=rf"in use by process {os.getpid()}") as refused:
        opened(tmp_path / "spool")
    assert refused.value.pid == os.getpid()
    now(store.close())
    now(opened(tmp_path / "spool").close())


def test_a_relay_in_another_process_is_noticed_and_its_death_too(tmp_path: Path) -> None:
    """The lock goes with the process, however it ended: nothing has to be cleaned up."""
    code = (
        "import sys, pathlib; from relay.queue.spool import Spool; from relay.queue.files import DiskFiles\n"
        "spool = Spool(pathlib.Path(sys.argv[1]), DiskFiles()); print('locked', flush=True); sys.stdin.read()"
    )
    place = tmp_path / "spool"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    with pytest.raises(SpoolInUse, match=f"process {child.pid}"):
        opened(place)
    child.kill()
    child.communicate()
    now(opened(place).close())


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_everything_is_for_the_owner_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = opened(tmp_path / "deep" / "spool")
        queue(store)
        queue(store, content=b"x" * 100_000)
        draft = store.begin()
        draft.write(b"x" * 100_000)
    finally:
        os.umask(before)
    found = set()
    for path in [tmp_path / "deep" / "spool", *(tmp_path / "deep" / "spool").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))
        found.add(path.name)
    assert {"queue.db", "queue.db-wal", "queue.db-shm", "lock", "reserve", "bodies"} < found
    draft.abort()
    now(store.close())


def test_a_spool_open_to_others_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    now(opened(tmp_path).close())
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_somebody_elses_spool_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root would write there, the relay could not read when it is started as it should be."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(SpoolNotOurs, match="this is user 12345"):
        opened(tmp_path)


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    """A local attacker's file would be overwritten (field: queue and lock files as links)."""
    victim = tmp_path / "victim"
    victim.write_text("dear")
    spool = tmp_path / "spool"
    spool.mkdir(0o700)
    (spool / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        Spool(spool, DiskFiles())
    assert victim.read_text() == "dear"


def test_a_start_that_failed_lets_go_of_the_spool(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir(0o700)
    (spool / "queue.db").mkdir()
    for _ in range(2):
        with pytest.raises(OSError, match="directory"):
            opened(spool)
    (spool / "queue.db").rmdir()
    now(opened(spool).close())


def test_an_empty_spool_goes_and_one_with_a_body_stays(tmp_path: Path) -> None:
    """Nothing is deleted that may be mail."""
    for name in ("empty", "with"):
        (tmp_path / name / "bodies" / "a7").mkdir(parents=True)
        for file in ("queue.db", "lock", "reserve"):
            (tmp_path / name / file).touch()
    (tmp_path / "with" / "bodies" / "a7" / "00000000000a").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.eml").touch()
    assert remove_empty(tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
    for name in ("with", "other"):
        assert not remove_empty(tmp_path / name)
    assert (tmp_path / "with" / "queue.db").exists()
    assert (tmp_path / "with" / "bodies" / "a7" / "00000000000a").exists()
