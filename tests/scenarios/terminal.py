"""A program on a terminal, and somebody in front of it."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

LIMIT_S = 60.0


class Terminal:
    """What is on the screen, and the keyboard.

    seen  all that was shown so far
    """

    def __init__(self, pid: int, fd: int) -> None:
        self.seen = ""
        self._pid = pid
        self._fd = fd
        self._read_to = 0
        self._code: int | None = None

    def expects(self, text: str) -> None:
        """Reads until this is shown, behind what was expected before."""
        end = time.monotonic() + LIMIT_S
        while (found := self.seen.find(text, self._read_to)) < 0:
            if time.monotonic() > end or not self._read():
                raise AssertionError(f"{text!r} is not shown:\n{self.seen[self._read_to :]}")
        self._read_to = found + len(text)

    def types(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")

    def answers(self, question: str, line: str) -> None:
        self.expects(question)
        self.types(line)

    def ends(self) -> int:
        """Reads to the end; gives the exit code."""
        while self._read():
            pass
        return self.wait()

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._code

    def kill(self) -> None:
        if self._code is None:
            os.kill(self._pid, signal.SIGKILL)
            self.wait()
        os.close(self._fd)

    def _read(self) -> bool:
        """Whether something came before the program ended."""
        if not select.select([self._fd], [], [], LIMIT_S)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the program has let go of the terminal
            return False
        self.seen += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def terminal(command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Terminal]:
    pid, fd = pty.fork()
    if not pid:
        try:
            os.chdir(folder)
            os.execve(command[0], [str(word) for word in command], {**os.environ, "TERM": "dumb", **(env or {})})
        finally:
            os._exit(127)
    one = Terminal(pid, fd)
    try:
        yield one
    finally:
        one.kill()
