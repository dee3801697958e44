"""Giving up root, once the ports are open, for good.

The order matters: the groups first, then the group, then the user; after ``setuid`` nothing of it could be
done any more.  The rule that must not be broken: after ``drop`` there is no way back, or it raises.
"""

from __future__ import annotations

import codecs
import grp
import os
import pwd
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import dns.rdata

from relay.queue.spool import look_for_another

SET_ASIDE = "set-aside"  # within it, for what is broken; see relay.receive.maildrop.looking

OPEN_MAILDROP = 0o3733
"""Whoever puts a file in cannot list the folder, and nobody else can touch that file; it gets the folder's group."""


class PrivilegesFault(Exception):
    """We cannot become who we should be, or work where we should; ``str()`` says why and what would help.

    key  of the configuration, which is at fault
    what the rest of the sentence
    """

    def __init__(self, key: str, what: str) -> None:
        super().__init__(f"{key}: {what}")
        self.key = key
        self.what = what


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom to become."""

    user: str
    uid: int
    gid: int


class Privileges(Protocol):
    """What this needs of the operating system; the module ``os`` has it."""

    def geteuid(self) -> int: ...
    def getresuid(self) -> tuple[int, int, int]: ...
    def initgroups(self, user: str, gid: int, /) -> None: ...
    def setresgid(self, rgid: int, egid: int, sgid: int, /) -> None: ...
    def setresuid(self, ruid: int, euid: int, suid: int, /) -> None: ...


def identity(user: str, group: str | None = None) -> Identity:
    """The identity of a user and group by name or number.  Raises PrivilegesFault."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise PrivilegesFault(
            "user", f"there is no user {user} on this machine; create it: useradd --system {user}"
        ) from None
    try:
        gid = entry.pw_gid if group is None else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise PrivilegesFault(
            "group", f"there is no group {group} on this machine; create it: groupadd --system {group}"
        ) from None
    return Identity(entry.pw_name, entry.pw_uid, gid)


def prepare_spool(spool: Path, who: Identity | None) -> None:
    """Makes the spool, for its owner alone (0700), and as root gives it to the user who will work in it.

    Raises PrivilegesFault, also when the folder belongs to somebody else: another could put mail into it; SpoolInUse
    when another relay works in it, which is said before a port is found taken by the same one.
    """
    try:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        # By descriptor, and not through a symbolic link: between looking and changing nobody can put another there.
        fd = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise PrivilegesFault(
            "spool", f"{spool}: {error.strerror}; it must be a folder of the relay's own, and no symbolic link"
        ) from None
    try:
        _make_private(fd, spool, who)
        look_for_another(spool)
    except OSError as error:
        raise PrivilegesFault(
            "spool", f"{spool}: {error.strerror}; it must be a folder of the relay's own, and no symbolic link"
        ) from None
    finally:
        os.close(fd)


def _make_private(fd: int, spool: Path, who: Identity | None) -> None:
    found = os.fstat(fd)
    wanted = who.uid if who is not None else os.geteuid()
    foreign = found.st_uid != wanted
    if foreign and (os.geteuid() != 0 or found.st_uid != 0 or os.listdir(fd)):
        raise PrivilegesFault(
            "spool",
            f"{spool} belongs to user number {found.st_uid}, and the relay works as number {wanted}; "
            "chown -R it when its content is the relay's, or use another folder",
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        os.fchmod(fd, 0o700)
    if foreign and who is not None:
        os.fchown(fd, who.uid, who.gid)


def prepare_maildrop(folder: Path, is_private: bool, who: Identity | None) -> None:
    """Makes the folder where programs leave mail, and gives it to the user who will pick it up.

    is_private  it is in the spool; else it is for all users: they may put files in (1733), which get its group (2000).
    One that is there already keeps its mode, as long as it is safe: an operator may have narrowed it.

    Raises PrivilegesFault.
    """
    wanted = who if who is not None else Identity("", os.geteuid(), os.getegid())
    advice = f"make it once, as root: install -d -m 3733 -o {wanted.uid} -g {wanted.gid} {folder}"
    try:
        found = _made_folder(folder)
        try:
            _make_maildrop(found, folder, is_private, wanted, advice)
        finally:
            os.close(found)
    except OSError as error:
        raise PrivilegesFault("sendmail.maildrop", f"{folder}: {error.strerror}; {advice}") from None


def _made_folder(folder: Path) -> int:
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _make_maildrop(fd: int, folder: Path, is_private: bool, who: Identity, advice: str) -> None:
    found = os.fstat(fd)
    if found.st_uid != who.uid:
        if os.geteuid() != 0 or found.st_uid != 0 or os.listdir(fd):
            raise PrivilegesFault(
                "sendmail.maildrop",
                f"{folder} belongs to user number {found.st_uid}, and the relay works as number {who.uid}; {advice}",
            )
        os.fchown(fd, who.uid, who.gid)
    mode = stat.S_IMODE(found.st_mode)
    with suppress(FileExistsError):  # else it is somebody's, and not to be given away
        os.mkdir(SET_ASIDE, 0o700, dir_fd=fd)  # before anybody else can make it
        os.chown(SET_ASIDE, who.uid, who.gid, dir_fd=fd, follow_symlinks=False)
    if not is_private and mode & 0o777 == 0o700:  # it is new
        os.fchmod(fd, OPEN_MAILDROP)
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
    is_open = mode & (stat.S_IWGRP | stat.S_IWOTH)
    if is_open and mode & (stat.S_ISVTX | stat.S_ISGID) != stat.S_ISVTX | stat.S_ISGID:
        # A service manager may forbid that bit (RestrictSUIDSGID=), and the kernel drops it without a word.
        raise PrivilegesFault("sendmail.maildrop", f"{folder} must have its set-group-ID and its sticky bit; {advice}")


def load_what_is_loaded_late() -> None:
    """Imports what Python and dnspython import on first use: the user may not be allowed to read where they live."""
    for name in ("ascii", "latin-1", "utf-8", "unicode_escape", "idna"):
        codecs.lookup(name)
    dns.rdata.load_all_types(disable_dynamic_load=False)  # type: ignore[no-untyped-call]  # dnspython has no words for it


def drop(who: Identity, system: Privileges = os) -> None:
    """Becomes this user for good, when we are root; otherwise does nothing if we are that user already.

    Raises PrivilegesFault.
    """
    if system.geteuid() != 0:
        if system.geteuid() == who.uid:
            return
        raise PrivilegesFault("user", f"only root can become {who.user}; start the relay as root or as {who.user}")
    try:
        system.initgroups(who.user, who.gid)
        system.setresgid(who.gid, who.gid, who.gid)
        system.setresuid(who.uid, who.uid, who.uid)
    except OSError as error:
        raise PrivilegesFault("user", f"cannot become {who.user}: {error.strerror}") from None
    if system.getresuid() != (who.uid, who.uid, who.uid):
        raise PrivilegesFault("user", f"the system did not let go of root for {who.user}")
