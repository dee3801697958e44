"""Leaving a message in the maildrop: what a program does, with no more rights than the user who runs it.

The file gets its name for good only when all of it is on disk, and success is said only when the name is too.

The rules that must not be broken: nothing is followed that another user may have put there, and nobody but the relay
can read what was left.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from relay.receive.maildrop.drop import Drop, written

NEW = "new-"
MAIL = "mail-"

LEAVE_FREE_OCTETS = 8 << 20
"""Of the disk, for the relay itself: when there is less, nothing more is left."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CannotLeave(Exception):
    """Nothing was left; ``str()`` says why, and what would help."""


class NoMaildrop(CannotLeave):
    """There is no such folder."""


class NotAllowed(CannotLeave):
    """This user may not."""


class NotSafe(CannotLeave):
    """The folder is such that others could read, change or remove what is left there."""


class NotNow(CannotLeave):
    """The disk is full or in trouble; it may be tried again."""


class Leaving:
    """A message on its way into the maildrop.  ``write``, then ``commit`` or ``abort``, once.

    name  the one it has for good when it was committed
    """

    def __init__(self, folder: Path) -> None:
        """Raises CannotLeave."""
        token = secrets.token_hex(16)  # who can guess the name could see that the file is there
        self.name = MAIL + token
        self._new = NEW + token
        self._folder = folder
        self._place = _open_place(folder)
        self._fd = -1
        try:
            self._found = _seen_safe(self._place, folder)
            self._fd = self._created()
        except BaseException:
            self.abort()
            raise

    def _created(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            room = os.fstatvfs(self._place)
            if room.f_bavail * room.f_frsize < LEAVE_FREE_OCTETS:
                raise NotNow(f"{self._folder}: there is no room on the disk; try again later")
            return os.open(self._new, flags, 0o600, dir_fd=self._place)
        except OSError as error:
            raise self._trouble(error) from None

    def write(self, data: bytes) -> None:
        """Takes a piece of the content.  Raises CannotLeave."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            raise self._trouble(error) from None

    def commit(self, drop: Drop) -> None:
        """Returns when the message is safe: *now* success may be said.  Raises CannotLeave, EnvelopeTooLarge."""
        try:
            self.write(written(drop))
            self._open_to_the_relay()
            os.fsync(self._fd)
            os.rename(self._new, self.name, src_dir_fd=self._place, dst_dir_fd=self._place)
        except OSError as error:
            raise self._trouble(error) from None
        try:
            self._sync_name()
        except OSError as error:
            raise NotNow(f"{self._folder}: {error.strerror}; whether the message is safe is not known") from None
        finally:
            self._close()

    def abort(self) -> None:
        """Forgets it.  Does nothing after ``commit``."""
        if self._fd >= 0:
            with suppress(OSError):
                os.unlink(self._new, dir_fd=self._place)
        self._close()

    def _open_to_the_relay(self) -> None:
        """The folder hands its group down, and that group is the relay's: so it can read the file, and nobody else."""
        if self._found.st_uid == os.geteuid():
            return  # we are the relay's user
        if os.geteuid() == 0:
            os.fchown(self._fd, -1, self._found.st_gid)  # the folder in a spool, which is only for the relay and root
        if os.fstat(self._fd).st_gid != self._found.st_gid:
            raise NotSafe(f"the relay could not read what is left in {self._folder}: chmod 3733 {self._folder}")
        os.fchmod(self._fd, 0o640)

    def _sync_name(self) -> None:
        """Who may only write into the folder cannot open it to sync it.  Then the file's own sync must do: the rename
        changed the file too, and ext4, XFS and btrfs write the change of a file and of its name in one transaction."""
        try:
            folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._place)
        except PermissionError:
            os.fsync(self._fd)
            return
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _trouble(self, error: OSError) -> CannotLeave:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return NotAllowed(f"{self._folder}: {error.strerror}")
        if error.errno in _FULL:
            return NotNow(f"{self._folder}: {error.strerror}; try again later")
        if error.errno == errno.ENOENT:
            return NotNow(f"{self._folder}: what was written is gone: it took more than a day, or somebody removed it")
        return NotNow(f"{self._folder}: {error.strerror}")

    def _close(self) -> None:
        for fd in (self._fd, self._place):
            if fd >= 0:
                os.close(fd)
        self._fd = self._place = -1


def _open_place(folder: Path) -> int:
    """The folder, to put something in: that is possible without being allowed to read it."""
    try:
        return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoMaildrop(f"there is no maildrop {folder}; the relay makes it when it starts") from None
    except PermissionError:
        raise NotAllowed(
            f"the maildrop {folder} is in a folder that you may not enter: it is for the relay's own user. To let all "
            "users of this machine send, name a folder outside of the spool: sendmail: {maildrop: "
            "/var/spool/relay-maildrop}"
        ) from None
    except OSError as error:
        raise NotSafe(f"the maildrop {folder}: {error.strerror}; it must be a folder, and no symbolic link") from None


def _seen_safe(place: int, folder: Path) -> os.stat_result:
    found = os.fstat(place)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        raise NotSafe(f"others could remove or change what is left in {folder}: chmod 3733 {folder}")
    return found
