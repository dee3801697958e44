"""The spool directory: ours alone, one relay at a time.

    lock          held for as long as a relay runs on this spool; holds its process id
    queue.db      the database, with queue.db-wal and queue.db-shm
    bodies/       large bodies (bodies.py)
    reserve       room on the disk that is given up when it is full, so that results can still be written
    set-aside/    what was found broken and put out of the way; an operator's business, never deleted by us

The rule that must not be broken: nothing in here is deleted that may be mail.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from relay.queue.files import Files

DATABASE = "queue.db"
BODIES = "bodies"
RESERVE = "reserve"
SET_ASIDE = "set-aside"
LOCK = "lock"


class SpoolInUse(Exception):
    """Another relay runs on this spool; ``str()`` names its process.

    pid  its process id, or None when it has not written it yet
    """

    def __init__(self, directory: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"the spool {directory} is in use by {who}; two relays on one spool would send mail twice")
        self.pid = pid


class SpoolNotOurs(Exception):
    """The spool directory cannot be used by this user; ``str()`` says why and what to do."""


class Spool:
    """A spool directory, locked.  Raises SpoolInUse, SpoolNotOurs, OSError."""

    def __init__(self, directory: Path, files: Files) -> None:
        self.directory = directory
        self.database = directory / DATABASE
        self.bodies = directory / BODIES
        self.reserve = directory / RESERVE
        self._files = files
        make(directory, files)
        make_ours(directory)
        if not self.database.exists():
            # The directory may be somebody else's doing, or that of a start which was killed before its name was safe.
            for place in (directory.parent, directory.parent.parent):
                with contextlib.suppress(PermissionError):
                    files.sync_directory(place)
        self._lock = lock(directory)

    def close(self) -> None:
        """Lets another relay have it."""
        os.close(self._lock)

    def make_private(self, path: Path) -> None:
        """Makes the file, or its mode, such that SQLite makes its own files beside it for us alone.

        Only before SQLite has opened it: closing it later would drop SQLite's locks (POSIX).
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(fd, 0o600)
        finally:
            os.close(fd)
        self._files.sync_directory(path.parent)  # SQLite does this for its log, and takes this file as it finds it

    def read_database_through(self) -> None:
        """Reads every octet of it.  Raises OSError: then it is the disk that fails.

        Only while SQLite has it closed (POSIX locks, as above).
        """
        for name in (DATABASE, f"{DATABASE}-wal"):
            if (self.directory / name).exists():
                fd = self._files.open(self.directory / name)
                try:
                    while self._files.read(fd, 1 << 20):
                        pass
                finally:
                    self._files.close(fd)

    def set_aside_database(self, name: str) -> Path:
        """Moves the database and all bodies away, together, and gives the place where they are now."""
        place = self._set_aside_place() / name
        count = 0
        while place.exists():
            count += 1
            place = place.with_name(f"{name}-{count}")
        self._files.make_directory(place)
        # The log first: without it the database might be taken for whole by whoever comes in between.
        for old in (f"{DATABASE}-wal", f"{DATABASE}-shm", DATABASE, BODIES):
            if (self.directory / old).exists():
                self._files.rename(self.directory / old, place / old)
        self._files.sync_directory(place)
        self._files.sync_directory(self.directory)
        return place

    def databases_aside(self) -> list[Path]:
        """The folders of databases that were set aside, and still lie there."""
        place = self.directory / SET_ASIDE
        return [place / name for name in self._files.names(place) if holds_database(place / name)]

    def set_aside_file(self, path: Path) -> Path:
        place = self._set_aside_place() / path.name
        self._files.rename(path, place)
        return place

    def _set_aside_place(self) -> Path:
        place = self.directory / SET_ASIDE
        self._files.make_directory(place)
        return place


def holds_database(folder: Path) -> bool:
    """Whether there is a database in a folder, as far as can be seen: what cannot be seen is not gone."""
    try:
        return (folder / DATABASE).exists()
    except OSError:
        return True


def make(directory: Path, files: Files) -> None:
    """Makes the directory and its parents, each with its name synced."""
    if not directory.parent.exists():
        make(directory.parent, files)
    files.make_directory(directory)


def make_ours(directory: Path) -> None:
    """Sees to it that the directory belongs to this user and is closed to everybody else."""
    status = directory.stat()
    if status.st_uid != os.geteuid():
        raise SpoolNotOurs(
            f"the spool {directory} belongs to user {status.st_uid} and this is user {os.geteuid()};"
            " run the relay as its owner, or give the directory to this user (chown -R)"
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        directory.chmod(0o700)


def look_for_another(directory: Path) -> None:
    """Raises SpoolInUse when a relay works here, and OSError; nothing is made, and nothing kept."""
    try:
        fd = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    _take(fd, directory)
    os.close(fd)


def _take(fd: int, directory: Path) -> None:
    """Locks an open lock file, or closes it and raises SpoolInUse."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(fd, 32).strip()
        os.close(fd)
        raise SpoolInUse(directory, int(text) if text.isdigit() else None) from None


def lock(directory: Path) -> int:
    """The open lock file.  The lock goes with the process, however that ends."""
    fd = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    _take(fd, directory)
    os.fchmod(fd, 0o600)
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


def remove_empty(directory: Path) -> bool:
    """Removes a spool whose queue is closed and has nothing in it; False when there is more than we put there.

    The database goes last but for the lock: what a crash leaves is opened as an empty queue and removed again.
    """
    known = {BODIES, RESERVE, SET_ASIDE, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", LOCK}
    if {place.name for place in directory.iterdir()} - known:
        return False
    try:
        for name in (BODIES, SET_ASIDE):
            if (directory / name).exists():
                for inner in (directory / name).iterdir():
                    inner.rmdir()
                (directory / name).rmdir()
    except OSError:  # a file: not ours to judge
        return False
    for name in (RESERVE, f"{DATABASE}-wal", f"{DATABASE}-shm", DATABASE, LOCK):
        (directory / name).unlink(missing_ok=True)
    directory.rmdir()
    return True
