"""The service that ``twistd relay`` starts, once for each way in which the dialogues want it set up.

    python -m tests.dialogues.hosting FOLDER

All of them share one process.  FOLDER holds a relay.yaml a sub-folder; when all listen, ``ready`` is printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor

from relay.message.address import Address, parse_mailbox
from relay.operate.config import load
from relay.operate.logfile import LogFile
from relay.operate.service import RelayService
from relay.operate.steps import StepLog
from relay.operate.surroundings import real_surroundings
from tests.dialogues.player import Dialogue

NOT_BY_CONFIGURATION = frozenset({"off", "answer", "starttls", "encrypted"})
"""Settings that only the bare session has: an operator cannot turn PIPELINING off, nor order a full disk."""
SCRIPTED = frozenset({"lmtp", "remote-queue"})
"""Dialogues whose server has full mailboxes and queues that only the script of the bare session gives it."""


def is_for_the_service(dialogue: Dialogue) -> bool:
    """Whether a configuration can set a relay up as the dialogue wants it."""
    return dialogue.name not in SCRIPTED and NOT_BY_CONFIGURATION.isdisjoint(key for key, _ in dialogue.settings)


def configuration(dialogue: Dialogue, folder: Path, port: int) -> dict[str, Any]:
    """The configuration that sets a relay up as the dialogue wants it."""
    hostname = next(iter(dialogue.setting("hostname")), "foo.com")
    users = [user for line in dialogue.setting("users") for user in line.split()]
    (folder / "recipients").write_text("\n".join([*users, *_mailboxes(dialogue)]) + "\n", encoding="utf-8")
    accept: dict[str, Any] = {
        "domains": sorted({hostname, *(user.rpartition("@")[2] for user in users)}),
        "recipients": str(folder / "recipients"),
        "networks": ["192.0.2.0/24" if dialogue.setting("untrusted") else "127.0.0.0/8"],
        "bare_line_ends": next(iter(dialogue.setting("bare-line-ends")), "refuse"),
    }
    if dialogue.setting("login"):
        lines = [":{PLAIN}".join(login.split()) for login in dialogue.setting("login")]
        (folder / "users").write_text("\n".join(lines) + "\n", encoding="utf-8")
        accept["users"] = str(folder / "users")
    for key, name in (("size", "message_size"), ("recipients", "max_recipients")):
        for value in dialogue.setting(key):
            accept[name] = int(value)
    return {
        "hostname": hostname,
        "admin": "none",
        "listen": [
            {
                "endpoint": f"tcp:{port}:interface=127.0.0.1",
                "service": "lmtp" if dialogue.setting("lmtp") else "relay",
                "login_without_tls": bool(dialogue.setting("in-the-clear")),
                "login": "required" if dialogue.setting("must-log-in") else "offered",
            }
        ],
        "accept": accept,
        "forward": _forwards(dialogue),
        "directory": _directory(dialogue),
        "routes": [{"to": "*", "via": "discard:"}],
    }


def _mailboxes(dialogue: Dialogue) -> list[str]:
    return [str(_mailbox(person)) for person in _directory(dialogue).values()]


def _forwards(dialogue: Dialogue) -> dict[str, Any]:
    forwards: dict[str, Any] = {}
    for line in dialogue.setting("forward"):
        source, _, targets = line.partition(" -> ")
        forwards[source] = targets.split()
    for line in dialogue.setting("refer"):
        source, _, target = line.partition(" -> ")
        forwards[source] = {"refer": target}
    return forwards


def _directory(dialogue: Dialogue) -> dict[str, str]:
    """Two of one name have each a user name of their own, and the name they share is ambiguous."""
    entries = [line.split(": ", 1) for line in dialogue.setting("directory")]
    names = [user for user, _ in entries]
    return {user if names.count(user) == 1 else _mailbox(person).local: person for user, person in entries}


def _mailbox(person: str) -> Address:
    return parse_mailbox(person.partition("<")[2].rstrip(">"))


def main() -> None:
    running = cast(Any, reactor)
    log = StepLog(running, LogFile(running), "text", "error")
    for folder in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
        config = load(folder / "relay.yaml")
        service = RelayService(config, real_surroundings(running, config), log)
        service.startService()
    running.callWhenRunning(lambda: print(json.dumps("ready"), flush=True))
    running.run()


if __name__ == "__main__":
    main()
