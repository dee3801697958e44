"""The file of the addresses that exist (``accept.recipients``), read again when it changes.

The rule that must not be broken: a file that is missing, half written or faulty never takes an address away;
the list as last read whole stays in force, and whoever watches is told.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from relay.message.step import Tell
from relay.policy.recipients import RecipientList, RecipientsFault, parse_recipients

LOOK_S = 1.0
"""How often the file is looked at."""

Learned = Callable[[RecipientList], None]
InThread = Callable[[Callable[[], RecipientList]], Deferred[RecipientList]]

_Version = tuple[int, int, int]


def at_once(read: Callable[[], RecipientList]) -> Deferred[RecipientList]:
    """Reads in the reactor's thread: for tests, and for small files."""
    return maybeDeferred(read)


class RecipientFile:
    """Watches one file and tells what it holds."""

    def __init__(
        self, path: Path, clock: IReactorTime, tell: Tell, learned: Learned, in_thread: InThread = at_once
    ) -> None:
        """learned    called with each list that was read whole
        in_thread  runs the reading of a large file aside
        """
        self._path = path
        self._clock = clock
        self._tell = tell
        self._learned = learned
        self._in_thread = in_thread
        self._known: _Version | None = None  # of the file as last read, well or not
        self._seen: _Version | None = None  # of the file as last looked at
        self._call: IDelayedCall | None = None
        self._is_missed = False
        self._is_stopped = False

    def start(self) -> None:
        """Reads the file at once, and goes on watching it."""
        self._known = self._seen = self._version()
        if self._known is not None:
            try:
                self._take(self._read())
            except Exception as error:
                self._refuse(error)
        self._call = self._clock.callLater(LOOK_S, self._look)

    def stop(self) -> None:
        """Watches no more."""
        self._is_stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        before, self._seen = self._seen, self._version()
        # Only what has stood still from one look to the next: an editor may be in the midst of writing.
        if self._seen is not None and self._seen == before and self._seen != self._known:
            self._known = self._seen
            self._in_thread(self._read).addCallbacks(self._take, self._not_read).addBoth(self._look_later)
        else:
            self._look_later(None)

    def _look_later(self, _: object) -> None:
        if not self._is_stopped:
            self._call = self._clock.callLater(LOOK_S, self._look)

    def _version(self) -> _Version | None:
        try:
            status = self._path.stat()
        except OSError as error:
            if not self._is_missed:
                self._is_missed = True
                self._refuse(error)
            return None
        self._is_missed = False
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> RecipientList:
        return parse_recipients(self._path.read_text(encoding="utf-8-sig"), str(self._path))

    def _take(self, recipients: RecipientList) -> None:
        if not self._is_stopped:
            self._learned(recipients)
            self._tell("reloaded", place=str(self._path), recipients=len(recipients.lines))

    def _not_read(self, failure: Failure) -> None:
        if failure.value is not None:
            self._refuse(failure.value)

    def _refuse(self, error: BaseException) -> None:
        line = f":{error.faults[0].line}" if isinstance(error, RecipientsFault) else ""
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._tell("trouble", place=f"{self._path}{line}", error=f"the list as last read stays in force: {why}")
