"""A plain Debian in a folder: what a container or a fresh machine is to a recipe, as far as a chroot can be that.

It has a network of its own once something is started in it, with nothing but loopback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def need_root() -> None:
    """Skips, with a word, where such a folder cannot be made."""
    missing = [one for one in ("debootstrap", "unshare", "nsenter", "ip") if shutil.which(one) is None]
    if os.geteuid() != 0:
        pytest.skip("only root can make a plain root")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("a network of its own cannot be made here")


class PlainRoot:
    """See the module.

    environment  of what is run in it
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}

    @staticmethod
    def make(folder: Path) -> PlainRoot:
        """A new one: takes a minute or two."""
        subprocess.run(["debootstrap", "--variant=minbase", SUITE, folder, MIRROR], check=True, capture_output=True)
        no_services = folder / "usr/sbin/policy-rc.d"
        no_services.write_text("#!/bin/sh\nexit 101\n")
        no_services.chmod(0o755)
        return PlainRoot(folder)

    def copy(self, folder: Path) -> PlainRoot:
        subprocess.run(["cp", "-a", "--reflink=auto", self.folder, folder], check=True)
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
        return PlainRoot(folder)

    def command(self, arguments: Sequence[str], user: str = "0:0", at: str = "/") -> list[str]:
        """The command that does this within."""
        return [
            "chroot",
            f"--userspec={user}",
            str(self.folder),
            "/bin/sh",
            "-c",
            'cd "$0" && exec "$@"',
            at,
            *arguments,
        ]

    def run(self, *arguments: str, user: str = "0:0", at: str = "/", **environment: str) -> str:
        """Does it; gives what it writes.  What it writes when it fails is shown."""
        done = subprocess.run(
            self.command(arguments, user, at),
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (
            f"{' '.join(arguments)}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
        return done.stdout

    def start(self, *arguments: str, user: str = "0:0", at: str = "/", log: Path) -> Running:
        """Starts it, with a network of its own."""
        alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*alone, *self.command(arguments, user, at)], env=self.environment, stdout=file, stderr=file
            )
        return Running(self, process, log)


class Running:
    """A program in such a root."""

    def __init__(self, root: PlainRoot, process: subprocess.Popen[bytes], log: Path) -> None:
        self.root = root
        self.process = process
        self.log = log

    def beside(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs something of this machine in the program's network."""
        return subprocess.run(
            ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", "--", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def within(self, *arguments: str, user: str = "0:0", at: str = "/") -> subprocess.CompletedProcess[str]:
        """Runs something in the program's root and network: what ``docker exec`` does."""
        return self.beside(*self.root.command(arguments, user, at), environment=self.root.environment)

    def stop(self) -> int:
        """Tells it to end; gives its exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """Whatever happened, it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
