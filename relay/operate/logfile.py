"""The file, or standard error, that log lines go to: gathered, written a few times a second, opened again on request.

The rule that must not be broken: a log that cannot be written stops nothing.  What does not fit is counted,
and the count is written when it can be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

FLUSH_AFTER_S = 0.2
LINES_AT_ONCE = 2000
PENDING_LIMIT_OCTETS = 1 << 20

STDERR = 2


class Lines(Protocol):
    """Where lines go.

    lost  the line that stands for so many which could not be written
    """

    lost: Callable[[int], str]

    def write(self, line: str, at_once: bool = False) -> None: ...

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class LogFile:
    """Where lines go: a file, or standard error."""

    def __init__(self, clock: IReactorTime, path: Path | None = None) -> None:
        """path  None for standard error.  Raises OSError when the file cannot be opened."""
        self._clock = clock
        self._path = path
        self._fd = _open(path)
        self._lines: list[str] = []
        self._pending = b""  # what a descriptor would not take yet
        self._lost = 0
        self.lost: Callable[[int], str] = "# {} log lines were lost here".format
        self._ended = False
        self._flushing: IDelayedCall | None = None

    def write(self, line: str, at_once: bool = False) -> None:
        """Takes a line, without its end.  Never raises and never waits, other than for the disk.

        at_once  it is important: do not wait for company
        """
        self._lines.append(line)
        if at_once or self._ended or len(self._lines) >= LINES_AT_ONCE:
            self.flush()
        elif self._flushing is None:
            self._flushing = self._clock.callLater(FLUSH_AFTER_S, self._flush_in_turn)

    def flush(self) -> None:
        """Hands over all that was gathered."""
        if self._lines:
            text = "\n".join(self._lines) + "\n"
            self._lines.clear()
            data = text.encode("utf-8", "backslashreplace")
            if len(self._pending) + len(data) > PENDING_LIMIT_OCTETS and self._pending:
                self._lost += data.count(b"\n")
            else:
                self._pending += data
        self._write_pending()

    def reopen(self) -> None:
        """Opens the file by its name again, after it was moved away.  Raises OSError, and then the old one is kept."""
        self.flush()
        if self._path is not None:
            fd, self._fd = self._fd, _open(self._path)
            os.close(fd)

    def give_to(self, uid: int, gid: int) -> None:
        """As root, makes the file the one's who is going to write it, so that he can open it again."""
        if self._path is not None:
            os.fchown(self._fd, uid, gid)

    def close(self) -> None:
        """Writes what there is, and ends.  Who still has something to say then, says it on standard error."""
        self._ended = True
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self.flush()
        if self._path is not None:
            os.close(self._fd)
            self._path, self._fd = None, STDERR

    def _flush_in_turn(self) -> None:
        self._flushing = None
        self.flush()
        if self._pending:
            self._flushing = self._clock.callLater(FLUSH_AFTER_S * 5, self._flush_in_turn)

    def _write_pending(self) -> None:
        try:
            while self._pending:
                written = os.write(self._fd, self._pending)
                self._pending = self._pending[written:]
                if not self._pending and self._lost:
                    self._pending, self._lost = f"{self.lost(self._lost)}\n".encode(), 0
        except OSError:  # a full disk, or a pipe whose reader is slow: it is tried again in turn
            pass


def _open(path: Path | None) -> int:
    if path is None:
        sys.stderr.flush()
        return STDERR
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
