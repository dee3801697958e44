"""The maildrop as the relay sees it: what was left there, by whom, and what only looks like it.

All of it waits for the disk, and is to be called in a thread of its own.  The folder is held open from the beginning,
and everything in it is reached through that: its path is looked up once.

The rules that must not be broken, for everybody may write here: nothing is opened that is no plain file or has a second
name, nothing is waited for (a FIFO, a lease), and nothing is removed but the very file that was read.
"""

from __future__ import annotations

import errno
import heapq
import os
import pwd
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from relay.receive.maildrop.drop import TAIL_OCTETS, Drop, NotADrop, envelope_octets, parse
from relay.receive.maildrop.leaving import MAIL, NEW

SET_ASIDE = "set-aside"
SET_ASIDE_LIMIT = 1000
NAMED = 3
"""So many of what is not ours are named."""

"""So many broken files are kept for an operator; what comes then is removed."""
ABANDONED_S = 24 * 3600.0
"""A file that was begun and not touched for so long is of a program that has died."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class MaildropUnfit(Exception):
    """The folder cannot be used; ``str()`` says why, and what to do."""


class Gone(Exception):
    """It is not there any more, or is another by now."""


class Busy(Exception):
    """It cannot be read just now; ``str()`` says why."""


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """A file that is to be picked up.  The longest waiting is the least.

    since    when its inode last changed, seconds since the epoch: unlike its time of modification no user can set that
    inode    its number, so that no other is taken for it
    """

    since: float
    name: str
    inode: int
    uid: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look has found.

    waiting  the longest waiting first
    is_more  there is more than was asked for
    strange  what lies there that no program of ours has left, and is not touched: the first names, and how much more
    """

    waiting: tuple[Waiting, ...]
    is_more: bool = False
    strange: str = ""


class Strange:
    """What is not ours, however much it is; ``str()`` names some, and is empty when there is none."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._more = 0

    def add(self, name: str) -> None:
        if len(self._names) < NAMED:
            self._names.append(name)
        else:
            self._more += 1

    def __str__(self) -> str:
        return ", ".join(self._names) + (f" and {self._more:,} more" if self._more else "")


class Left:
    """A file, open and found good.

    drop     its envelope
    size     octets of content
    """

    def __init__(self, fd: int, waiting: Waiting, drop: Drop, size: int) -> None:
        self.drop = drop
        self.size = size
        self._waiting = waiting
        self._fd = fd

    def read(self, octets: int, offset: int) -> bytes:
        """A piece of the content, shorter only at its end.  Raises NotADrop, OSError."""
        wanted = min(octets, self.size - offset)
        data = os.pread(self._fd, wanted, offset)
        if len(data) < wanted:
            raise NotADrop("it became shorter while it was read")
        return data

    def close(self) -> None:
        os.close(self._fd)


class Maildrop:
    """The folder, held open.  ``close`` it."""

    def __init__(self, path: Path) -> None:
        """Raises MaildropUnfit."""
        self.path = path
        self._ignored: set[int] = set()  # inodes of broken files that cannot be moved: something is mounted there
        self._strange = Strange()
        self._folder = _opened(path)

    def close(self) -> None:
        os.close(self._folder)

    def is_still_there(self) -> bool:
        """Whether the path leads to the folder that is open here."""
        try:
            found = self.path.stat(follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self._folder))

    # -- what waits ------------------------------------------------------------------------------

    def look(self, each: int, users: int, skip: Collection[str] = ()) -> Seen:
        """What waits, at most so many of each user and of so many users.  Raises OSError.

        skip  names to pass over
        """
        found: dict[int, list[tuple[float, Waiting]]] = {}
        is_more = False
        self._strange = Strange()
        for waiting in self._waiting(skip):
            of_user = found.get(waiting.uid)
            if of_user is None:
                if len(found) >= users:
                    is_more = True
                    continue
                of_user = found[waiting.uid] = []
            if len(of_user) < each:
                heapq.heappush(of_user, (-waiting.since, waiting))
            else:  # the youngest goes
                is_more = True
                heapq.heappushpop(of_user, (-waiting.since, waiting))
        longest_first = sorted(waiting for of_user in found.values() for _, waiting in of_user)
        return Seen(tuple(longest_first), is_more, str(self._strange))

    def _waiting(self, skip: Collection[str]) -> Iterator[Waiting]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.startswith(MAIL):
                    if not entry.name.startswith(NEW) and entry.name != SET_ASIDE:
                        self._strange.add(entry.name)
                elif entry.name not in skip:
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if not stat.S_ISREG(status.st_mode):
                            self._strange.add(entry.name)
                        elif status.st_ino not in self._ignored:
                            yield Waiting(status.st_ctime, entry.name, status.st_ino, status.st_uid)

    def open(self, waiting: Waiting) -> Left:
        """Opens what waits, and reads its envelope.

        Raises NotADrop: it is to be set aside; Gone; Busy: it is to be tried again.
        """
        try:
            fd = os.open(waiting.name, _FLAGS, dir_fd=self._folder)
        except OSError as error:
            raise _why_not(error) from None
        try:
            size = self._seen_plain(fd, waiting)
            tail = os.pread(fd, TAIL_OCTETS, max(0, size - TAIL_OCTETS))
            octets = envelope_octets(tail, size)
            at = size - TAIL_OCTETS - octets
            return Left(fd, waiting, parse(os.pread(fd, octets, at)), at)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError):
                raise Busy(error.strerror or str(error)) from None
            raise

    def _seen_plain(self, fd: int, waiting: Waiting) -> int:
        """The size of a file that is what it seemed.  Raises NotADrop, Gone."""
        status = os.fstat(fd)
        if status.st_ino != waiting.inode or status.st_uid != waiting.uid:
            raise Gone
        if not stat.S_ISREG(status.st_mode):
            raise NotADrop("it is no plain file")
        if status.st_nlink != 1:
            raise NotADrop("it has a second name")
        if _mount_of(fd) != _mount_of(self._folder):
            raise NotADrop("something is mounted there")
        return status.st_size

    # -- what becomes of it ------------------------------------------------------------------------

    def remove(self, waiting: Waiting) -> None:
        """It is in the queue: takes it away, for good.  Raises OSError."""
        if self._is(waiting):
            os.unlink(waiting.name, dir_fd=self._folder)
            os.fsync(self._folder)

    def set_aside(self, waiting: Waiting) -> str:
        """Puts what is broken out of the way, and says where it is now."""
        if not self._is(waiting):
            return "it is gone"
        try:
            return self._put_aside(waiting.name)
        except OSError as error:
            self._ignored.add(waiting.inode)
            return f"it cannot be moved ({error.strerror}) and is passed over"

    def _put_aside(self, name: str) -> str:
        place = self._set_aside_place()
        if place is None:
            os.unlink(name, dir_fd=self._folder)
            return "it is removed"
        try:
            os.rename(name, name, src_dir_fd=self._folder, dst_dir_fd=place)
        finally:
            os.close(place)
        return f"it is kept in {self.path / SET_ASIDE}"

    def _set_aside_place(self) -> int | None:
        """A folder of our own for broken files; None when there is none or it is full."""
        with suppress(FileExistsError):
            os.mkdir(SET_ASIDE, 0o700, dir_fd=self._folder)
        try:
            place = os.open(SET_ASIDE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError:
            return None
        # Anybody may have made it before us.
        if os.fstat(place).st_uid == os.geteuid() and len(os.listdir(place)) < SET_ASIDE_LIMIT:  # noqa: PTH208
            os.fchmod(place, 0o700)
            return place
        os.close(place)
        return None

    def sweep(self, now: float) -> int:
        """Removes what was begun and abandoned; gives how many there were.  Raises OSError."""
        swept = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(NEW):
                    with suppress(OSError):  # another program's end, or a folder with something in it
                        status = entry.stat(follow_symlinks=False)
                        if status.st_ctime < now - ABANDONED_S:
                            remove = os.rmdir if stat.S_ISDIR(status.st_mode) else os.unlink
                            remove(entry.name, dir_fd=self._folder)
                            swept += 1
        return swept

    def _is(self, waiting: Waiting) -> bool:
        """Whether the name still stands for that very file: its owner may have put another in its place."""
        try:
            status = os.stat(waiting.name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return status.st_ino == waiting.inode


def user_name(uid: int) -> str:
    """Who that is.  Asks the system's directory of users, and may take its time."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _opened(path: Path) -> int:
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise MaildropUnfit(f"{path}: {error.strerror}; it must be a folder, and no symbolic link") from None
    found = os.fstat(folder)
    why = ""
    if found.st_uid != os.geteuid():
        why = f"it belongs to user number {found.st_uid}, and this is {os.geteuid()}; chown it"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        why = f"users could remove each other's mail; chmod 3733 {path}"
    if why:
        os.close(folder)
        raise MaildropUnfit(f"{path}: {why}")
    return folder


def _mount_of(fd: int) -> str:
    """By which mount it was reached.

    The device of a file does not tell: in an overlay that of a folder and of the files in it may differ.
    """
    try:
        for line in Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines():
            if line.startswith("mnt_id:"):
                return line
    except OSError:  # no Linux, or no /proc
        pass
    return str(os.fstat(fd).st_dev)


def _why_not(error: OSError) -> Exception:
    match error.errno:
        case errno.ENOENT:
            return Gone()
        case errno.ELOOP:
            return NotADrop("it is a symbolic link")
        case errno.ENXIO | errno.ENODEV:
            return NotADrop("it is no plain file")
        case errno.EACCES | errno.EPERM:
            return NotADrop("the relay may not read it: its group is not the folder's, or its mode is not 0640")
        case _:
            return Busy(error.strerror or str(error))
