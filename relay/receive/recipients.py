"""The file of the addresses that exist (``accept.recipients``), read again when it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from relay.message.step import Tell
from relay.policy.recipients import RecipientList, parse_recipients
from relay.receive.watched import InThread, Watched, at_once

Learned = Callable[[RecipientList], None]


class RecipientFile(Watched[RecipientList]):
    """Watches one file and tells what it holds."""

    def __init__(
        self, path: Path, clock: IReactorTime, tell: Tell, learned: Learned, in_thread: InThread = at_once
    ) -> None:
        """learned    called with each list that was read whole
        in_thread  runs the reading of a large file aside
        """
        super().__init__((path,), lambda: _read(path), learned, clock, tell, in_thread, "the list")

    def told(self, result: RecipientList) -> dict[str, object]:
        """How many there are."""
        return {"recipients": len(result.lines)}


def _read(path: Path) -> RecipientList:
    return parse_recipients(path.read_text(encoding="utf-8-sig"), str(path))
