"""CPU time and memory of a process and all its descendants, from /proc (Linux)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_OCTETS = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """cpu_s of the living and of the children they have waited for; memory_octets as proportional set size."""

    cpu_s: float
    memory_octets: int


def family(root: int) -> list[int]:
    """The process and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, look = [], [root]
    while look:
        pid = look.pop()
        found.append(pid)
        look.extend(children.get(pid, []))
    return found


def usage(roots: list[int]) -> Usage:
    """What these processes and their descendants have used so far."""
    ticks = octets = 0
    for pid in {pid for root in roots for pid in family(root)}:
        fields = _stat(pid)
        if fields:
            ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
            octets += 0 if pid in roots else _pss(pid)  # a root is our own reaper
    return Usage(ticks / _TICKS_PER_S, octets)


def share_busy(seconds: float) -> float:
    """How busy the processors of the machine are in the next so many seconds, 0..1."""
    before = _busy_ticks()
    time.sleep(seconds)
    after = _busy_ticks()
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def _busy_ticks() -> tuple[int, int]:
    """Those in which something ran, and all."""
    user, nice, system, idle, waiting, *others = map(
        int, Path("/proc/stat").read_text("ascii").split("\n")[0].split()[1:9]
    )
    return user + nice + system + sum(others), user + nice + system + idle + waiting + sum(others)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the program's name, from the state on; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
