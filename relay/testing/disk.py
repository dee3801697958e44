"""A disk that keeps what was synced, and of the rest whatever it likes.

The files are real ones in a folder in memory, and are what a running program sees.  Beside each stands what the
platter holds: the octets as of the last sync, the writes since then in their order, and, for each directory,
the names as of its last sync and the changes since.  A crash of the machine puts the platter's view in the place
of the program's.

A sync that fails may leave everything as it was, to be written by the next; or the kernel throws away what it could
not write and calls it clean (as Linux does): then no later sync writes it, and what a program reads of it may be the
new octets for as long as they are remembered, or the old ones.

The rule that must not be broken: what was not synced may be there after a crash or not, in part or torn; what
was synced is there.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from relay.queue.files import DiskFiles

SECTOR_OCTETS = 512


class Inode:
    """A file on the platter, or a directory, which has no octets.

    synced   its octets as of the last sync
    pending  writes since then: (offset, data), or (size, None) for a truncation
    size     as programs see it
    """

    __slots__ = ("is_directory", "pending", "size", "synced")

    def __init__(self, is_directory: bool = False) -> None:
        self.is_directory = is_directory
        self.synced = bytearray()
        self.size = 0
        self.pending: list[tuple[int, bytes | None]] = []

    def settle(self, writes: list[tuple[int, bytes | None]]) -> None:
        """These writes reach the platter."""
        for offset, data in writes:
            if data is None:
                del self.synced[offset:]
                self.synced.extend(bytes(offset - len(self.synced)))
            else:
                self.synced.extend(bytes(max(0, offset - len(self.synced))))
                self.synced[offset : offset + len(data)] = data


Change = tuple[str, Inode | None]
"""A name in a directory, and what it stands for from now on (None: it is gone)."""


class Disk:
    """See the module.

    operations  how many there were; each changes something or makes it last
    is_dead     the machine has crashed: nothing works until ``restart``
    fail_at     operation -> errno with which it fails
    crash_at    the operation in the middle of which the machine crashes; crash_kind how (the world's word)
    failed      operations that have failed so far
    dropped     syncs among them that threw away what they could not write
    capacity    octets that fit; more is ENOSPC
    """

    def __init__(self, folder: Path, chance: Random, died: Callable[[], None] = lambda: None) -> None:
        self.folder = folder
        self._root = str(folder.parent)  # what is above has always been there
        self.operations = 0
        self.is_dead = False
        self.fail_at: dict[int, int] = {}
        self.crash_at: int | None = None
        self.crash_kind = ""
        self.capacity: int | None = None
        self.used = 0
        self.failed = 0
        self.dropped = 0
        self.log: Callable[[str], None] | None = None
        self._died = died
        self._chance = chance
        self._names: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        self._changes: dict[str, list[Change]] = {}

    # -- what programs do -----------------------------------------------------------------------

    def operate(self, what: str, path: str, octets: int = 0) -> None:
        """Counts an operation that is about to be done.  Raises OSError when it is not to be."""
        if self.is_dead:
            raise OSError(errno.EIO, "the machine is off", path)
        self.operations += 1
        if self.log is not None:
            self.log(f"disk {self.operations} {what} {path.rsplit('/', 1)[-1]} {octets}")
        if self.operations == self.crash_at:
            self.is_dead = True
            self._died()
            raise OSError(errno.EIO, "the machine went off", path)
        code = self.fail_at.pop(self.operations, None)
        if code is None and octets and self.capacity is not None and self.used + octets > self.capacity:
            code = errno.ENOSPC
        if code is not None:
            self.failed += 1
            raise OSError(code, os.strerror(code), path)

    def inode(self, path: str) -> Inode:
        """The file of this name; one that was made by others is met here for the first time."""
        inode = self._names.get(path)
        if inode is None:
            inode = self._names[path] = Inode()
            self._note(path, inode)
        return inode

    def created(self, path: str) -> Inode:
        """A new, empty file has this name now, or an old one was emptied."""
        inode = self.inode(path)
        self._resize(inode, 0)
        inode.pending.append((0, None))
        return inode

    def write(self, path: str, inode: Inode, offset: int, data: bytes) -> None:
        end = offset + len(data)
        try:
            self.operate("write", path, max(0, end - inode.size))
        except OSError:
            if self.is_dead and data:  # torn: of the last write a part came through
                inode.pending.append((offset, data[: self._chance.randrange(len(data))]))
            raise
        self._resize(inode, max(end, inode.size))
        inode.pending.append((offset, data))

    def allocated(self, path: str, octets: int) -> None:
        """A file of this size is there, whole and synced."""
        inode = self.created(path)
        self._resize(inode, octets)
        inode.settle([*inode.pending, (octets, None)])
        inode.pending.clear()

    def truncate(self, path: str, inode: Inode, size: int) -> None:
        self.operate("truncate", path)
        self._resize(inode, size)
        inode.pending.append((size, None))

    def sync(self, path: str, inode: Inode) -> None:
        try:
            self.operate("sync", path)
        except OSError:
            if not self.is_dead and inode.pending and self._chance.random() < 0.7:
                self._drop(path, inode)
            raise
        inode.settle(inode.pending)
        inode.pending.clear()

    def _drop(self, path: str, inode: Inode) -> None:
        """What could not be written is thrown away, and by chance forgotten at once."""
        self.dropped += 1
        if self._chance.random() < 0.5 and Path(path).exists():
            with Path(path).open("r+b") as file:
                for offset, data in inode.pending:
                    if data is not None:
                        file.seek(offset)
                        file.write(bytes(inode.synced[offset : offset + len(data)]).ljust(len(data), b"\0"))
        inode.pending.clear()

    def made_directory(self, path: str) -> None:
        """A new directory has this name now."""
        inode = self._names[path] = Inode(is_directory=True)
        self._note(path, inode)

    def was_removed(self, folder: str) -> None:
        """This folder was removed with all that was in it, and nobody has synced that."""
        for path in [path for path in self._names if path == folder or path.startswith(folder + "/")]:
            inode = self._names.pop(path)
            self.used -= inode.size
            self._note(path, None)

    def sync_directory(self, path: str) -> None:
        self.operate("sync_directory", path)
        within = f"{self.folder}/"
        with os.scandir(path) as places:  # what was made by others is met here for the first time
            for place in places:
                if place.path not in self._names and f"{place.path}/".startswith(within) and place.is_dir():
                    self.made_directory(place.path)
        self._settle_names(self._changes.pop(path, []))

    def rename(self, old: str, new: str) -> None:
        self.operate("rename", new)
        moved = [name for name in self._names if name == old or name.startswith(old + "/")]
        for name in moved:
            inode = self._names.pop(name)
            target = new + name[len(old) :]
            self._names[target] = inode
            self._note(target, inode)
            self._note(name, None)

    def remove(self, path: str) -> None:
        self.operate("remove", path)
        inode = self._names.pop(path, None)
        if inode is not None:
            self.used -= inode.size
            self._note(path, None)

    def free(self) -> int:
        """Octets that still fit."""
        return 1 << 40 if self.capacity is None else max(0, self.capacity - self.used)

    def _resize(self, inode: Inode, size: int) -> None:
        self.used += size - inode.size
        inode.size = size

    def _note(self, path: str, inode: Inode | None) -> None:
        self._changes.setdefault(path.rpartition("/")[0], []).append((path, inode))

    def _settle_names(self, changes: list[Change]) -> None:
        for name, inode in changes:
            if inode is None:
                self._durable.pop(name, None)
            else:
                self._durable[name] = inode

    # -- what the world does --------------------------------------------------------------------

    def lose_power(self) -> None:
        """The machine crashes, and the real files become what the platter holds."""
        self.is_dead = True
        for changes in self._changes.values():
            # A journalling file system keeps the order of changes of names: some of the first came through.
            self._settle_names(changes[: self._chance.randint(0, len(changes))])
        self._changes.clear()
        for name in [name for name in self._durable if not self._has_its_way(name)]:
            del self._durable[name]
        for inode in {id(inode): inode for inode in self._durable.values()}.values():
            inode.settle(self._came_through(inode.pending))
            inode.pending.clear()
            inode.size = len(inode.synced)
        for name, inode in self._names.items():
            if not inode.is_directory:
                Path(name).unlink(missing_ok=True)
            elif name not in self._durable:
                shutil.rmtree(name, ignore_errors=True)
        for name, inode in sorted(self._durable.items()):
            if inode.is_directory:
                Path(name).mkdir(exist_ok=True)
            else:
                Path(name).write_bytes(inode.synced)
        self._names = dict(self._durable)
        self.used = sum(inode.size for inode in self._names.values())

    def _has_its_way(self, name: str) -> bool:
        """Whether all directories above are on the platter, as far as they were made on this disk."""
        folder = name.rpartition("/")[0]
        while len(folder) > len(self._root):
            if folder not in self._durable:
                return False
            folder = folder.rpartition("/")[0]
        return True

    def restart(self) -> None:
        """The machine is on again."""
        self.is_dead = False

    def _came_through(self, writes: list[tuple[int, bytes | None]]) -> list[tuple[int, bytes | None]]:
        """Which of the writes since the last sync reached the platter: none, all, some of the first, or any."""
        chance = self._chance
        match chance.randrange(4):
            case 0:
                return []
            case 1:
                return writes
            case 2:
                kept = writes[: chance.randint(0, len(writes))]
            case _:
                kept = [write for write in writes if chance.random() < 0.5]
        if kept and kept[-1][1]:
            offset, data = kept[-1]
            assert data is not None
            torn = chance.randint(0, len(data)) // SECTOR_OCTETS * SECTOR_OCTETS
            kept = [*kept[:-1], (offset, data[:torn])]
        return kept


class SimulatedFiles(DiskFiles):
    """The store's files, on such a disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._open: dict[int, tuple[str, Inode, int]] = {}

    def create(self, path: Path) -> int:
        self._disk.operate("create", str(path))
        fd = super().create(path)
        self._open[fd] = (str(path), self._disk.created(str(path)), 0)
        return fd

    def open(self, path: Path) -> int:
        self._disk.operate("open", str(path))
        return super().open(path)

    def read(self, fd: int, octets: int) -> bytes:
        self._disk.operate("read", "")
        return super().read(fd, octets)

    def write(self, fd: int, data: bytes) -> None:
        path, inode, at = self._open[fd]
        self._disk.write(path, inode, at, data)
        self._open[fd] = (path, inode, at + len(data))
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        path, inode, _ = self._open[fd]
        self._disk.sync(path, inode)

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        super().close(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._disk.rename(str(old), str(new))
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._disk.remove(str(path))
        super().remove(path)

    def make_directory(self, path: Path) -> None:
        if not path.exists():
            self._disk.operate("mkdir", str(path))
            self._disk.made_directory(str(path))
        super().make_directory(path)

    def free(self, directory: Path) -> int:
        return self._disk.free()

    def remove_directory(self, path: Path) -> None:
        if not self._disk.is_dead:  # a dead process does not tidy up
            super().remove_directory(path)
            self._disk.was_removed(str(path))

    def sync_directory(self, path: Path) -> None:
        self._disk.sync_directory(str(path))

    def allocate(self, path: Path, octets: int) -> None:
        self._disk.operate("allocate", str(path), octets)
        self._disk.allocated(str(path), octets)
        super().close(super().create(path))
        os.truncate(path, octets)

    def let_go(self) -> None:
        """The process is gone, and its descriptors with it."""
        for fd in list(self._open):
            self.close(fd)


def in_memory() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
