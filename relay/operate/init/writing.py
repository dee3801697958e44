"""Files that ``relay init`` makes: whole or not at all, and never over another that nobody gave up.

The rule that must not be broken: a secret is never in a file that others can read, not even for a moment.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOR_ALL = 0o644
FOR_ONE = 0o600


@dataclass(frozen=True, slots=True)
class Owner:
    uid: int
    gid: int


def write(path: Path, text: str, mode: int, *, replaces: bool = False, owner: Owner | None = None) -> None:
    """Writes a file, synced, with its folder if need be.

    replaces  another may be there, and goes
    owner     as root: whose it shall be

    Raises OSError; FileExistsError when another is there.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FOR_ONE)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            if owner is not None:
                os.fchown(stream.fileno(), owner.uid, owner.gid)
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        if replaces:
            new.replace(path)
        else:
            path.hardlink_to(new)
    finally:
        with suppress(FileNotFoundError):
            new.unlink()
