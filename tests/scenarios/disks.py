"""Real file systems that a test may fill, break and take the power from."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.peers import needs_root, program, wait_until

MIB = 1024 * 1024

_EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
_WITHOUT_FLUSHING = struct.pack("I", 2)


def mount(*arguments: str | Path) -> None:
    done = subprocess.run([program("mount"), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


class Disk:
    """An ext4 file system in a file.

    folder  where it is mounted
    """

    def __init__(self, place: Path, octets: int = 192 * MIB) -> None:
        needs_root()
        self.folder = place / "disk"
        self.folder.mkdir(parents=True)
        self._image = place / "disk.img"
        with self._image.open("wb") as image:
            image.truncate(octets)
        subprocess.run([program("mkfs.ext4"), "-q", self._image], check=True)
        self.plug_in()

    def plug_in(self) -> None:
        mount("-o", "loop", self._image, self.folder)

    def unplug(self) -> None:
        """Only when nothing is open there."""
        wait_until(
            lambda: subprocess.run(["umount", self.folder], capture_output=True, check=False).returncode == 0, "umount"
        )

    def lose_power(self) -> None:
        """From now on nothing reaches the disk, and what was not synced is gone."""
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, _WITHOUT_FLUSHING)
        except OSError as error:
            pytest.skip(f"this kernel cannot take the power from a file system: {error}")
        finally:
            os.close(fd)


@contextmanager
def a_disk(place: Path) -> Iterator[Disk]:
    disk = Disk(place)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk.folder], capture_output=True, check=False)


@contextmanager
def in_memory(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs with these options (``size=96m``, ``nr_inodes=200``)."""
    needs_root()
    place.mkdir()
    mount("-t", "tmpfs", "-o", options, "tmpfs", place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=False)
