"""mailq and sendmail -q: the queue as programs have read it since sendmail."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.operate.sendmail import program, queue
from relay.queue.store import State
from tests.operate.running import Running, running_relay
from tests.receive.maildrop.folder import leave


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "spool").mkdir()
    with running_relay(tmp_path / "spool") as running:
        yield running


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """The program has its own ideas of them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def mailq(relay: Running, capsys: pytest.CaptureFixture[str], *arguments: str, name: str = "mailq") -> str:
    assert program.main(name, ["--spool", str(relay.spool), *arguments]) == os.EX_OK
    return capsys.readouterr().out


def test_an_empty_queue_is_said_to_be(relay: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """What monitors look for."""
    assert mailq(relay, capsys) == "Mail queue is empty\n"
    assert mailq(relay, capsys, "-bp", name="sendmail") == "Mail queue is empty\n"


def test_the_queue_looks_as_postfix_shows_it(relay: Running, capsys: pytest.CaptureFixture[str]) -> None:
    one = relay.put(
        "ann@example.org", "bob@example.net", "carl@example.net", note="450 \x1b[31mnot now", content=b"x" * 3000
    )
    two = relay.put(None, "dora@example.net", state=State.HELD)
    text = mailq(relay, capsys)
    assert text.startswith(queue.HEAD + "\n")
    assert re.search(rf"^{one} +\d+ \w{{3}} \w{{3}} \d\d \d\d:\d\d:\d\d  ann@example.org$", text, re.M)
    assert "\n" + " " * 41 + "bob@example.net\n" + " " * 41 + "carl@example.net\n" in text
    assert text.count("(450 ") == 1 and "\x1b" not in text
    assert re.search(rf"^{two}! +\d+ .*  MAILER-DAEMON$", text, re.M)
    assert text.endswith("-- 3 Kbytes in 2 Requests.\n")


def test_what_the_relay_has_not_picked_up_yet_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "maildrop").mkdir()
    leave(tmp_path / "maildrop")
    (tmp_path / "maildrop" / "new-1").touch()
    assert program.main("mailq", ["--spool", str(tmp_path)]) == os.EX_UNAVAILABLE
    assert capsys.readouterr().out == "-- 1 in the maildrop, for the relay to pick up.\n"


def test_the_queue_is_tried_now(relay: Running, capsys: pytest.CaptureFixture[str]) -> None:
    relay.put("ann@example.org", "bob@example.net")
    assert mailq(relay, capsys, "-q", name="sendmail") == ""
    assert relay.runner.flushed == [None]


@pytest.mark.parametrize("what", ["-qI{id}", "-qRexample.net", "-qSann@example.org"])
def test_a_part_of_the_queue_is_tried_now(relay: Running, capsys: pytest.CaptureFixture[str], what: str) -> None:
    mine = relay.put("ann@example.org", "bob@example.net")
    other = relay.put("eve@example.com", "eve@example.com")
    mailq(relay, capsys, what.format(id=mine), name="sendmail")
    due = {
        name: row.due_at <= relay.reactor.seconds()
        for name, stored in relay.store.messages.items()
        for row in stored.recipients.values()
    }
    assert due == {mine: True, other: False} and relay.runner.woken == 1


def test_without_a_relay_it_is_said_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, arguments in (("mailq", []), ("sendmail", ["-q"])):
        assert program.main(name, ["--spool", str(tmp_path), *arguments]) == os.EX_UNAVAILABLE
        error = capsys.readouterr().err
        assert error.startswith(f"{name}: no relay is running") and "relay run --spool" in error
