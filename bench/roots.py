"""Debian packages that exclude each other, each in a root of its own, and the host left as it is.

A package is unpacked into a cache, and a program started in a mount namespace of its own, in which the unpacked files
lie over /usr and /etc, its users exist, /run is empty, and /var/spool and /var/lib are folders of the run (on the
same disk as everybody's).  Needs root, Debian's apt, and overlayfs; whatever lacks is said as ``Missing``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Missing(Exception):
    """A peer that cannot be run here; ``str()`` says why."""


CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "relay-bench"


class Root:
    """A root with some packages.

    users  name -> its number; each has a group of the same name and number
    """

    def __init__(self, packages: Sequence[str], users: dict[str, int]) -> None:
        if os.geteuid() != 0:
            raise Missing("a root of its own can be made by root only")
        if "overlay" not in Path("/proc/filesystems").read_text("ascii"):
            raise Missing("this kernel has no overlayfs")
        self._packages = packages
        self._users = users
        self.files = CACHE / packages[0]
        if not (self.files / "complete").exists():
            self._unpack()

    def _unpack(self) -> None:
        (self.files / "root").mkdir(parents=True, exist_ok=True)
        wanted = [*self._packages, *self._libraries()]
        _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *wanted, folder=self.files)
        for package in self.files.glob("*.deb"):
            _run("dpkg", "-x", str(package), str(self.files / "root"), folder=self.files)
        (self.files / "complete").touch()

    def _libraries(self) -> list[str]:
        """Libraries that the packages need and the host does not have, whatever these need in turn too."""
        found: list[str] = []
        look = list(self._packages)
        while look:
            listed = _run("apt-cache", "depends", "--important", look.pop(), folder=self.files)
            for line in listed.splitlines():
                kind, _, name = line.strip().lstrip("|").partition(": ")
                if kind in ("Depends", "PreDepends") and name.startswith("lib") and name not in found:
                    there = subprocess.run(["dpkg-query", "-W", "-f=${Status}", name], capture_output=True, check=False)
                    if not there.stdout.endswith(b" installed"):
                        found.append(name)
                        look.append(name)
        return found

    def command(self, folder: Path, *arguments: str) -> list[str]:
        """What starts a program within; ``folder`` is the run's own."""
        etc = folder / "root" / "etc"
        for name in ("usr-work", "usr-upper", "etc-work", "spool", "lib"):
            (folder / "root" / name).mkdir(parents=True, exist_ok=True)
        etc.mkdir(exist_ok=True)
        for file, line in (("passwd", "{0}:x:{1}:{1}::/nonexistent:/usr/sbin/nologin\n"), ("group", "{0}:x:{1}:\n")):
            added = "".join(line.format(name, number) for name, number in self._users.items())
            (etc / file).write_text(Path("/etc", file).read_text("utf-8") + added, "utf-8")
        root, over = self.files / "root", folder / "root"
        lower = f"{root}/etc:/etc" if (root / "etc").is_dir() else "/etc"
        overlay = "mount -t overlay overlay -o"
        script = (
            f"{overlay} lowerdir={root}/usr:/usr,upperdir={over}/usr-upper,workdir={over}/usr-work /usr"
            f" && {overlay} lowerdir={lower},upperdir={etc},workdir={over}/etc-work /etc"
            f" && mount --bind {over}/spool /var/spool && mount --bind {over}/lib /var/lib && mount -t tmpfs tmpfs /run"
            f" && exec {shlex.join(arguments)}"
        )
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def _run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{command[0]} says: {(done.stderr or done.stdout).strip()[-200:]}")
    return done.stdout
