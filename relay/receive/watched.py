"""Files that are read again when they change: lists of recipients and users, certificates.

The rule that must not be broken: a file that is missing, half written or faulty takes nothing away; what was read
last, whole, stays in force, and whoever watches is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from relay.message.step import Tell

T = TypeVar("T")

LOOK_S = 1.0
"""How often the files are looked at."""


class InThread(Protocol):
    """Does slow work aside, and gives its result in the reactor's thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]: ...


def at_once(work: Callable[[], T], /) -> Deferred[T]:
    """Does it in the reactor's thread: for tests, and for what is quick."""
    return maybeDeferred(work)


_Version = tuple[tuple[int, int, int], ...]


class Watched(Generic[T]):
    """Watches files that are read together, and tells what they hold."""

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[], T],
        learned: Callable[[T], None],
        clock: IReactorTime,
        tell: Tell,
        in_thread: InThread = at_once,
        what: str = "what",
    ) -> None:
        """read     reads all of them; what it raises is told
        learned  called with each result
        what     what they hold, for the one sentence that says that it stays in force
        """
        self._paths = tuple(paths)
        self._read = read
        self._learned = learned
        self._clock = clock
        self._tell = tell
        self._in_thread = in_thread
        self._what = what
        self._known: _Version | None = None  # of the files as last read, well or not
        self._seen: _Version | None = None  # of the files as last looked at
        self._call: IDelayedCall | None = None
        self._is_missed = False
        self._is_stopped = False
        self.trouble = ""  # why the files cannot be read as they are now

    def start(self, known: bool = False) -> None:
        """Reads the files at once, and goes on watching them.

        known  they were read just now, by somebody else
        """
        self._known = self._seen = self._version()
        if self._known is not None and not known:
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
            found = [path.stat() for path in self._paths]
        except OSError as error:
            if not self._is_missed:
                self._is_missed = True
                self._refuse(error)
            return None
        self._is_missed = False
        return tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in found)

    def _take(self, result: T) -> None:
        if not self._is_stopped:
            self.trouble = ""
            self._learned(result)
            self._tell("reloaded", place=self._place(), **self.told(result))

    def told(self, result: T) -> dict[str, object]:
        """What else to tell of a result."""
        return {}

    def _not_read(self, failure: Failure) -> None:
        if failure.value is not None:
            self._refuse(failure.value)

    def _refuse(self, error: BaseException) -> None:
        faults = getattr(error, "faults", ())
        line = f":{faults[0].line}" if faults else ""
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.trouble = f"{self._place()}{line}: {why}"
        self._tell("trouble", place=f"{self._place()}{line}", error=f"{self._what} as last read stays in force: {why}")

    def _place(self) -> str:
        return ", ".join(map(str, self._paths))
