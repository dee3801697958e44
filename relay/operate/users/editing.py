"""Changing a file of users that other software writes too.

The rule that must not be broken: every line that is not meant stays octet for octet as it is, and the file is replaced
whole or not at all, with the mode and the owner that it had.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from relay.policy.users import fault_of_name, parse_senders, parse_user, user_key

FIELDS = 8
NEW_FILE_MODE = 0o640


class NoSuchUser(Exception):
    """There is no line for this user."""


class UserExists(Exception):
    """There is a line for this user already."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a new file is to be."""

    uid: int
    gid: int


def added(text: str, name: str, secret: str, senders: str | None) -> str:
    """The text with one more user.  Raises UserExists, ValueError for a name or senders that cannot be."""
    if _line_of(text, name) is not None:
        raise UserExists(name)
    line = f"{name}:{secret}" + (f"::::::{_senders(senders)}" if senders is not None else "")
    fault = fault_of_name(name)
    if fault:
        raise ValueError(fault)
    if ":" in name or name.startswith("#"):
        raise ValueError("the name of a user holds no colon, and does not begin with #")
    parse_user(line, "")
    return text + ("\n" if text and not text.endswith("\n") else "") + line + "\n"


def with_secret(text: str, name: str, secret: str) -> str:
    """The text with another password for this user.  Raises NoSuchUser."""
    return _changed(text, name, lambda fields: [fields[0], secret, *fields[2:]])


def with_senders(text: str, name: str, senders: str | None) -> str:
    """The text with other senders for this user; None for those of the own domain.  Raises NoSuchUser, ValueError."""

    def changed(fields: list[str]) -> list[str]:
        fields = fields + [""] * (FIELDS - len(fields))
        kept = [word for word in fields[-1].split() if not word.startswith("senders=")]
        fields[-1] = " ".join([*([_senders(senders)] if senders is not None else []), *kept])
        return fields

    return _changed(text, name, changed)


def _senders(patterns: str) -> str:
    return f"senders={','.join(parse_senders(patterns))}"


def removed(text: str, name: str) -> str:
    """The text without this user.  Raises NoSuchUser."""
    lines = text.splitlines(keepends=True)
    number = _line_of(text, name)
    if number is None:
        raise NoSuchUser(name)
    return "".join(lines[:number] + lines[number + 1 :])


def _changed(text: str, name: str, change: Callable[[list[str]], list[str]]) -> str:
    lines = text.splitlines(keepends=True)
    number = _line_of(text, name)
    if number is None:
        raise NoSuchUser(name)
    line = lines[number].rstrip("\r\n")
    end = lines[number][len(line) :]
    lines[number] = ":".join(change(line.split(":", FIELDS - 1))) + end
    return "".join(lines)


def _line_of(text: str, name: str) -> int | None:
    for number, line in enumerate(text.splitlines()):
        if not line.startswith("#") and user_key(line.partition(":")[0]) == user_key(name):
            return number
    return None


@contextmanager
def editing(path: Path, owner: Owner | None = None) -> Iterator[Edited]:
    """The file's text to be changed; written at the end, if nothing was raised.  One edits at a time.

    owner  of the file, when it is new
    """
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        edited = Edited(path.read_text(encoding="utf-8") if path.exists() else "")
        before = edited.text
        yield edited
        if edited.text != before or not path.exists():
            _replace(path, edited.text, owner)
    finally:
        os.close(lock)


@dataclass
class Edited:
    """A text that is being changed."""

    text: str


def _replace(path: Path, text: str, owner: Owner | None) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    mode = NEW_FILE_MODE
    if path.exists():
        status = path.stat()
        mode, owner = status.st_mode & 0o777, Owner(status.st_uid, status.st_gid)
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            if owner is not None and (owner.uid, owner.gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, owner.uid, owner.gid)
            os.fchmod(descriptor, mode)
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            fresh.unlink()
        raise
