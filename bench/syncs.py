"""How often a relay makes the disk wait, per message: its calls to fsync and its like, counted by strace.

Counted in a short run of its own, since strace slows what it watches.
"""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

import bench.peers
from bench.peers import Peer, find
from bench.works import SETTLE_S, Sink, part_of, source

MESSAGES, SESSIONS = 300, 20
_SYNC = re.compile(r"\b(?:fsync|fdatasync|syncfs|sync|sync_file_range|msync)\(")


def syncs_per_message(peer: Peer, sink: Sink) -> float:
    """For 4 KiB from 20 sessions, one connection each.  Raises Missing."""
    strace = find("strace")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        folder.chmod(0o755)
        trace = folder / "trace"
        words = [strace, "-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs,sync,sync_file_range,msync", "-o", trace]
        bench.peers.under = [str(word) for word in words]
        try:
            peer.start(folder, sink.port)
            time.sleep(SETTLE_S * 2)
            before = _count(trace)
            result = source(SESSIONS, MESSAGES)(peer, sink)
            time.sleep(SETTLE_S * 2)
            after = _count(trace)
        finally:
            bench.peers.under = []
            peer.stop()
    if not result.complete:
        raise OSError("not every message arrived")
    return (after - before) / part_of(MESSAGES, SESSIONS, peer)


def _count(trace: Path) -> int:
    return sum(1 for line in trace.read_text("utf-8", "replace").splitlines() if _SYNC.search(line))
