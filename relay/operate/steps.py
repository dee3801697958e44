"""The log: one line for each step of a message's way, as text or as JSON, with the field names of relay.message.step.

    2026-11-23T17:10:00.123Z delivered id=5f3c recipient=ann@example.net hop="mx.example.net [192.0.2.1]" reply="250 OK"

The rule that must not be broken: whatever a peer sent, a step is one line.  A value that holds a blank, a
quote or anything that does not print is quoted as a JSON string.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from relay.operate.logfile import Lines
from relay.operate.recent import Line, Recent

DEBUG, INFO, WARNING, ERROR = 0, 1, 2, 3

Level = Literal["debug", "info", "warning", "error"]

LEVELS: Mapping[Level, int] = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}

LEVEL_OF_STEP: Mapping[str, int] = {
    "connected": DEBUG,
    "disconnected": DEBUG,
    "encrypted": DEBUG,
    "logged_in": INFO,
    "woken": DEBUG,
    "refused": INFO,
    "accepted": INFO,
    "delivered": INFO,
    "deferred": INFO,
    "failed": INFO,
    "held": INFO,
    "released": INFO,
    "removed": INFO,
    "expired": INFO,
    "warned": INFO,
    "reported": INFO,
    "discarded": INFO,
    "unsecured": INFO,
    "unpoliced": INFO,
    "rested": WARNING,
    "set_aside": ERROR,
    "trouble": ERROR,
    "started": WARNING,  # so that they are there at every level but "error"
    "stopped": WARNING,
    "reloaded": WARNING,
}

_LEVEL_OF_EVENT: Mapping[object, int] = {
    LogLevel.debug: DEBUG,
    LogLevel.info: INFO,
    LogLevel.warn: WARNING,
    LogLevel.error: ERROR,
    LogLevel.critical: ERROR,
}

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode
_quote = json.JSONEncoder(ensure_ascii=False).encode
_quote_all = json.JSONEncoder(ensure_ascii=True).encode


class StepLog:
    """Tells each step to the log, and counts it.  It is a ``Tell``: quick, and never raises.

    counts   step -> how often it was made, whatever the level
    recent   the last lines, as the level has them
    watch    step -> who is to see its fields, whatever the level; as quick as a log line, or quicker
    observe  takes the events of Twisted's own log, with their tracebacks
    """

    def __init__(
        self, clock: IReactorTime, file: Lines, form: Literal["text", "json"] = "text", level: Level = "info"
    ) -> None:
        self.counts: dict[str, int] = dict.fromkeys(LEVEL_OF_STEP, 0)
        self.recent = Recent()
        self.watch: Mapping[str, Callable[[Mapping[str, Any]], None]] = {}
        self._seconds = clock.seconds
        self._file = file
        self._write = file.write
        self._second = -1
        self._second_text = ""
        self.observe: ILogObserver = _Events(self)
        self.use(form, level)

    def use(self, form: Literal["text", "json"], level: Level) -> None:
        """Takes another form and level, after a reload."""
        self._line: Callable[[str, str, Mapping[str, object]], str] = json_line if form == "json" else text_line
        self._least = LEVELS[level]
        self._file.lost = self._line_of_lost

    def reopen(self) -> None:
        """Opens the file by its name again, after it was moved away; the old one is kept when that fails."""
        try:
            self._file.reopen()
        except OSError as error:
            self("trouble", error=f"the log file cannot be opened again: {error}")

    def close(self) -> None:
        """Writes what there is, and ends."""
        self._file.close()

    def __call__(self, step: str, /, **fields: object) -> None:
        counts = self.counts
        counts[step] = counts.get(step, 0) + 1
        if step in self.watch:
            try:
                self.watch[step](fields)
            except Exception as error:  # a defect in counting must not stop the mail
                self._not_counted(error)
        level = LEVEL_OF_STEP.get(step, INFO)
        if level >= self._least:
            at = self._seconds()
            self.recent.add(Line(at, level, step, fields))
            try:
                self._write(self._line(self._text_of(at), step, fields), level == ERROR)
            except Exception as error:  # a value that has no text must not stop the mail
                fault = {"error": f"the log line could not be made: {error!r}"}
                self._write(self._line(self._text_of(at), step, fault))

    def _not_counted(self, error: Exception) -> None:
        self._write(self._line(self._text_of(self._seconds()), "trouble", {"error": f"not counted: {error!r}"}))

    def write_event(self, level: int, name: str, fields: Mapping[str, object]) -> None:
        """Takes what is no step of a message: an event of Twisted's own log."""
        if level >= self._least:
            at = self._seconds()
            self.recent.add(Line(at, level, name, fields))
            self._write(self._line(self._text_of(at), name, fields), level == ERROR)

    def _line_of_lost(self, number: int) -> str:
        return self._line(self._text_of(self._seconds()), "trouble", {"error": f"{number} log lines were lost here"})

    def _text_of(self, at: float) -> str:
        second = int(at)
        if second != self._second:  # thousands of lines share it
            self._second, self._second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{int(at % 1 * 1000):03d}Z"


@implementer(ILogObserver)
class _Events:
    """Twisted's own log, into the same file."""

    def __init__(self, log: StepLog) -> None:
        self._log = log

    def __call__(self, event: LogEvent) -> None:
        found = event.get("log_level")
        fields = {"text": formatEvent(event).strip(), "source": event.get("log_namespace", "")}
        failure = event.get("log_failure")
        if failure is not None:
            fields["traceback"] = failure.getTraceback()
        self._log.write_event(_LEVEL_OF_EVENT.get(found, INFO), getattr(found, "name", "info"), fields)


def text_line(at: str, step: str, fields: Mapping[str, object]) -> str:
    """``at step name=value …``; a traceback follows on lines of its own, which are indented."""
    parts = [at, step]
    for name, value in fields.items():
        if type(value) is not str:
            if value is None:
                continue
            value = str(value) if type(value) is int else _as_text(name, value)
        if value and value.isprintable() and " " not in value and '"' not in value:
            parts.append(f"{name}={value}")
        elif name != "traceback":
            parts.append(f"{name}={quoted(value)}")
    line = " ".join(parts)
    return line + _indented(str(fields["traceback"])) if "traceback" in fields else line


def json_line(at: str, step: str, fields: Mapping[str, object]) -> str:
    """An object in one line: ``at`` and ``step`` first, numbers as numbers."""
    return _encode({"at": at, "step": step, **fields})


def quoted(value: str) -> str:
    """The value as a JSON string; what does not print is escaped."""
    if not value.isprintable():
        return _quote_all(value)
    return _quote(value) if '"' in value or "\\" in value else f'"{value}"'


def _as_text(name: str, value: object) -> str:
    if isinstance(value, float):
        if name.endswith("_at"):
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value))
        return f"{value:.3f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _indented(traceback: str) -> str:
    lines = (line if line.isprintable() else _quote_all(line) for line in traceback.splitlines())
    return "".join(f"\n    | {line}" for line in lines)
