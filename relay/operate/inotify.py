"""Hearing at once that something has come into a folder, where the system can tell it (inotify, on Linux)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.python.filepath import FilePath

if sys.platform.startswith("linux"):  # and before root is given up: the user may not be allowed to read where it lives
    from twisted.internet import inotify

WatchFolder = Callable[[Path, Callable[[], None]], "Callable[[], None] | None"]
"""Calls whenever a file was moved into a folder; gives what ends that, or None when nobody can tell."""


def watch(reactor: Any, folder: Path, came: Callable[[], None]) -> Callable[[], None] | None:
    """See WatchFolder.  Whoever is told must be quick: it is told of each file."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        notifier = inotify.INotify(reactor)
    except inotify.INotifyError:  # too many are in use (fs.inotify.max_user_instances)
        return None
    try:
        notifier.watch(FilePath(str(folder)), inotify.IN_MOVED_TO, callbacks=[lambda *_: came()])
    except inotify.INotifyError:
        notifier.loseConnection()
        return None
    notifier.startReading()

    def end() -> None:
        notifier.stopReading()
        notifier.loseConnection()

    return end
