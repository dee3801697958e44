"""The other end of the control socket: asking the running relay, by a plain socket and without a reactor."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SOCKET_NAME = "control.sock"
SOCKET_PATH_LIMIT_OCTETS = 107  # unix(7): what sun_path holds, with its final NUL
ANSWER_LIMIT_S = 60.0
EXPLAIN_LIMIT_S = 300.0
"""An explanation asks the DNS, web servers and hosts, each of which may take its time."""
CHANGES = ("queue.flush", "queue.hold", "queue.release", "queue.retry", "queue.remove")
CHANGE_LIMIT_S = 3600.0
"""A change of a million rows is answered when it is done, and mail goes first meanwhile."""
SEARCHES = ("trace.find", "trace.envelopes")
SEARCH_LIMIT_S = 600.0
"""A search may look through much before it finds something."""


class NotRunning(Exception):
    """No relay works on this spool."""


class CannotAsk(Exception):
    """There is a relay, and we may not or cannot talk to it; ``str()`` says why."""


class Refusal(Exception):
    """The relay's answer is no.

    kind  ``request``, ``unavailable`` or ``fault``: see relay.operate.control
    """

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class Control:
    """A conversation with the relay of a spool.  A context manager."""

    def __init__(self, spool: Path, limit_s: float = ANSWER_LIMIT_S) -> None:
        """limit_s  how long to wait for each piece of an answer.  Raises NotRunning, CannotAsk."""
        self._spool = spool
        self._limit_s = limit_s
        self._connect()

    def _connect(self) -> None:
        self._is_answering = False
        spool = self._spool
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self._limit_s)
        try:
            self._socket.connect(socket_path(spool))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            self._socket.close()
            raise NotRunning(str(spool)) from None
        except (OSError, ValueError) as error:
            self._socket.close()
            raise CannotAsk(f"{spool}: {getattr(error, 'strerror', None) or error}") from None
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, do: str, /, **fields: object) -> Iterator[dict[str, Any]]:
        """The rows of the answer, as they come.  Raises Refusal, CannotAsk."""
        if self._is_answering:  # the last answer was not read to its end, and would be taken for this one
            self.close()
            self._connect()
        self._is_answering = True
        request = {name: value for name, value in fields.items() if value is not None}
        if do in CHANGES:
            self._socket.settimeout(CHANGE_LIMIT_S)
        elif do.startswith("explain"):
            self._socket.settimeout(EXPLAIN_LIMIT_S)
        elif do in SEARCHES:
            self._socket.settimeout(SEARCH_LIMIT_S)
        try:
            self._socket.sendall(json.dumps({"do": do, **request}).encode() + b"\n")
            for line in self._answers:
                answer = json.loads(line)
                if "row" in answer:
                    yield answer["row"]
                    continue
                self._is_answering = False
                if "error" in answer:
                    raise Refusal(answer["error"], answer.get("kind", "fault"))
                return
        except OSError as error:
            raise CannotAsk(f"the relay does not answer: {error.strerror or error}") from None
        raise CannotAsk("the relay ended before its answer was whole")

    def ask_one(self, do: str, /, **fields: object) -> dict[str, Any]:
        """The one row of the answer."""
        rows = list(self.ask(do, **fields))
        if len(rows) != 1:
            raise CannotAsk(f"{len(rows)} rows in place of one; are relay and this command of the same version?")
        return rows[0]

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


def socket_path(spool: Path) -> str:
    """The path of the control socket, relative to the working directory where that is shorter.

    Raises ValueError when no unix socket can have it.
    """
    path = spool.absolute() / SOCKET_NAME
    choices: Sequence[str] = [str(path)]
    if path.is_relative_to(Path.cwd()):
        choices = [*choices, str(path.relative_to(Path.cwd()))]
    shortest = min(choices, key=len)
    if len(shortest.encode()) > SOCKET_PATH_LIMIT_OCTETS:
        raise ValueError(
            f"spool: {spool} is too long: the path of the socket within it may have {SOCKET_PATH_LIMIT_OCTETS} octets"
        )
    return shortest
