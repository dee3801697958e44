"""Real file systems in trouble: the power fails, room or inodes run out, the disk turns read-only, calls fail.

After each the promise is checked, and that the relay takes mail again by itself or after a start.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.scenarios.disks import a_disk, in_memory
from tests.scenarios.peers import Relay, free_port, greets, start_relay, wait_until
from tests.scenarios.promise import CONFIG, Load, check_promise, fates
from tests.scenarios.tracing import injected

pytestmark = [pytest.mark.endtoend, pytest.mark.slow]

TIMES = float(os.environ.get("RELAY_CRASH_ROUNDS", "1"))


@contextmanager
def ended_at_last(relay: list[Relay]) -> Iterator[None]:
    try:
        yield
    finally:
        relay[-1].process.kill()
        relay[-1].process.wait()


@contextmanager
def held_still(pid: int) -> Iterator[None]:
    """No system call of this process is under way: of the syncs that are, when a file system is shut down, ext4 says to
    one in eight that it is done, to any program (Linux 6.18).  Power that fails within a sync is for tests/simulate."""
    os.kill(pid, signal.SIGSTOP)
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    wait_until(lambda: all(_state(thread) == "T" for thread in threads), "it stands still")
    yield
    os.kill(pid, signal.SIGCONT)


def _state(thread: Path) -> str:
    return (thread / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_acknowledged_is_lost_when_the_power_fails(tmp_path: Path, seed: int) -> None:
    """What was not synced is gone from a real file system: had a 250 been said too early, it would show here."""
    chance = random.Random(seed)
    port = free_port()
    rounds = max(1, round(6 * TIMES))
    with ExitStack() as stack:
        disk = stack.enter_context(a_disk(tmp_path))
        hop = stack.enter_context(fates())
        config = CONFIG.format(port=hop.port)
        relays = [start_relay(tmp_path / "r", config, port, spool=disk.folder / "spool")]
        stack.enter_context(ended_at_last(relays))
        load = stack.enter_context(Load(port, seed))
        for _ in range(rounds):
            load.wait_for(chance.randint(5, 60))
            time.sleep(chance.random() * 0.02)
            with held_still(relays[-1].process.pid):
                disk.lose_power()
            # For a moment it lives on with a dead disk: whatever it says 250 to now is a lie.
            time.sleep(chance.random() * 0.2)
            relays[-1].process.kill()
            relays[-1].process.wait()
            disk.unplug()
            disk.plug_in()
            relays.append(start_relay(tmp_path / "r", config, port, spool=disk.folder / "spool"))
        twice = check_promise(load, hop, relays[-1], rounds)
        print(f"{rounds} power failures, {len(load.acknowledged)} promised, {twice} twice")
        assert relays[-1].end() == 0
        assert set(load.refused) <= {421, 451, 452}


def test_a_disk_that_dies_is_451_and_mail_goes_on_after_a_new_start(tmp_path: Path) -> None:
    """ext4 turns read-only by itself after an error of the disk, with files open; so is it here."""
    port = free_port()
    with ExitStack() as stack:
        disk = stack.enter_context(a_disk(tmp_path))
        hop = stack.enter_context(fates())
        config = CONFIG.format(port=hop.port)
        relays = [start_relay(tmp_path / "r", config, port, spool=disk.folder / "spool")]
        stack.enter_context(ended_at_last(relays))
        load = stack.enter_context(Load(port, 3))
        load.wait_for(30)
        aborted = subprocess.run(
            ["mount", "-o", "remount,abort", disk.folder], capture_output=True, text=True, check=False
        )
        if aborted.returncode != 0:
            pytest.skip(f"cannot turn it read-only: {aborted.stderr.strip()}")
        wait_until(lambda: sum(load.refused.values()) >= 20, "mail is refused")
        assert set(load.refused) <= {421, 451, 452}
        assert relays[-1].process.poll() is None, "it waits for an operator, and lives"
        assert greets(port)
        with suppress(subprocess.TimeoutExpired):
            relays[-1].end(limit_s=10)
        relays[-1].process.kill()
        relays[-1].process.wait()
        disk.unplug()
        disk.plug_in()
        relays.append(start_relay(tmp_path / "r", config, port, spool=disk.folder / "spool"))
        load.wait_for(10)
        check_promise(load, hop, relays[-1], 1)
        assert relays[-1].end() == 0


def test_without_inodes_large_mail_is_refused_for_now_and_comes_later(tmp_path: Path) -> None:
    """A disk may have room and no place for one more file."""
    port = free_port()
    with ExitStack() as stack:
        folder = stack.enter_context(in_memory(tmp_path / "disk", "size=200m,nr_inodes=200"))
        hop = stack.enter_context(fates())
        relays = [start_relay(tmp_path / "r", CONFIG.format(port=hop.port), port, spool=folder / "spool")]
        stack.enter_context(ended_at_last(relays))
        load = stack.enter_context(Load(port, 4))
        load.wait_for(20)
        fillers = []
        with suppress(OSError):
            for number in range(300):
                filler = folder / f"filler{number}"
                filler.touch()
                fillers.append(filler)
        assert len(fillers) < 300
        wait_until(lambda: sum(load.refused.values()) >= 5, "large mail is refused")
        assert set(load.refused) <= {421, 451, 452}
        for filler in fillers:
            filler.unlink()
        refused = sum(load.refused.values())
        load.wait_for(60, "mail is taken again")
        assert sum(load.refused.values()) <= refused + 4, "what was under way may still be refused"
        check_promise(load, hop, relays[-1], 0)
        assert relays[-1].end() == 0


def test_without_descriptors_clients_wait_and_nothing_is_lost(tmp_path: Path) -> None:
    """EMFILE at accept, at connect and at open: trouble of ours, which passes when there are descriptors again."""
    port = free_port()
    with ExitStack() as stack:
        hop = stack.enter_context(fates())
        relays = [start_relay(tmp_path, CONFIG.format(port=hop.port), port)]
        stack.enter_context(ended_at_last(relays))
        load = stack.enter_context(Load(port, 5))
        load.wait_for(20)
        pid = relays[-1].pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        for spare in (6, 3, 1, 0):
            open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + spare, before[1]))
            idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            time.sleep(1)
            assert relays[-1].process.poll() is None
            for connection in idle:
                connection.close()
        assert set(load.refused) <= {421, 451, 452}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        load.wait_for(60, "mail is taken again")
        used_s = _processor_time_s(pid)
        load.stop()
        check_promise(load, hop, relays[-1], 1)
        assert _processor_time_s(pid) - used_s < 30
        assert relays[-1].end() == 0


def _processor_time_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        ("fdatasync,fsync", "EIO"),
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EIO"),
        ("pread64", "EIO"),
        ("?open,openat", "EMFILE"),
        ("?rename,?renameat,?renameat2,?link,?linkat", "EIO"),
        ("?unlink,?unlinkat", "EIO"),
        ("ftruncate", "EIO"),
    ],
)
def test_calls_that_fail_for_a_while_lose_nothing(tmp_path: Path, calls: str, error: str) -> None:
    """Each third call of a kind fails in each thread, then none: refusals were 4yz, and what was promised is kept."""
    assert hasattr(errno, error)
    port = free_port()
    with ExitStack() as stack:
        hop = stack.enter_context(fates())
        relays = [start_relay(tmp_path, CONFIG.format(port=hop.port), port)]
        stack.enter_context(ended_at_last(relays))
        load = stack.enter_context(Load(port, len(calls)))
        load.wait_for(10)
        with injected(relays[-1].pid, calls, f"error={error}:when=1+3"):
            time.sleep(2)
        assert relays[-1].process.poll() is None, relays[-1].said()[-2000:]
        assert set(load.refused) <= {421, 451, 452}
        load.wait_for(20, "mail is taken again")
        if calls == "pread64":  # what could not be read is looked at again when its lease has run out, or after a start
            load.stop()
            assert relays[-1].end() == 0
            relays.append(start_relay(tmp_path, CONFIG.format(port=hop.port), port))
        twice = check_promise(load, hop, relays[-1], 3)
        print(f"{calls} {error}: refused {dict(load.refused)}, {len(load.acknowledged)} promised, {twice} twice")
        assert relays[-1].end() == 0
