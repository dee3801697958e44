"""A running program whose calls to the kernel fail, wait or kill it: strace's fault injection."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.scenarios.peers import program, wait_until


@contextmanager
def injected(pid: int, calls: str, fault: str) -> Iterator[None]:
    """While these calls of a process and its threads are so (``error=EIO:when=1+3``, ``signal=SIGKILL``, …: strace(1)).

    It may be dead before this has begun, by the first of them.
    """
    tracer = subprocess.Popen(
        [
            program("strace"),
            *("-f", "-q", "-o", "/dev/null", "-p", str(pid)),
            *("-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"),
        ],
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: _is_traced(pid) or tracer.poll() is not None, "it is traced")
        if tracer.poll() is not None and Path(f"/proc/{pid}").exists():
            assert tracer.stderr is not None
            said = tracer.stderr.read().decode().strip()
            if not _is_dead(pid):
                pytest.skip(f"strace cannot trace here: {said}")
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def _status(pid: int) -> dict[str, str]:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}


def _is_traced(pid: int) -> bool:
    return _status(pid).get("TracerPid", "0") != "0"


def _is_dead(pid: int) -> bool:
    return _status(pid).get("State", "Z")[:1] in ("Z", "X")
