"""A maildrop for tests, and users who put things into it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.message.address import parse_mailbox
from relay.message.envelope import Envelope, Recipient
from relay.operate.privileges import Identity, prepare_maildrop
from relay.receive.maildrop.drop import Drop
from relay.receive.maildrop.leaving import Leaving

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root can be several users")
NOBODY, EVE = 65534, 65533
LETTER = b"Subject: x\r\n\r\nbody\r\n"


def maildrop(parent: Path, uid: int | None = None) -> Path:
    """For all users, as an operator has it; of the relay's user."""
    folder = parent / "drop"
    prepare_maildrop(folder, False, Identity("", uid, uid) if uid is not None else None)
    return folder


def leave(
    folder: Path, *to: str, sender: str | None = "ann@example.org", content: bytes = LETTER, **envelope: object
) -> str:
    """Leaves a message as this process; gives its name."""
    leaving = Leaving(folder)
    recipients = tuple(Recipient(parse_mailbox(one)) for one in to or ("bob@example.net",))
    try:
        leaving.write(content)
        leaving.commit(Drop(Envelope(parse_mailbox(sender) if sender else None, **envelope), recipients))  # type: ignore[arg-type]
    finally:
        leaving.abort()
    return leaving.name


def as_user(uid: int, do: Callable[[], object]) -> None:
    """Does it in a process of this user, who is in no group of ours."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.umask(0o022)
            do()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
