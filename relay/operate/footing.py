"""What a relay stands on when it starts: the user, folders, files and sockets that its configuration names.

It is looked at before anything is made, so that ``relay check`` and the start find the same faults, all at once.  Who
may write where, and whether a port is free, only the start can tell: it may be somebody else's than who checks.

The rule that must not be broken: looking changes nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory

from relay.operate import kinds, privileges, rules
from relay.operate.config import Config, ConfigFaults
from relay.operate.places import Fault
from relay.receive.tls import TlsFault, load, load_authorities

_UNIX = re.compile(r"(?:haproxy:)?unix:")
_MOUNTS = Path("/proc/self/mountinfo")
_KERNELS_OWN = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "devpts", "debugfs", "tracefs", "securityfs"})


def stand(config: Config) -> None:
    """Raises ConfigFaults when a relay could not start so."""
    found = faults_of(config)
    if found:
        raise ConfigFaults(found)


def faults_of(config: Config) -> list[Fault]:
    """All that is wrong, in the order of the file."""
    found: list[Fault] = []
    for look in (_of_user, _of_spool, _of_maildrop, _of_log, _of_sockets, _of_certificates, _of_token):
        with suppress(PermissionError):  # where we may not look, the start may
            found.extend(Fault(config.standing(key), key, what) for key, what in look(config))
    return sorted(found, key=lambda fault: (fault.place.line, fault.place.column))


def _of_user(config: Config) -> Iterator[tuple[str, str]]:
    try:
        if config.user is not None:
            privileges.identity(config.user, config.group)
    except privileges.PrivilegesFault as fault:
        yield fault.key, fault.what


def _of_spool(config: Config) -> Iterator[tuple[str, str]]:
    """It is made with the folders around it; see privileges.prepare_spool."""
    mode, ground = _mode(config.spool), config.spool.parent
    if mode is not None:
        if not stat.S_ISDIR(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "a file"
            yield "spool", f"{config.spool} is {kind}; it must be a folder of the relay's own, or a path to make one at"
        return
    while _mode(ground) is None:
        ground = ground.parent
    why = _why_none_in(ground)
    if why:
        yield "spool", f"{config.spool} cannot be made: {why}"


def _of_maildrop(config: Config) -> Iterator[tuple[str, str]]:
    """The one in the spool is made with it; another needs the folder around it.  See privileges.prepare_maildrop."""
    folder = rules.maildrop(config)
    if folder is None or config.sendmail.maildrop is None:
        return
    mode = _mode(folder)
    if mode is None:
        why = _why_none_in(folder.parent)
        if why:
            yield "sendmail.maildrop", f"{folder} cannot be made: {why}"
    elif not stat.S_ISDIR(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "a file"
        yield "sendmail.maildrop", f"{folder} is {kind}; it must be a folder of the relay's own"


def _of_log(config: Config) -> Iterator[tuple[str, str]]:
    path = config.log.file
    if path is None:
        return
    if path.is_dir():
        yield "log.file", f"{path} is a folder; name a file in it: {path / 'relay.log'}"
    elif not path.exists():
        why = _why_none_in(path.parent)
        if why:
            yield "log.file", f"{path} cannot be made: {why}"


def _of_sockets(config: Config) -> Iterator[tuple[str, str]]:
    endpoints = [(f"listen[{number}].endpoint", listen.endpoint) for number, listen in enumerate(config.listen)]
    if config.admin is not None and config.says("admin"):  # else the relay does without its page
        endpoints.append(("admin.http", config.admin.http))
    for key, endpoint in endpoints:
        path = _socket_of(endpoint)
        if path is None:
            continue
        mode = _mode(path)
        why = _why_none_in(path.parent) if mode is None else ""
        if why:
            yield key, f"cannot listen on {endpoint}: {why}"
        elif mode is not None and not stat.S_ISSOCK(mode):
            yield key, f"cannot listen on {endpoint}: {path} is there and is no socket; choose another path"


def _of_certificates(config: Config) -> Iterator[tuple[str, str]]:
    for number, pair in enumerate(rules.key_pairs(config)):
        section = "tls" if config.says("tls.certificate") else f"tls[{number}]"
        try:
            load((pair,))
        except TlsFault as fault:
            is_key = fault.path == pair.key and pair.key != pair.certificate
            yield f"{section}.{'key' if is_key else 'certificate'}", str(fault)
    authorities = [(f"accept.certificates[{number}]", one) for number, one in enumerate(config.accept.certificates)]
    if config.accept.tokens is not None and config.accept.tokens.authorities is not None:
        authorities.append(("accept.tokens.authorities", config.accept.tokens.authorities))
    for key, path in authorities:
        try:
            if isinstance(path, Path):
                load_authorities(path)
        except TlsFault as fault:
            yield key, str(fault)


def _of_token(config: Config) -> Iterator[tuple[str, str]]:
    path = config.admin.token_file if config.admin is not None else None
    if path is None or kinds.is_still_to_come(path):
        return
    from relay.operate.web.opening import TokenFault, read_token  # who has no token does not pay for the page

    try:
        read_token(config)
    except TokenFault as fault:
        yield "admin.token_file", fault.what


# -- looking ---------------------------------------------------------------------------------------------------


def _mode(path: Path) -> int | None:
    """What there is at a path, symbolic links not followed; None when nothing is.  Raises PermissionError."""
    try:
        return path.lstat().st_mode
    except PermissionError:
        raise
    except OSError:
        return None


def _why_none_in(folder: Path) -> str:
    """Why nothing can be made in a folder, whoever tries; empty when something can."""
    if not folder.exists():
        return f"there is no folder {folder}; create it, or name another"
    if not folder.is_dir():
        return f"{folder} is no folder"
    if _is_the_kernels(folder):
        return f"{folder} is the kernel's own; choose a folder on a disk"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder} is on a disk that is mounted to be read only"
    return ""


def _is_the_kernels(folder: Path) -> bool:
    """Whether what lies there is no disk but a view of the kernel, as /proc is: root may write there, and cannot."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = [line.split() for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return False
    # proc_pid_mountinfo(5): the third field is the device; the kind of file system comes after a lone hyphen.
    return any(fields[2] == wanted and fields[fields.index("-") + 1] in _KERNELS_OWN for fields in mounts)


def _socket_of(endpoint: str) -> Path | None:
    """The path of a unix endpoint; None for others."""
    if not _UNIX.match(endpoint):
        return None
    told = _Told()
    serverFromString(cast(Any, told), endpoint).listen(Factory())
    return told.path


class _Told:
    """What a unix endpoint takes for its reactor: writes down the path, and opens nothing."""

    path: Path | None = None

    def listenUNIX(self, address: str, factory: object, **options: object) -> None:
        self.path = None if address.startswith("\0") else Path(address).absolute()
