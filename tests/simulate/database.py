"""SQLite on the simulated disk: the real library and the real files, with each write and sync told to the disk.

Built on apsw's VFS: everything is handed on to SQLite's own, so locks and shared memory are the real ones.
"""

from __future__ import annotations

import contextlib
import errno
import itertools

import apsw

from tests.simulate.disk import Disk, Inode

_numbers = itertools.count()
_CREATED_WITH_ITS_DIRECTORY = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL


class SimulatedVfs(apsw.VFS):
    """A VFS of its own name for each disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.name = f"simulated-{next(_numbers)}"
        super().__init__(self.name, "", maxpathname=1024)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            return apsw.VFSFile("", None, flags)  # temporary: nobody misses it after a crash
        if self.disk.is_dead:
            raise apsw.CantOpenError("the machine is off")
        return SimulatedFile(self.disk, path, name, flags)

    def xDelete(self, name: str, sync_directory: bool) -> None:
        _told(lambda: self.disk.remove(name))
        super().xDelete(name, False)
        if sync_directory:
            _told(lambda: self.disk.sync_directory(name.rpartition("/")[0]))


class SimulatedFile(apsw.VFSFile):
    """A database or its log."""

    def __init__(self, disk: Disk, path: str, name: object, flags: list[int]) -> None:
        super().__init__("", name, flags)  # type: ignore[arg-type]
        self._disk = disk
        self._path = path
        self._inode: Inode = disk.inode(path)
        # SQLite's own VFS syncs the directory of a new log along with the log's first sync, and never again.
        self._is_new_log = bool(flags[0] & _CREATED_WITH_ITS_DIRECTORY)

    def xWrite(self, data: bytes, offset: int) -> None:
        _told(lambda: self._disk.write(self._path, self._inode, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        _told(lambda: self._disk.truncate(self._path, self._inode, size))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        _told(lambda: self._disk.sync(self._path, self._inode))
        if self._is_new_log:
            self._is_new_log = False
            with contextlib.suppress(OSError):  # as SQLite's own does: that it failed, nobody hears
                self._disk.sync_directory(self._path.rpartition("/")[0])


def _told(operation: object) -> None:
    """Does it; what the disk says against it, SQLite hears as it would from a real one."""
    try:
        operation()  # type: ignore[operator]
    except OSError as error:
        code = apsw.SQLITE_FULL if error.errno == errno.ENOSPC else apsw.SQLITE_IOERR
        raise apsw.exception_for(code) from None
