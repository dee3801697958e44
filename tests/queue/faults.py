"""Disks that fail: a VFS for the database, and the files for the bodies, each with a switch.

disk = FaultyDisk()
disk.full = True                 writes and allocations find no room
disk.broken = True               everything that changes something fails
disk.fail_at = 7                 only the 7th changing operation from now on fails
"""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import apsw

from relay.queue.files import DiskFiles

_numbers = itertools.count()


class FaultyDisk:
    def __init__(self) -> None:
        self.full = False
        self.broken = False
        self.fail_at = 0
        self.operations = 0

    def touched(self, needs_room: bool = False) -> int:
        """Counts an operation, and gives the errno with which it is to fail, or 0."""
        self.operations += 1
        if self.fail_at:
            self.fail_at -= 1
            if not self.fail_at:
                return errno.EIO
        if self.broken:
            return errno.EIO
        return errno.ENOSPC if self.full and needs_room else 0

    def check(self, needs_room: bool = False) -> None:
        if number := self.touched(needs_room):
            raise OSError(number, os.strerror(number))


class FaultyFiles(DiskFiles):
    def __init__(self, disk: FaultyDisk) -> None:
        self.disk = disk

    def create(self, path: Path) -> int:
        self.disk.check()
        return super().create(path)

    def write(self, fd: int, data: bytes) -> None:
        self.disk.check(needs_room=True)
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        self.disk.check()
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self.disk.check()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self.disk.check()
        super().remove(path)

    def make_directory(self, path: Path) -> None:
        self.disk.check()
        super().make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self.disk.check()
        super().sync_directory(path)

    def allocate(self, path: Path, octets: int) -> None:
        self.disk.check(needs_room=True)
        super().allocate(path, octets)


class FaultyVfs(apsw.VFS):
    """SQLite's own files on this disk.  ``name`` is what the store is given; keep the object as long."""

    def __init__(self, disk: FaultyDisk) -> None:
        self.disk = disk
        self.name = f"faulty-{next(_numbers)}"
        super().__init__(self.name, "", maxpathname=1024)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return FaultyFile(self.disk, name, flags) if name else apsw.VFSFile("", name, flags)

    def xDelete(self, name: str, sync_directory: bool) -> None:
        self._check()
        super().xDelete(name, sync_directory)

    def _check(self) -> None:
        if self.disk.touched():
            raise apsw.exception_for(apsw.SQLITE_IOERR)


class FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:
        self._check(needs_room=True)
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._check()
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._check()
        super().xSync(flags)

    def _check(self, needs_room: bool = False) -> None:
        number = self._disk.touched(needs_room)
        if number:
            raise apsw.exception_for(apsw.SQLITE_FULL if number == errno.ENOSPC else apsw.SQLITE_IOERR)
