"""Giving up root: in the right order, for good; a spool that is ours alone."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from relay.operate import systemd
from relay.operate.privileges import Identity, PrivilegesFault, drop, identity, prepare_spool

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
