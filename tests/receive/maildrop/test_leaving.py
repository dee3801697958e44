"""Leaving a message: safe when it is said to be, readable by the relay alone, and nothing left of what failed."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.message.address import Address
from relay.message.envelope import Envelope, Recipient
from relay.receive.maildrop.drop import Drop, EnvelopeTooLarge
from relay.receive.maildrop.leaving import Leaving, NoMaildrop, NotAllowed, NotNow, NotSafe
from tests.receive.maildrop.folder import LETTER, NOBODY, ROOT, as_user, leave, maildrop, needs_root

DROP = Drop(Envelope(Address("ann", "example.org")), (Recipient(Address("bob", "example.net")),))


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.name != "set-aside")


@pytest.fixture
def folder(public_path: Path) -> Path:
    return maildrop(public_path)


def test_a_message_is_one_file_with_its_name_for_good(folder: Path) -> None:
    name = leave(folder)
    assert names(folder) == [name]
    assert (folder / name).read_bytes().startswith(LETTER)


def test_the_file_is_synced_before_it_has_its_name_and_the_name_before_success_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "rename", "write")}

    def watched(name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)  # type: ignore[arg-type]
            done.append(f"{name} folder" if is_folder else name)
            return real[name](*args, **kwargs)

        return call

    for name in real:
        monkeypatch.setattr(os, name, watched(name))
    leave(folder)
    assert done == ["write", "write", "fsync", "rename", "fsync folder"]


@needs_root
def test_who_cannot_open_the_folder_syncs_the_file_once_more(folder: Path, public_path: Path) -> None:
    told = public_path / "told"
    told.touch()
    told.chmod(0o666)

    def by_nobody() -> None:
        real = os.fsync
        with told.open("a") as stream:
            os.fsync = lambda fd: (stream.write("sync\n"), real(fd))[1]  # type: ignore[assignment]
            leave(folder)

    as_user(NOBODY, by_nobody)
    assert told.read_text() == "sync\nsync\n"


@needs_root
def test_the_relay_can_read_what_a_user_leaves_and_no_other_user_can(folder: Path) -> None:
    os.chown(folder, 8, 12)
    folder.chmod(0o3733)
    as_user(NOBODY, lambda: leave(folder))
    (name,) = names(folder)
    status = (folder / name).stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (NOBODY, 12, 0o640)


@needs_root
def test_what_root_leaves_can_be_read_where_the_folder_does_not_hand_its_group_down(public_path: Path) -> None:
    folder = public_path / "drop"
    folder.mkdir(0o700)
    os.chown(folder, 8, 12)
    name = leave(folder)
    assert ((folder / name).stat().st_gid, stat.S_IMODE((folder / name).stat().st_mode)) == (12, 0o640)


@needs_root
def test_nobody_can_list_the_folder_or_touch_what_others_left(folder: Path) -> None:
    name = leave(folder)

    def by_nobody() -> None:
        for harm in (
            lambda: list(folder.iterdir()),
            lambda: (folder / name).read_bytes(),
            lambda: (folder / name).unlink(),
            lambda: (folder / name).rename(folder / "mine"),
            lambda: os.link(folder / name, folder / "mail-mine"),
        ):
            with pytest.raises(PermissionError):
                harm()

    as_user(NOBODY, by_nobody)


def test_a_message_given_up_leaves_nothing(folder: Path) -> None:
    leaving = Leaving(folder)
    leaving.write(LETTER)
    assert names(folder)[0].startswith("new-")
    leaving.abort()
    assert names(folder) == []
    leaving.abort()


def test_too_many_recipients_are_told_before_anything_is_left(folder: Path) -> None:
    leaving = Leaving(folder)
    with pytest.raises(EnvelopeTooLarge):
        leaving.commit(Drop(DROP.envelope, DROP.recipients * 40_000))
    leaving.abort()
    assert names(folder) == []


def test_without_a_maildrop_it_is_told_who_makes_it(tmp_path: Path) -> None:
    with pytest.raises(NoMaildrop, match="the relay makes it when it starts"):
        Leaving(tmp_path / "nothing")


@needs_root
def test_a_maildrop_that_only_the_relay_reaches_says_how_to_open_it(public_path: Path) -> None:
    (public_path / "spool").mkdir(0o700)
    (public_path / "spool" / "maildrop").mkdir(0o700)

    def by_nobody() -> None:
        with pytest.raises(NotAllowed, match=r"sendmail: \{maildrop: /var/spool/relay-maildrop\}"):
            Leaving(public_path / "spool" / "maildrop")

    as_user(NOBODY, by_nobody)


@needs_root
def test_a_maildrop_that_is_for_others_says_so(public_path: Path) -> None:
    (public_path / "drop").mkdir(0o700)

    def by_nobody() -> None:
        with pytest.raises(NotAllowed, match="Permission denied"):
            Leaving(public_path / "drop")

    as_user(NOBODY, by_nobody)


def test_a_link_in_the_place_of_the_maildrop_is_not_followed(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(NotSafe, match="no symbolic link"):
        Leaving(folder.parent / "link")


def test_a_maildrop_where_users_could_take_each_others_mail_is_not_used(folder: Path) -> None:
    folder.chmod(0o733)
    with pytest.raises(NotSafe, match="chmod 3733"):
        Leaving(folder)


@needs_root
def test_a_maildrop_that_does_not_hand_its_group_down_is_not_used(folder: Path) -> None:
    """The relay could not read what is left there, and the mail would lie there for ever."""
    folder.chmod(0o1733)

    def by_nobody() -> None:
        with pytest.raises(NotSafe, match="chmod 3733"):
            leave(folder)

    as_user(NOBODY, by_nobody)
    assert names(folder) == []


@pytest.mark.parametrize("at", ["write", "fsync", "rename", "second fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_in_trouble_is_told_and_nothing_is_left_in_part(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: str, code: int
) -> None:
    name = at.rpartition(" ")[2]
    real, calls = getattr(os, name), [0]

    def failing(*args: object, **kwargs: object) -> object:
        calls[0] += 1
        if calls[0] == (2 if at.startswith("second") else 1):
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, failing)
    leaving = Leaving(folder)
    with pytest.raises(NotNow, match="not known" if at == "second fsync" else os.strerror(code)):
        leaving.write(LETTER)
        leaving.commit(DROP)
    leaving.abort()
    monkeypatch.undo()
    # When only the name could not be synced, it may be there: at worst it goes out twice.
    assert [one[:5] for one in names(folder)] == (["mail-"] if at == "second fsync" else [])


def test_a_disk_that_is_nearly_full_is_left_to_the_relay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 10**6, 10**6, 1000, 10**6, 10**6, 10**6, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda fd: full)
    with pytest.raises(NotNow, match="no room on the disk"):
        Leaving(folder)


def test_a_limit_of_the_user_on_the_size_of_files_is_no_crash(folder: Path) -> None:
    """ulimit -f: a signal by default, which Python turns into an error."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        leaving = Leaving(folder)
        with pytest.raises(NotNow, match="File too large"):
            leaving.write(b"x" * 2000)
        leaving.abort()

    if ROOT:
        as_user(NOBODY, limited)
    else:
        as_user(os.getuid(), limited)
    assert names(folder) == []


def test_what_was_swept_while_it_was_written_is_told(folder: Path) -> None:
    leaving = Leaving(folder)
    leaving.write(LETTER)
    (folder / names(folder)[0]).unlink()
    with pytest.raises(NotNow, match="is gone"):
        leaving.commit(DROP)
    leaving.abort()
