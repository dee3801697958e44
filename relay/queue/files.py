"""The operations on files that the store needs, one call each, so that a test can make any of them fail.

Everything is made for its owner alone (0700, 0600), whatever the umask says.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Protocol

from relay.queue.store import StoreFull, StoreUnavailable


class Files(Protocol):
    """All of them raise OSError."""

    def create(self, path: Path) -> int:
        """A new file, open for writing; what was there is emptied."""
        ...

    def open(self, path: Path) -> int: ...

    def read(self, fd: int, octets: int) -> bytes: ...

    def write(self, fd: int, data: bytes) -> None:
        """All of it."""
        ...

    def sync(self, fd: int) -> None: ...

    def close(self, fd: int) -> None: ...

    def rename(self, old: Path, new: Path) -> None: ...

    def remove(self, path: Path) -> None:
        """It is no error when it is not there."""
        ...

    def make_directory(self, path: Path) -> None:
        """With its entry in the parent synced; when that fails it is not there.  It is no error when it was."""
        ...

    def remove_directory(self, path: Path) -> None:
        """An empty one."""
        ...

    def sync_directory(self, path: Path) -> None: ...

    def names(self, path: Path) -> list[str]:
        """What is in a directory; nothing when there is no such directory."""
        ...

    def size(self, path: Path) -> int | None:
        """Octets, or None when there is no such file."""
        ...

    def free(self, directory: Path) -> int:
        """Octets that may be written to the disk it is on."""
        ...

    def allocate(self, path: Path, octets: int) -> None:
        """A file that really has this room on the disk."""
        ...


class DiskFiles:
    """The files of this machine."""

    def create(self, path: Path) -> int:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.fchmod(fd, 0o600)
        return fd

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def read(self, fd: int, octets: int) -> bytes:
        return os.read(fd, octets)

    def write(self, fd: int, data: bytes) -> None:
        written = os.write(fd, data)
        while written < len(data):
            written += os.write(fd, memoryview(data)[written:])

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o700)
            path.chmod(0o700)
            try:
                self.sync_directory(path.parent)
            except OSError:
                self.remove_directory(path)  # else the next one would find it, and take its name for safe
                raise

    def remove_directory(self, path: Path) -> None:
        path.rmdir()

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def names(self, path: Path) -> list[str]:
        try:
            return sorted(os.listdir(path))  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int | None:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None

    def free(self, directory: Path) -> int:
        disk = os.statvfs(directory)
        return disk.f_bavail * disk.f_frsize

    def allocate(self, path: Path, octets: int) -> None:
        fd = self.create(path)
        try:
            os.posix_fallocate(fd, 0, octets)
            os.fsync(fd)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)


def trouble_of(error: OSError) -> StoreUnavailable:
    """What trouble with a file means for the caller."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no room on the disk of the spool: {error}")
    return StoreUnavailable(f"the spool cannot be used: {error}")
