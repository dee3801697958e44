"""Giving up root: in the right order, for good; a spool that is ours alone."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from relay.operate import systemd
from relay.operate.privileges import Identity, PrivilegesFault, drop, identity, prepare_maildrop, prepare_spool

MAIL = Identity("mail", 8, 12)


class FakeSystem:
    """What drop() needs of an operating system, and what it did."""

    def __init__(self, uid: int = 0) -> None:
        self.uids = (uid, uid, uid)
        self.said: list[tuple[object, ...]] = []
        self.stubborn = False

    def geteuid(self) -> int:
        return self.uids[1]

    def getresuid(self) -> tuple[int, int, int]:
        return self.uids

    def initgroups(self, user: str, gid: int, /) -> None:
        self.said.append(("initgroups", user, gid))

    def setresgid(self, rgid: int, egid: int, sgid: int, /) -> None:
        assert self.uids[1] == 0, "the group can be changed only while we are root"
        self.said.append(("setresgid", rgid, egid, sgid))

    def setresuid(self, ruid: int, euid: int, suid: int, /) -> None:
        self.said.append(("setresuid", ruid, euid, suid))
        if not self.stubborn:
            self.uids = (ruid, euid, suid)


def test_the_groups_go_first_and_the_user_last() -> None:
    """The other way round root's groups stay (a classic)."""
    system = FakeSystem()
    drop(MAIL, system)
    assert system.said == [("initgroups", "mail", 12), ("setresgid", 12, 12, 12), ("setresuid", 8, 8, 8)]


def test_root_that_stays_is_an_error() -> None:
    system = FakeSystem()
    system.stubborn = True
    with pytest.raises(PrivilegesFault, match="did not let go of root"):
        drop(MAIL, system)


def test_who_is_that_user_already_has_nothing_to_do() -> None:
    system = FakeSystem(uid=8)
    drop(MAIL, system)
    assert system.said == []


def test_who_is_not_root_cannot_become_somebody_else() -> None:
    with pytest.raises(PrivilegesFault, match="start the relay as root or as mail"):
        drop(MAIL, FakeSystem(uid=1000))


def test_a_user_is_found_by_name_and_by_number() -> None:
    me = pwd.getpwuid(os.getuid())
    assert identity(me.pw_name) == identity(str(me.pw_uid)) == Identity(me.pw_name, me.pw_uid, me.pw_gid)
    assert identity(me.pw_name, "0").gid == 0


def test_a_user_that_is_not_there_says_how_to_make_it() -> None:
    with pytest.raises(PrivilegesFault, match="useradd --system no-such-user"):
        identity("no-such-user")
    with pytest.raises(PrivilegesFault, match="groupadd --system no-such-group"):
        identity(str(os.getuid()), "no-such-group")


def test_the_spool_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_spool(tmp_path / "a" / "spool", None)
    assert (tmp_path / "a" / "spool").stat().st_mode & 0o7777 == 0o700
    (tmp_path / "a" / "spool").chmod(0o755)
    prepare_spool(tmp_path / "a" / "spool", None)
    assert (tmp_path / "a" / "spool").stat().st_mode & 0o7777 == 0o700


def test_a_spool_that_is_a_link_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    for spool in (tmp_path / "link", tmp_path / "file"):
        with pytest.raises(PrivilegesFault, match="it must be a folder of the relay's own"):
            prepare_spool(spool, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_root_gives_an_empty_spool_to_the_user(tmp_path: Path) -> None:
    prepare_spool(tmp_path / "spool", MAIL)
    assert ((tmp_path / "spool").stat().st_uid, (tmp_path / "spool").stat().st_gid) == (8, 12)
    prepare_spool(tmp_path / "spool", MAIL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_somebody_elses_folder_is_never_taken_over(tmp_path: Path) -> None:
    """spool: / would make the machine the mail user's."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "foreign").mkdir()
    os.chown(tmp_path / "foreign", 1234, 1234)
    for spool in (tmp_path / "full", tmp_path / "foreign"):
        before = spool.stat()
        with pytest.raises(PrivilegesFault, match="belongs to user number"):
            prepare_spool(spool, MAIL)
        assert (spool.stat().st_uid, spool.stat().st_mode) == (before.st_uid, before.st_mode)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_maildrop_in_the_spool_is_for_the_relay_alone(tmp_path: Path) -> None:
    prepare_maildrop(tmp_path / "maildrop", True, None)
    assert mode(tmp_path / "maildrop") == 0o700


def test_a_maildrop_for_all_users_takes_and_shows_nothing(tmp_path: Path) -> None:
    prepare_maildrop(tmp_path / "drop", False, None)
    assert mode(tmp_path / "drop") == 0o3733
    assert mode(tmp_path / "drop" / "set-aside") == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_root_gives_the_maildrop_to_the_user(tmp_path: Path) -> None:
    for _ in range(2):
        prepare_maildrop(tmp_path / "drop", False, MAIL)
        for folder in (tmp_path / "drop", tmp_path / "drop" / "set-aside"):
            assert (folder.stat().st_uid, folder.stat().st_gid) == (8, 12)
        assert mode(tmp_path / "drop") == 0o3733


@pytest.mark.parametrize("narrow", [0o3730, 0o3733, 0o7733])
def test_a_maildrop_that_an_operator_has_narrowed_stays_so(tmp_path: Path, narrow: int) -> None:
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop").chmod(narrow)
    prepare_maildrop(tmp_path / "drop", False, None)
    assert mode(tmp_path / "drop") == narrow


@pytest.mark.parametrize("unsafe", [0o777, 0o1777, 0o2733, 0o730])
def test_a_maildrop_where_users_could_harm_each_other_is_refused(tmp_path: Path, unsafe: int) -> None:
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop").chmod(unsafe)
    with pytest.raises(
        PrivilegesFault, match=r"its set-group-ID and its sticky bit; make it once, as root: install -d"
    ):
        prepare_maildrop(tmp_path / "drop", False, None)


def test_where_that_bit_cannot_be_set_it_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RestrictSUIDSGID= of systemd; or root without CAP_FSETID, which the kernel takes it from without a word."""
    real = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda fd, mode: real(fd, mode & ~0o2000))
    with pytest.raises(PrivilegesFault, match=r"install -d -m 3733 -o \d+ -g \d+ "):
        prepare_maildrop(tmp_path / "drop", False, None)

    def forbidden(fd: int, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", forbidden)
    with pytest.raises(PrivilegesFault, match=r"Operation not permitted; make it once, as root: install -d"):
        prepare_maildrop(tmp_path / "other", False, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_maildrop_that_is_somebody_elses_is_never_taken_over(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "foreign").mkdir()
    os.chown(tmp_path / "foreign", 1234, 1234)
    (tmp_path / "link").symlink_to(tmp_path / "foreign")
    for folder in ("full", "foreign", "link"):
        with pytest.raises(PrivilegesFault, match="install -d"):
            prepare_maildrop(tmp_path / folder, False, MAIL)
    assert (tmp_path / "foreign").stat().st_uid == 1234 and (tmp_path / "full").stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_what_a_user_has_put_in_the_place_of_a_folder_of_ours_is_not_given_away(tmp_path: Path) -> None:
    prepare_maildrop(tmp_path / "drop", False, MAIL)
    (tmp_path / "drop" / "set-aside").rmdir()
    (tmp_path / "victim").touch()
    os.link(tmp_path / "victim", tmp_path / "drop" / "set-aside")
    prepare_maildrop(tmp_path / "drop", False, MAIL)
    assert (tmp_path / "victim").stat().st_uid == 0


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"\0relay-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(name)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        systemd.notify(systemd.READY, systemd.status("taking\nmail"))
        assert service_manager.recv(1000) == b"READY=1\nSTATUS=taking mail"
        systemd.notify(systemd.reloading())
        assert service_manager.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_a_service_manager_that_is_gone_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd.notify(systemd.STOPPING)
    monkeypatch.delenv("NOTIFY_SOCKET")
    systemd.notify(systemd.STOPPING)
