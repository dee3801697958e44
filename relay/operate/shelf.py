"""A small text that outlives restarts: a file in the spool, replaced whole.

What goes wrong with it is told and stops no mail: it is a memory of what can be asked again.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.python.failure import Failure

from relay.message.step import Tell
from relay.receive.watched import InThread

SIZE_LIMIT_OCTETS = 64 * 1024 * 1024


class FileShelf:
    """Fits relay.route.policies.Shelf."""

    def __init__(self, path: Path, tell: Tell, in_thread: InThread) -> None:
        self._path = path
        self._tell = tell
        self._in_thread = in_thread

    def load(self) -> str | None:
        try:
            with self._path.open("rb") as file:
                return file.read(SIZE_LIMIT_OCTETS).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            self._tell("trouble", place=str(self._path), error=f"cannot be read: {error.strerror}")
            return None

    def save(self, text: str) -> None:
        self._in_thread(lambda: _write(self._path, text)).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._tell("trouble", place=str(self._path), error=f"cannot be written: {failure.getErrorMessage()}")


def _write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
