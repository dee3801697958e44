"""The log: one line a step whatever a peer sent, gathered, never in the way."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher

from relay.message.step import Tell
from relay.operate.logfile import FLUSH_AFTER_S, LINES_AT_ONCE, PENDING_LIMIT_OCTETS, LogFile
from relay.operate.steps import LEVEL_OF_STEP, StepLog

AT = 1_795_453_800.125  # 2026-11-23T17:10:00.125Z

HOSTILE = (
    'a" b=c\r\nfoo \x1b[2J\x00\u202e\u2028\x85\ud800é',
    "a\nb",
    "\x1b[2J",
    "\u202e",
    "\x85",
    "\ud800",
    "a b",
    '"',
    "\\ n",
)


def log_to(path: Path, **how: str) -> tuple[StepLog, Clock]:
    clock = Clock()
    clock.advance(AT)
    return StepLog(clock, LogFile(clock, path), **how), clock  # type: ignore[arg-type]  # form and level are words


def test_a_step_is_a_line_with_the_field_names_of_the_house(tmp_path: Path) -> None:
    tell, clock = log_to(tmp_path / "log")
    tell("delivered", id="5f3c", recipient="ann@example.net", hop="mx.example.net [192.0.2.1]", size=512, delay_s=0.25)
    tell("deferred", id="5f3c", error=None, next_at=AT + 60, reply="", secure=True)
    clock.advance(FLUSH_AFTER_S)
    assert (tmp_path / "log").read_text() == (
        "2026-11-23T17:10:00.125Z delivered id=5f3c recipient=ann@example.net "
        'hop="mx.example.net [192.0.2.1]" size=512 delay_s=0.250\n'
        '2026-11-23T17:10:00.125Z deferred id=5f3c next_at=2026-11-23T17:11:00Z reply="" secure=yes\n'
    )


def test_json_lines_hold_the_same_fields(tmp_path: Path) -> None:
    tell, clock = log_to(tmp_path / "log", form="json")
    tell("delivered", id="5f3c", size=512, error=None, path=Path("/x"))
    clock.advance(FLUSH_AFTER_S)
    assert json.loads((tmp_path / "log").read_text()) == {
        "at": "2026-11-23T17:10:00.125Z",
        "step": "delivered",
        "id": "5f3c",
        "size": 512,
        "error": None,
        "path": "/x",
    }


@pytest.mark.parametrize("said", HOSTILE)
@pytest.mark.parametrize("form", ["text", "json"])
def test_whatever_a_peer_sent_a_step_is_one_line(tmp_path: Path, form: str, said: str) -> None:
    """Log injection: a line end, an escape sequence, a text direction that turns the rest around."""
    tell, clock = log_to(tmp_path / "log", form=form)
    tell("refused", helo=said, client="192.0.2.1")
    clock.advance(FLUSH_AFTER_S)
    text = (tmp_path / "log").read_text(encoding="utf-8")
    (line,) = text.splitlines()
    assert line.isprintable()
    if form == "json":
        assert json.loads(line)["helo"] == said
    else:
        quoted = line.partition(" helo=")[2].rpartition(" client=")[0]
        assert json.loads(quoted) == said
        assert line.endswith(" client=192.0.2.1")


def test_lines_are_gathered_for_a_fifth_of_a_second(tmp_path: Path) -> None:
    tell, clock = log_to(tmp_path / "log")
    tell("accepted", id="1")
    clock.advance(FLUSH_AFTER_S / 2)
    tell("accepted", id="2")
    assert (tmp_path / "log").read_text() == ""
    clock.advance(FLUSH_AFTER_S / 2 + 0.001)
    assert (tmp_path / "log").read_text().count("\n") == 2
    assert clock.getDelayedCalls() == []


def test_many_lines_and_errors_do_not_wait(tmp_path: Path) -> None:
    tell, _ = log_to(tmp_path / "log")
    for number in range(LINES_AT_ONCE):
        tell("accepted", id=str(number))
    assert (tmp_path / "log").read_text().count("\n") == LINES_AT_ONCE
    tell("trouble", error="disk")
    assert (tmp_path / "log").read_text().endswith("trouble error=disk\n")


def test_what_is_below_the_level_is_counted_and_not_written(tmp_path: Path) -> None:
    tell, _ = log_to(tmp_path / "log", level="warning")
    tell("accepted", id="1")
    tell("connected", client="192.0.2.1")
    tell("rested", destination="example.org")
    tell("something new")
    tell.close()
    assert (tmp_path / "log").read_text().split()[1] == "rested"
    assert (tell.counts["accepted"], tell.counts["connected"], tell.counts["something new"]) == (1, 1, 1)
    tell.use("json", "debug")
    assert set(LEVEL_OF_STEP) <= set(tell.counts)


def test_a_value_without_a_text_stops_nothing(tmp_path: Path) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    for form in ("text", "json"):
        tell, _ = log_to(tmp_path / form, form=form)
        tell("accepted", id=Mute(), next_at=float("inf"))
        tell.close()
        assert "could not be made" in (tmp_path / form).read_text()


def test_the_log_is_a_tell(tmp_path: Path) -> None:
    tell: Tell = log_to(tmp_path / "log")[0]
    tell("woken")


def test_a_moved_file_is_opened_again(tmp_path: Path) -> None:
    """What logrotate expects of SIGHUP."""
    tell, _ = log_to(tmp_path / "log")
    tell("accepted", id="1")
    (tmp_path / "log").rename(tmp_path / "log.1")
    tell.reopen()
    tell("accepted", id="2")
    tell.close()
    assert "id=1" in (tmp_path / "log.1").read_text()
    assert "id=2" in (tmp_path / "log").read_text()
    assert (tmp_path / "log").stat().st_mode & 0o777 & ~0o640 == 0


def test_a_file_that_cannot_be_opened_again_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    tell, _ = log_to(tmp_path / "folder" / "log")
    (tmp_path / "folder").rename(tmp_path / "moved")
    tell.reopen()
    tell.close()
    assert "the log file cannot be opened again" in (tmp_path / "moved" / "log").read_text()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_full_disk_stops_nothing_and_what_is_lost_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Invariant: a log that cannot be written stops no mail, and memory stays bounded."""
    tell, clock = log_to(tmp_path / "log", form=form)
    really_write, full = os.write, [True]

    def write(fd: int, data: bytes) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(fd, data[:1000])

    monkeypatch.setattr(os, "write", write)
    lines = 30_000
    for number in range(lines):
        tell("accepted", id=f"{number:020}", sender="a" * 40)
    clock.advance(1)
    full[0] = False
    clock.pump([1, 1, 1])
    tell.close()
    text = (tmp_path / "log").read_text()
    assert len(text) <= PENDING_LIMIT_OCTETS + 200
    lines_kept = text.splitlines()
    if form == "json":
        assert all(json.loads(line)["at"] for line in lines_kept), "the one about what was lost too"
    lost = int(lines_kept[-1].partition('error":"' if form == "json" else 'error="')[2].split()[0])
    assert lines_kept[-1].count("trouble") == 1 and len(lines_kept) - 1 + lost == lines
    assert lost > 0


def test_after_the_end_what_is_still_said_goes_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tell, clock = log_to(tmp_path / "log")
    tell.close()
    tell("stopped")
    assert capfd.readouterr().err.endswith(" stopped\n")
    assert clock.getDelayedCalls() == []


def test_twisteds_own_log_goes_along_with_its_tracebacks(tmp_path: Path) -> None:
    tell, clock = log_to(tmp_path / "log")
    log = Logger(namespace="somewhere", observer=LogPublisher(tell.observe))
    log.info("Received {what}", what="SIG\nTERM")
    log.debug("not shown")
    try:
        raise ValueError("bad\x1b[2J")
    except ValueError:
        log.failure("it broke")
    clock.advance(FLUSH_AFTER_S)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0].endswith(' info text="Received SIG\\nTERM" source=somewhere')
    assert lines[1].endswith(' critical text="it broke" source=somewhere')
    assert all(line.startswith("    | ") and line.isprintable() for line in lines[2:])
    assert "ValueError" in lines[-1]


def test_in_json_a_traceback_is_a_field(tmp_path: Path) -> None:
    tell, clock = log_to(tmp_path / "log", form="json")
    try:
        raise ValueError("bad")
    except ValueError:
        Logger(observer=tell.observe).failure("it broke")
    clock.advance(FLUSH_AFTER_S)
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "ValueError: bad" in json.loads(line)["traceback"]
