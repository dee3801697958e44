"""Files that relay init makes: whole, private where they must be, and over nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.operate.init.writing import FOR_ALL, FOR_ONE, Owner, write


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "etc" / "relay" / "relay.yaml", "text\n", FOR_ALL)
    path = tmp_path / "etc" / "relay" / "relay.yaml"
    assert path.read_text() == "text\n" and path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in path.parent.iterdir()] == ["relay.yaml"]


def test_nothing_is_overwritten_unless_it_was_given_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileExistsError):
        write(path, "new", FOR_ALL)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    write(path, "new", FOR_ALL, replaces=True)
    assert path.read_text() == "new"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("old")
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    write(tmp_path / "file", "new", FOR_ONE, replaces=True)
    assert (tmp_path / "victim").read_text() == "old" and not (tmp_path / "file").is_symlink()


def test_a_secret_is_never_for_others_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for a moment, whatever the umask says."""
    modes: list[int] = []
    opened, synced = os.open, os.fsync

    def seen(fd: int) -> int:
        modes.append(os.fstat(fd).st_mode & 0o777)
        return fd

    monkeypatch.setattr(os, "open", lambda *args: seen(opened(*args)))
    monkeypatch.setattr(os, "fsync", lambda fd: synced(seen(fd)))
    before = os.umask(0)
    try:
        write(tmp_path / "password", "geheim\n", FOR_ONE)
    finally:
        os.umask(before)
    assert modes == [0o600, 0o600] and (tmp_path / "password").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_secret_is_given_to_who_needs_it(tmp_path: Path) -> None:
    write(tmp_path / "password", "geheim\n", FOR_ONE, owner=Owner(8, 12))
    status = (tmp_path / "password").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (8, 12, 0o600)
