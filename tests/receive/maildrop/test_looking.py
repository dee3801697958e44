"""The maildrop as the relay sees it: whatever a user puts there, nothing is followed, waited for, told or removed that
should not be."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.receive.maildrop import looking
from relay.receive.maildrop.drop import NotADrop
from relay.receive.maildrop.looking import ABANDONED_S, NAMED, Busy, Gone, Maildrop, MaildropUnfit, Waiting
from tests.receive.maildrop.folder import EVE, LETTER, NOBODY, as_user, leave, maildrop, needs_root

ALL = (1000, 1000)


@pytest.fixture
def folder(public_path: Path) -> Path:
    return maildrop(public_path)


@pytest.fixture
def drop(folder: Path) -> Iterator[Maildrop]:
    drop = Maildrop(folder)
    yield drop
    drop.close()


def only(drop: Maildrop) -> Waiting:
    (waiting,) = drop.look(*ALL).waiting
    return waiting


def test_what_was_left_is_read_as_it_was_left_and_removed(folder: Path, drop: Maildrop) -> None:
    content = os.urandom(300_000)
    name = leave(folder, content=content)
    waiting = only(drop)
    assert (waiting.name, waiting.uid) == (name, os.geteuid())
    left = drop.open(waiting)
    assert left.size == len(content)
    assert b"".join(left.read(100_000, at) for at in range(0, left.size, 100_000)) == content
    left.close()
    drop.remove(waiting)
    assert drop.look(*ALL).waiting == ()


def test_what_is_being_written_is_not_seen(folder: Path, drop: Maildrop) -> None:
    (folder / "new-1").write_bytes(LETTER)
    assert drop.look(*ALL) == looking.Seen(())


def test_the_longest_waiting_are_found_first_and_only_so_many_of_a_user(folder: Path, drop: Maildrop) -> None:
    names = []
    for _ in range(5):
        names.append(leave(folder))
        time.sleep(0.01)  # the kernel's clock of inodes is coarse
    seen = drop.look(3, 10)
    assert [one.name for one in seen.waiting] == names[:3] and seen.is_more
    seen = drop.look(3, 10, skip=frozenset(names[:3]))
    assert [one.name for one in seen.waiting] == names[3:] and not seen.is_more


@needs_root
def test_of_so_many_users_messages_are_found_at_once(folder: Path, drop: Maildrop) -> None:
    for uid in (60001, 60002, 60003):
        as_user(uid, lambda: (leave(folder), leave(folder)))
    seen = drop.look(1, 2)
    assert len(seen.waiting) == 2 and len({one.uid for one in seen.waiting}) == 2 and seen.is_more
    assert len(drop.look(2, 3).waiting) == 6


def test_a_user_cannot_come_first_by_setting_a_time(folder: Path, drop: Maildrop) -> None:
    first = leave(folder)
    time.sleep(0.01)
    second = leave(folder)
    os.utime(folder / second, (0, 0))
    assert [one.name for one in drop.look(*ALL).waiting] == [first, second]


# -- what only looks like mail --------------------------------------------------------------------------

Harm = Callable[[Path], object]

STRANGE: dict[str, Harm] = {
    "a symbolic link": lambda folder: (folder / "mail-x").symlink_to("/etc/passwd"),
    "a link to nothing": lambda folder: (folder / "mail-x").symlink_to("nothing"),
    "a fifo": lambda folder: os.mkfifo(folder / "mail-x"),
    "a folder": lambda folder: (folder / "mail-x").mkdir(),
    "a full folder": lambda folder: ((folder / "mail-x").mkdir(), (folder / "mail-x" / "mail-y").touch()),
    "a name of another kind": lambda folder: (folder / "hello").touch(),
    "a hidden name": lambda folder: (folder / ".mail-x").touch(),
}


@pytest.mark.parametrize("harm", STRANGE.values(), ids=STRANGE.keys())
def test_what_is_no_file_is_passed_over_and_counted(folder: Path, drop: Maildrop, harm: Harm) -> None:
    harm(folder)
    name = leave(folder)
    seen = drop.look(*ALL)
    assert [one.name for one in seen.waiting] == [name]
    assert seen.strange in {"mail-x", "hello", ".mail-x"}


def test_of_much_that_is_no_file_of_ours_some_is_named(folder: Path, drop: Maildrop) -> None:
    for number in range(1200):
        (folder / f"hello-{number}").touch()
    strange = drop.look(*ALL).strange
    assert strange.count("hello-") == NAMED and strange.endswith(" and 1,197 more")
    for found in folder.glob("hello-*"):
        found.unlink()
    assert drop.look(*ALL).strange == ""


def broken(folder: Path, content: bytes) -> None:
    (folder / "mail-x").write_bytes(content)


BROKEN: dict[str, tuple[Harm, str]] = {
    "empty": (lambda folder: broken(folder, b""), "does not end"),
    "text": (lambda folder: broken(folder, b"Subject: x\n"), "does not end"),
    "no JSON": (lambda folder: broken(folder, b"x\n" + b"00000002 relay-drop-1\n"), "not JSON"),
    "sparse and huge": (lambda folder: os.truncate(_touched(folder), 1 << 40), "does not end"),
    "a second name": (lambda folder: os.link(folder / leave(folder), folder / "other"), "a second name"),
}


def _touched(folder: Path) -> Path:
    (folder / "mail-x").touch()
    return folder / "mail-x"


@pytest.mark.parametrize(("harm", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_a_fault_and_is_set_aside(folder: Path, drop: Maildrop, harm: Harm, why: str) -> None:
    harm(folder)
    waiting = only(drop)
    inode = (folder / waiting.name).stat().st_ino
    with pytest.raises(NotADrop, match=why):
        drop.open(waiting)
    assert "is kept in" in drop.set_aside(waiting)
    assert (folder / "set-aside" / waiting.name).stat().st_ino == inode
    assert stat.S_IMODE((folder / "set-aside").stat().st_mode) == 0o700
    assert drop.look(*ALL).waiting == ()


def test_what_changed_its_kind_since_it_was_found_is_not_opened(folder: Path, drop: Maildrop) -> None:
    for harm, fault in (
        (lambda path: path.symlink_to("/etc/passwd"), NotADrop),
        (lambda path: os.mkfifo(path), Gone),
        (lambda path: path.mkdir(), Gone),
        (lambda path: path.write_bytes(b"another"), Gone),
    ):
        name = leave(folder)
        waiting = only(drop)
        (folder / name).rename(folder / "away")
        harm(folder / name)
        with pytest.raises(fault):
            drop.open(waiting)
        assert drop.set_aside(waiting) == "it is gone"
        drop.remove(waiting)
        assert os.path.lexists(folder / name), "what was not read was removed"
        (folder / "away").unlink()
        (folder / name).rmdir() if (folder / name).is_dir() else (folder / name).unlink()


def test_a_fifo_does_not_hold_us(folder: Path, drop: Maildrop) -> None:
    os.mkfifo(folder / "mail-x")
    status = (folder / "mail-x").stat()
    with pytest.raises(NotADrop, match="no plain file"):
        drop.open(Waiting(status.st_ctime, "mail-x", status.st_ino, status.st_uid))


def test_a_lease_does_not_hold_us(folder: Path, drop: Maildrop) -> None:
    """fcntl(2), F_SETLEASE: who opens a leased file waits for its owner, up to 45 seconds."""
    name = leave(folder)
    waiting = only(drop)
    with (folder / name).open("r+b") as owner:
        owner.flush()
        before = signal.signal(signal.SIGIO, lambda *_: None)  # it is told of whoever wants in
        try:
            fcntl.fcntl(owner, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            with pytest.raises(Busy, match="temporarily unavailable"):
                drop.open(waiting)
            fcntl.fcntl(owner, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        finally:
            signal.signal(signal.SIGIO, before)
    drop.open(waiting).close()


def test_what_becomes_shorter_while_it_is_read_is_no_drop(folder: Path, drop: Maildrop) -> None:
    name = leave(folder, content=b"x" * 1000)
    left = drop.open(only(drop))
    os.truncate(folder / name, 500)
    with pytest.raises(NotADrop, match="shorter"):
        left.read(1000, 0)
    left.close()


@needs_root
def test_what_the_relay_may_not_read_is_set_aside(public_path: Path) -> None:
    """Its owner made it so, or moved it here from elsewhere."""
    folder = maildrop(public_path, NOBODY)
    as_user(EVE, lambda: ((folder / "mail-x").touch(), (folder / "mail-x").chmod(0o600)))

    def by_the_relay() -> None:
        drop = Maildrop(folder)
        with pytest.raises(NotADrop, match="may not read it"):
            drop.open(only(drop))
        assert "is kept in" in drop.set_aside(only(drop))

    as_user(NOBODY, by_the_relay)


def mount(*arguments: str | Path) -> None:
    if subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")


@needs_root
def test_on_an_overlay_too_what_was_left_is_read(public_path: Path) -> None:
    """A small computer whose root is an overlay in memory: its files and folders tell different devices there."""
    below, memory, seen = (public_path / name for name in ("below", "memory", "seen"))
    for folder in (below, memory, seen):
        folder.mkdir()
    mount("-t", "tmpfs", "tmpfs", memory)
    try:
        (memory / "upper").mkdir()
        (memory / "work").mkdir()
        layers = f"lowerdir={below},upperdir={memory}/upper,workdir={memory}/work"
        mount("-t", "overlay", "overlay", "-o", layers, seen)
        try:
            folder = maildrop(seen)
            leave(folder)
            drop = Maildrop(folder)
            drop.open(only(drop)).close()
            drop.close()
        finally:
            subprocess.run(["umount", "-l", seen], check=True)
    finally:
        subprocess.run(["umount", "-l", memory], check=True)


@needs_root
def test_what_is_mounted_over_a_file_is_not_read(public_path: Path, folder: Path, drop: Maildrop) -> None:
    """By FUSE a user can have a file of his answered by a program of his, which answers when it likes."""
    other = public_path / "other"
    other.write_bytes((folder / leave(folder)).read_bytes())
    name = only(drop).name
    mount("--bind", other, folder / name)
    try:
        with pytest.raises(NotADrop, match="mounted"):
            drop.open(only(drop))
    finally:
        subprocess.run(["umount", "-l", folder / name], check=True)


@needs_root
def test_a_set_aside_that_somebody_else_made_is_not_used(public_path: Path) -> None:
    folder = public_path / "drop"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o3733)
    as_user(EVE, lambda: ((folder / "set-aside").mkdir(0o777), (folder / "mail-x").touch()))

    def by_the_relay() -> None:
        drop = Maildrop(folder)
        assert drop.set_aside(only(drop)) == "it is removed"

    as_user(NOBODY, by_the_relay)
    assert sorted(one.name for one in folder.iterdir()) == ["set-aside"]


def test_only_so_many_broken_files_are_kept(folder: Path, drop: Maildrop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "SET_ASIDE_LIMIT", 2)
    done = []
    for _ in range(4):
        broken(folder, b"x")
        (folder / "mail-x").rename(folder / f"mail-{len(done)}")
        done.append(drop.set_aside(only(drop)).split()[2])
    assert done == ["kept", "kept", "removed", "removed"]


def test_what_cannot_be_moved_is_told_once(folder: Path, drop: Maildrop, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(folder, b"x")

    def busy(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "rename", busy)
    assert drop.set_aside(only(drop)) == "it cannot be moved (Device or resource busy) and is passed over"
    assert drop.look(*ALL).waiting == ()


def test_what_was_abandoned_is_swept_after_a_day_and_nothing_else(folder: Path, drop: Maildrop) -> None:
    name = leave(folder)
    (folder / "new-1").touch()
    (folder / "new-2").mkdir()
    (folder / "new-3").mkdir()
    (folder / "new-3" / "x").touch()
    os.utime(folder / "new-1", (0, 0))
    assert drop.sweep(time.time()) == 0, "the time of modification says nothing"
    assert drop.sweep(time.time() + ABANDONED_S + 10) == 2
    assert sorted(one.name for one in folder.iterdir()) == [name, "new-3", "set-aside"]


# -- the folder -----------------------------------------------------------------------------------------


def test_a_folder_that_was_replaced_is_noticed(folder: Path, drop: Maildrop) -> None:
    assert drop.is_still_there()
    folder.rename(folder.parent / "old")
    assert not drop.is_still_there()
    folder.mkdir()
    assert not drop.is_still_there()


def test_a_folder_that_is_unfit_is_not_opened(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    (folder.parent / "file").touch()
    for path in (folder.parent / "link", folder.parent / "file", folder.parent / "nothing"):
        with pytest.raises(MaildropUnfit, match="it must be a folder, and no symbolic link"):
            Maildrop(path)
    folder.chmod(0o733)
    with pytest.raises(MaildropUnfit, match="chmod 3733"):
        Maildrop(folder)


@needs_root
def test_a_folder_of_somebody_else_is_not_opened(folder: Path) -> None:
    os.chown(folder, EVE, EVE)
    with pytest.raises(MaildropUnfit, match=f"belongs to user number {EVE}"):
        Maildrop(folder)
