"""The command line, against a real control socket."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.epollreactor import EPollReactor

from relay.message.address import parse_mailbox
from relay.message.envelope import Envelope, Origin, Recipient
from relay.operate import cli
from relay.operate.asking import Control, Refusal
from relay.queue.sqlite import SqliteStore
from relay.queue.store import NewRecipient, State, StoreUnavailable
from relay.queue.threads import threads
from relay.schedule.runner import DestinationStatus
from tests.operate.running import HEAD, Running, running_relay

Relay = Callable[..., tuple[int, str, str]]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with running_relay(tmp_path) as found:
        yield found


@pytest.fixture
def relay(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Relay:
    """``relay …`` on the spool of the test: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    monkeypatch.setenv("TZ", "UTC")

    def relay(*arguments: object, spool: bool = True) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.exit_code([*map(str, arguments), *(("--spool", str(tmp_path)) if spool else ())])
        return code, *capfd.readouterr()

    return relay


# -- what waits -----------------------------------------------------------------------------------


def test_the_list_shows_age_size_next_try_sender_recipient_and_last_error(running: Running, relay: Relay) -> None:
    message = running.put("ann@client.example", "bob@a.example", note="a.example said: 450 busy", age_s=7300)
    held = running.put(None, "eve@b.example", state=State.HELD, note="by me")
    code, out, err = relay("queue", "list")
    first, second = (line.split("\t") for line in out.splitlines())
    assert (code, err) == (0, "")
    assert first[:3] == [message, "2h", "60"]
    assert first[3].startswith("in ")
    assert first[4:] == ["ann@client.example", "bob@a.example", "a.example said: 450 busy"]
    assert second[0] == held
    assert second[3:] == ["held", "<>", "eve@b.example", "by me"]


def test_the_end_of_a_lease_is_not_shown_as_the_next_attempt(running: Running, relay: Relay) -> None:
    """Fresh mail is tried now, and would seem to wait for a quarter of an hour."""
    message = running.put("ann@client.example", "bob@a.example", attempts=1)
    assert relay("queue", "list")[1].split("\t")[3] == "1st try"
    assert "waiting, 1 attempt, no outcome yet, to a.example" in relay("queue", "show", message)[1]


def test_json_has_a_row_in_each_line(running: Running, relay: Relay) -> None:
    message = running.put("ann@client.example", "bob@a.example", "eve@b.example")
    code, out, _ = relay("queue", "list", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["recipient"] for row in rows] == ["bob@a.example", "eve@b.example"]
    assert rows[0]["id"] == message
    assert set(rows[0]) == {
        *("id", "sender", "recipient", "state", "destination", "accepted_at", "next_at", "attempts", "size", "error"),
    }


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (("--sender", "ann@client.example"), ["bob@a.example"]),
        (("--sender", "<>"), ["eve@b.example"]),
        (("--recipient", "EVE@b.example"), ["eve@b.example"]),
        (("--domain", "A.example"), ["bob@a.example"]),
        (("--destination", "b.example"), ["eve@b.example"]),
        (("--state", "held"), ["eve@b.example"]),
        (("--state", "held", "--domain", "a.example"), []),
    ],
)
def test_conditions_choose_rows(running: Running, relay: Relay, condition: tuple[str, ...], found: list[str]) -> None:
    running.put("ann@client.example", "bob@a.example")
    running.put(None, "eve@b.example", state=State.HELD)
    rows = [json.loads(line) for line in relay("queue", "list", "--json", *condition)[1].splitlines()]
    assert [row["recipient"] for row in rows] == found


def test_what_a_peer_said_cannot_reach_the_terminal(running: Running, relay: Relay) -> None:
    """Escape sequences in a reply would rewrite the operator's screen."""
    message = running.put(
        "ann@client.example", "bob@a.example", note="\x1b[2J\r\nfine", content=b"Subject: \x1b[2J\r\n\r\n"
    )
    for arguments in (("queue", "list"), ("queue", "show", message)):
        assert "\x1b" not in relay(*arguments)[1]


def test_one_message_is_shown_with_envelope_and_header(running: Running, relay: Relay) -> None:
    message = running.put("ann@client.example", "bob@a.example", note="450 busy")
    code, out, _ = relay("queue", "show", message)
    assert code == 0
    for words in (
        "sender:    ann@client.example",
        "client:    client.example [192.0.2.7] ESMTP",
        "dsn:       RET=HDRS ENVID=QQ314159",
        "recipient: bob@a.example",
        "0 attempts, next try in",
        "NOTIFY=FAILURE,DELAY rfc822;bob@a.example",
        "450 busy",
        "    Subject: hello",
    ):
        assert words in out
    assert "It works." not in out
    found = json.loads(relay("queue", "show", message, "--json")[1])
    assert found["recipients"][0]["notify"] == ["FAILURE", "DELAY"]


def test_a_message_that_is_not_there_is_said(running: Running, relay: Relay) -> None:
    code, out, err = relay("queue", "show", "nosuch")
    assert (code, out) == (65, "")
    assert "there is no message nosuch in the queue" in err


ABSENT = "5f3c9a7be2d1"


@pytest.mark.parametrize("do", ["list", "hold", "release", "retry", "remove", "export"])
def test_an_id_that_is_not_in_the_queue_is_said(running: Running, relay: Relay, tmp_path: Path, do: str) -> None:
    """Nothing was done, and nobody was told."""
    message, more = running.put("ann@client.example", "bob@a.example"), ("--to", tmp_path / "kept") * (do == "export")
    code, out, err = relay("queue", do, ABSENT, "0123456789ab", *more)
    assert (code, out) == (65, "")
    assert err.startswith(f"relay: not in the queue: {ABSENT}, 0123456789ab; relay trace ID tells")
    code, _, err = relay("queue", do, ABSENT, message.upper(), *more)
    assert (code, message in running.ids()) == (0, do != "remove")
    assert err.startswith(f"relay: not in the queue: {ABSENT}; ")
    for wrong in ("nope", "nope\x1b[2Jabcd", "123456789abu"):
        code, out, err = relay("queue", do, message, wrong, *more)
        assert (code, out, "is no id of a message" in err, "\x1b" in err) == (65, "", True, False)
    assert "as in 5f3c9a7be2d1" in err


def test_of_many_ids_that_are_not_there_some_are_said(
    running: Running, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(f"{number:012}" for number in range(1000, 2000))))
    code, out, err = relay("queue", "remove", "-")
    assert (code, out, "000000001004 and 995 more" in err) == (65, "", True)


def test_an_id_that_does_not_fit_is_in_the_queue_all_the_same(running: Running, relay: Relay) -> None:
    message = running.put("ann@client.example", "bob@a.example")
    for do in ("list", "remove", "release"):
        code, _, err = relay("queue", do, message, "--state", "held")
        assert (code, err) == (0, "")
    assert running.ids() == {message}


# -- what to do about it --------------------------------------------------------------------------


def test_hold_and_release(running: Running, relay: Relay) -> None:
    message = running.put("ann@client.example", "bob@a.example", "eve@b.example")
    assert relay("queue", "hold", message, "--why", "looks odd")[:2] == (0, "2 recipients held\n")
    assert running.states() == ["held", "held"]
    assert "looks odd" in relay("queue", "list")[1]
    assert relay("queue", "release", "--domain", "a.example", "--json")[:2] == (0, '{"changed": 1}\n')
    assert running.states() == ["waiting", "held"]
    assert running.runner.woken == 2
    assert [step for step, _ in running.told] == ["held", "released"]


def test_retry_makes_due_and_flush_ends_rests_too(running: Running, relay: Relay) -> None:
    running.put("ann@client.example", "bob@a.example")
    assert relay("queue", "retry", "--recipient", "bob@a.example")[1] == "1 recipient due now\n"
    assert running.runner.flushed == []
    assert relay("queue", "flush", "--destination", "a.example")[1] == "1 recipient will be tried now\n"
    relay("queue", "flush")
    assert running.runner.flushed == ["a.example", None]


def test_remove_takes_ids_from_standard_input(running: Running, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (running.put("ann@client.example", f"{who}@a.example") for who in "xyz")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{first}\n{second}\n{second}\n"))
    assert relay("queue", "remove", "-")[:2] == (0, "2 recipients removed\n")
    assert running.ids() == {third}


@pytest.mark.parametrize("do", ["hold", "release", "retry", "remove"])
def test_nothing_is_done_to_everything_by_mistake(running: Running, relay: Relay, do: str) -> None:
    running.put("ann@client.example", "bob@a.example")
    code, _, err = relay("queue", do)
    assert (code, "say which" in err) == (64, True)
    code, _, err = relay("queue", do, "--all")  # no terminal to ask on
    assert (code, "add --yes" in err) == (64, True)
    code, _, err = relay("queue", do, "--all", "--yes", "--domain", "a.example")
    assert (code, "give one of them" in err) == (64, True)
    assert running.states() == ["waiting"]


def test_all_means_all_when_it_is_confirmed(running: Running, relay: Relay) -> None:
    running.put("ann@client.example", "bob@a.example", "eve@b.example")
    assert relay("queue", "remove", "--all", "--yes")[:2] == (0, "2 recipients removed\n")
    assert running.ids() == set()


def test_the_socket_itself_refuses_to_change_everything_unasked(running: Running) -> None:
    running.put("ann@client.example", "bob@a.example")
    with Control(running.spool) as control, pytest.raises(Refusal, match="say which"):
        control.ask_one("queue.remove")
    with Control(running.spool) as control, pytest.raises(Refusal, match="state must be one of"):
        control.ask_one("queue.remove", state="hold")
    assert len(running.ids()) == 1


def test_a_message_is_exported_octet_by_octet(running: Running, relay: Relay, tmp_path: Path) -> None:
    content = b"Subject: x\r\n\r\n" + bytes(range(256)) * 1000
    message = running.put("ann@client.example", "bob@a.example", content=content)
    folder = tmp_path / "kept"
    assert relay("queue", "export", "--domain", "a.example", "--to", folder)[:2] == (
        0,
        f"1 message written to {folder}\n",
    )
    assert (folder / f"{message}.eml").read_bytes() == HEAD + content
    assert json.loads((folder / f"{message}.json").read_text())["sender"] == "ann@client.example"
    assert (folder / f"{message}.eml").stat().st_mode & 0o777 == 0o600
    assert running.ids() == {message}


def test_one_message_is_exported_to_standard_output(running: Running, tmp_path: Path) -> None:
    message = running.put("ann@client.example", "bob@a.example")
    script = [sys.executable, "-c", "from relay.operate.cli import main; main()", "queue", "export", message]
    done = subprocess.run([*script, "--spool", tmp_path], capture_output=True, timeout=30, check=True)
    assert done.stdout == HEAD + b"Subject: hello\r\n\r\nIt works.\r\n"


def test_a_reader_that_goes_away_is_no_error(running: Running, tmp_path: Path) -> None:
    """relay queue list | head -1"""
    running.put("ann@client.example", *(f"r{number}@a.example" for number in range(3000)))
    script = [sys.executable, "-c", "from relay.operate.cli import main; main()", "queue", "list", "--spool", tmp_path]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout is not None and listing.stderr is not None
        listing.stdout.readline()
        listing.stdout.close()
        assert listing.stderr.read() == b""
        assert listing.wait(30) == 141


# -- how it goes ----------------------------------------------------------------------------------


def test_status_shows_the_queue_and_each_destination(running: Running, relay: Relay) -> None:
    running.put("ann@client.example", "bob@a.example", "eve@b.example", "dan@b.example", age_s=7300)
    resting = DestinationStatus("a.example", 0, 0, 1, time.time() + 300, 4, "connection refused")
    running.runner.known = [resting]
    code, out, _ = relay("status")
    assert code == 0
    for words in (
        "on relay.test: up 0s, since 20",
        "queue: 1 message, 60 octets, the oldest 2h old",
        "recipients: 3 waiting, 0 held, 0 owing",
        "since the start: 3 accepted, 2 delivered",
        "DESTINATION\tWAITING",
        "a.example\t1\t0\t0\tfor 4m\tconnection refused",
    ):
        assert words in out
    lines = out.splitlines()
    assert lines.index(next(line for line in lines if line.startswith("b.example\t2"))) == len(lines) - 2


def test_status_says_what_is_wrong_and_what_to_do(running: Running, relay: Relay) -> None:
    running.put("ann@client.example", "bob@a.example", age_s=9 * 86400)
    out = relay("status")[1].splitlines()
    at = next(number for number, line in enumerate(out) if line.startswith("wrong: "))
    assert out[at] == "wrong: the oldest message has been in the queue for 9d, and is given up after 5d"
    assert out[at + 1].startswith("  -> the log says why")
    assert json.loads(relay("status", "--json")[1])["complaints"][0]["about"] == "age"


def test_status_in_json_is_one_object(running: Running, relay: Relay) -> None:
    running.put("ann@client.example", "bob@a.example")
    code, out, _ = relay("status", "--json")
    found = json.loads(out)
    assert code == 0
    assert '"messages": 1' in out
    assert found["pid"] == os.getpid()
    assert found["queue"]["recipients"] == {"waiting": 1, "held": 0, "owing": 0}
    assert found["steps"] == running.counts


def test_the_forecast_tells_what_is_to_come(running: Running, relay: Relay) -> None:
    running.put("ann@client.example", "bob@a.example", age_s=5 * 86400 - 3600)
    running.put("ann@client.example", "eve@b.example")
    code, out, _ = relay("status", "--forecast", "1d", "--down", "a.example")
    assert code == 0
    assert "a.example\tdown\t1\t" in out
    assert "b.example\t\t1\t" in out
    assert "the first of 1 recipient to be given up:" in out
    assert "ann@client.example -> bob@a.example" in out
    code, out, _ = relay("status", "--forecast", "1d", "--down", "a.example", "--json")
    found = json.loads(out)
    assert (sum(found["events"]["bounced"]), sum(found["events"]["delivered"]), found["messages"][-1]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("--forecast", "soon"), "is not a duration"),
        (("--down", "a.example"), "--down and --up go with --forecast"),
        (("--forecast", "1d", "--down", "a.example", "--up", "a.example"), "either down or up"),
        (("--forecast", "99d"), "for_s must be from"),
        (("--forecast", "1d", "--down", "nope.example"), "no mail is for a destination nope.example"),
        (("--forecast", "1d", "--up", "nope.example", "--json"), "no mail is for a destination nope.example"),
    ],
)
def test_a_forecast_asked_wrongly_says_what_would_be_right(
    running: Running, relay: Relay, said: tuple[str, ...], words: str
) -> None:
    running.put("ann@client.example", "bob@a.example")
    code, out, err = relay("status", *said)
    assert (code in (64, 65), out) == (True, "")
    assert words in err


def test_the_stores_trouble_is_told_as_temporary(running: Running, relay: Relay) -> None:
    message = running.put("ann@client.example", "bob@a.example")
    running.within(lambda: running.store.trouble.update(operate=StoreUnavailable("the disk is away")))
    code, _, err = relay("queue", "remove", message)
    assert (code, err) == (75, "relay: the disk is away\n")


def on_a_terminal(spool: Path, *arguments: str, columns: int = 100) -> list[str]:
    """The lines of a command whose output is a terminal of so many columns, without colours."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    script = [sys.executable, "-c", "from relay.operate.cli import main; main()", *arguments, "--spool", str(spool)]
    env = {**os.environ, "COLUMNS": str(columns)}
    done = subprocess.run(script, stdout=slave, env=env, timeout=30, check=True)
    os.close(slave)
    assert done.returncode == 0
    text = b""
    with os.fdopen(master, "rb", buffering=0) as stream, contextlib.suppress(OSError):  # EIO: the terminal is gone
        while piece := stream.read(65536):
            text += piece
    return re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).splitlines()


def test_on_a_terminal_the_list_has_columns_and_a_sum(running: Running) -> None:
    running.put("ann@client.example", "bob@a.example", note="450 busy " + "x" * 200)
    head, row, error, total = on_a_terminal(running.spool, "queue", "list")
    assert head.split() == ["ID", "AGE", "SIZE", "NEXT", "TRY", "SENDER", "RECIPIENT"]
    assert row.index("ann@") == head.index("SENDER")
    assert row.index("bob@") == head.index("RECIPIENT")
    assert error.startswith("    450 busy") and error.endswith("x...") and len(error) == 100
    assert total == "1 recipient"
    for nothing in (("--state", "held"), ("--sender", "nope@client.example")):
        assert on_a_terminal(running.spool, "queue", "list", *nothing) == ["nothing in the queue fits"]
    running.within(running.store.messages.clear)
    assert on_a_terminal(running.spool, "queue", "list") == ["the queue is empty"]


def test_on_a_terminal_status_draws_a_table(running: Running) -> None:
    running.put("ann@client.example", "bob@a.example")
    text = "\n".join(on_a_terminal(running.spool, "status"))
    assert "DESTINATION" in text and "───" in text and "a.example" in text


def answering(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Somebody sits at a terminal, and says this."""
    stdin = io.StringIO(answer)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)


LONG = "somebody.with.a.long.name@mail.client.example"


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_on_no_terminal_is_the_list_wider_than_that(running: Running, columns: int) -> None:
    running.put(LONG, "bob@a.example", f"x{LONG}", note="450 busy " + "x" * 200)
    lines = on_a_terminal(running.spool, "queue", "list", columns=columns)
    assert max(map(len, lines)) <= columns
    assert any("bob@a.example" in line for line in lines)
    assert all(line.endswith("...") for line in lines if "xxxx" in line)


def test_addresses_without_room_stand_in_lines_of_their_own(running: Running) -> None:
    running.put("ann@client.example", "bob@a.example")
    running.put(LONG, "eve@a.example")
    head, _, both, _, recipient, sender, _ = on_a_terminal(running.spool, "queue", "list", columns=60)
    assert head.split() == ["ID", "AGE", "SIZE", "NEXT", "TRY"]
    assert both == "    bob@a.example from ann@client.example"
    assert (recipient, sender) == ("    eve@a.example", f"    from {LONG}")


def test_a_table_without_room_is_told_line_by_line(running: Running) -> None:
    running.put("ann@client.example", "bob@a-domain-that-has-a-long-name.example")
    lines = on_a_terminal(running.spool, "status", columns=40)
    at = lines.index("a-domain-that-has-a-long-name.example")
    assert lines[at + 1].startswith("    waiting: 1, at work: 0")
    assert max(map(len, lines[at:])) <= 40
    assert "DESTINATION" in "\n".join(on_a_terminal(running.spool, "status", columns=80))


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 130, 1)])
def test_on_a_terminal_all_is_asked_about(
    running: Running, relay: Relay, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    running.put("ann@client.example", "bob@a.example")
    answering(monkeypatch, answer)
    done, _, err = relay("queue", "remove", "--all")
    assert "remove everything in the queue (1 message)?" in err
    assert (done, len(running.ids())) == (code, left)


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 1), ("n\n", 130, 3), ("", 130, 3)])
@pytest.mark.parametrize("by", ["ids", "sender", "destination"])
def test_on_a_terminal_a_removal_of_more_than_a_message_is_asked_about(
    running: Running, relay: Relay, monkeypatch: pytest.MonkeyPatch, by: str, answer: str, code: int, left: int
) -> None:
    """Mail was lost: only --all was asked about."""
    first = running.put("ann@client.example", "bob@a.example", "dan@a.example")
    second = running.put("ann@client.example", "eve@a.example")
    running.put("zoe@client.example", "bob@b.example")
    said = {"ids": (first, second), "sender": ("--sender", "ann@client.example")}
    answering(monkeypatch, answer)
    done, _, err = relay("queue", "remove", *said.get(by, ("--destination", "a.example")))
    assert "remove 3 recipients of 2 messages from the queue for good?" in err
    assert (done, len(running.ids())) == (code, left)


def test_a_removal_is_not_asked_about_where_it_need_not_be(
    running: Running, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message that is named, who says --yes, a wish that can be taken back, and where nobody sits."""
    first, second, _ = (running.put(f"{who}@client.example", "bob@a.example") for who in "xyz")
    answering(monkeypatch, "")
    assert relay("queue", "hold", first, second)[:2] == (0, "2 recipients held\n")
    assert relay("queue", "remove", first)[:2] == (0, "1 recipient removed\n")
    assert relay("queue", "remove", "--sender", "y@client.example", "--yes")[:2] == (0, "1 recipient removed\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert relay("queue", "remove", "--sender", "z@client.example")[:2] == (0, "1 recipient removed\n")
    assert running.ids() == set()


# -- finding it -----------------------------------------------------------------------------------


def test_without_a_relay_it_is_said_how_to_start_one(relay: Relay, tmp_path: Path) -> None:
    code, out, err = relay("queue", "list")
    assert (code, out) == (69, "")
    assert f"no relay is running on the spool {tmp_path}" in err
    assert f"relay run --spool {tmp_path}" in err


def test_the_relay_to_be_started_is_the_one_that_was_asked_for(relay: Relay, tmp_path: Path) -> None:
    """With the file alone it would work on the file's spool."""
    config = tmp_path / "t.yaml"
    config.write_text("spool: own\n", encoding="utf-8")
    _, _, err = relay("status", "--config", config, "--spool", tmp_path / "other", spool=False)
    assert f"relay run --config {config} --spool {tmp_path}/other " in err
    assert f"relay run --config {config}   " in relay("status", "--config", config, spool=False)[2]


@pytest.mark.parametrize("command", ["status", "queue list", "trace a@b.example"])
def test_a_spool_that_is_none_is_said_to_be_none(relay: Relay, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "things").mkdir(parents=True)
    for name, words in {
        "nothing": "which does not exist",
        "file": "which is no folder",
        "empty": "which is an empty folder",
        "other": "in which there is no queue",
    }.items():
        code, _, err = relay(*command.split(), "--spool", tmp_path / name, spool=False)
        assert (code, f"no relay is running on the spool {tmp_path}/{name}, {words}\n" in err) == (69, True)


def test_the_list_works_while_the_relay_does_not(relay: Relay, tmp_path: Path) -> None:
    """What lies in the spool is read, and nothing of it is changed."""
    reactor = EPollReactor()
    store = SqliteStore(tmp_path, clock=reactor, executors=threads(reactor), reserve_octets=0)

    def put(number: int) -> Deferred[object]:
        draft = store.begin()
        draft.write(b"Subject: x\r\n\r\n")
        rows = [NewRecipient(Recipient(parse_mailbox(f"r{number}@a.example")), "a.example", 2e9, note="450 busy")]
        return draft.commit(Envelope(None), Origin(), b"", rows, 1e9 + number)

    def finish(_: object) -> Deferred[None]:
        return store.close().addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(lambda: gatherResults([put(number) for number in range(1200)]).addBoth(finish))
    reactor.run(installSignalHandlers=False)
    before = (tmp_path / "queue.db").read_bytes()
    code, out, err = relay("queue", "list", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, f"relay: no relay is running; this lies in {tmp_path}\n")
    assert [row["recipient"] for row in rows] == [f"r{number}@a.example" for number in range(1200)]
    assert rows[0]["error"] == "450 busy"
    named = relay("queue", "list", "--json", "--destination", "A.example")
    assert (named[1], "relay: A.example means a.example" in named[2]) == (out, True)
    assert relay("queue", "list", "--destination", "b.example")[0] == 65
    newest = [json.loads(line) for line in relay("queue", "list", "--json", "--newest-first")[1].splitlines()]
    assert newest == rows[::-1]
    assert relay("queue", "list", "--state", "held")[:2] == (0, "")
    assert (tmp_path / "queue.db").read_bytes() == before
    assert relay("queue", "remove", rows[0]["id"])[0] == 69


def test_a_socket_left_by_a_crash_is_no_relay(tmp_path: Path, relay: Relay) -> None:
    with running_relay(tmp_path):
        pass
    (tmp_path / "control.sock").touch()
    assert relay("status")[0] == 69


def test_a_dead_socket_is_replaced_and_the_new_one_is_private(tmp_path: Path, relay: Relay) -> None:
    (tmp_path / "control.sock").touch()
    with running_relay(tmp_path):
        assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600
        assert relay("status")[0] == 0


def test_the_relay_is_found_by_its_configuration(running: Running, relay: Relay, tmp_path: Path) -> None:
    """Also when something else in the file has become faulty since."""
    (tmp_path / "etc").mkdir()
    config = tmp_path / "etc" / "relay.yaml"
    config.write_text("spool: ..\naccept: {nonsense: 1}\n", encoding="utf-8")
    assert relay("status", "--config", config, spool=False)[0] == 0


def test_the_relay_is_found_by_the_environment(
    running: Running, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "relay.yaml").write_text(f"spool: {tmp_path}\n", encoding="utf-8")
    monkeypatch.setenv("RELAY_CONFIG", str(tmp_path / "relay.yaml"))
    assert relay("status", spool=False)[0] == 0


@pytest.mark.parametrize("text", ["- a\n", "spool: 5\n", "spool: [\n"])
def test_a_configuration_without_a_spool_points_to_check(relay: Relay, tmp_path: Path, text: str) -> None:
    (tmp_path / "relay.yaml").write_text(text, encoding="utf-8")
    code, _, err = relay("status", "--config", tmp_path / "relay.yaml", spool=False)
    assert code == 78
    assert "relay check" in err
    assert relay("status", "--config", tmp_path / "nothing", spool=False)[0] == 78


def test_a_faulty_configuration_does_not_start(relay: Relay, tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text("spoool: /x\n", encoding="utf-8")
    code, out, err = relay("run", "--config", tmp_path / "relay.yaml", "--smarthost", "a:b", spool=False)
    assert (code, out) == (78, "")
    assert 'did you mean "spool"?' in err
    assert "--smarthost: " in err
    assert not (tmp_path / "spool").exists()


def test_a_whole_relay_starts_answers_and_ends(relay: Relay, tmp_path: Path) -> None:
    """From a folder that has nothing of Twisted's plugins in it."""
    script = [sys.executable, "-c", "from relay.operate.cli import main; main()", "run"]
    ways_in = ["--listen", f"unix:{tmp_path}/smtp", "--admin", f"unix:{tmp_path}/page"]  # whatever else runs here
    with (tmp_path / "out").open("wb") as out:
        running = subprocess.Popen(
            [*script, *ways_in, "--spool", tmp_path / "spool"], cwd=tmp_path, stdout=out, stderr=out
        )
    try:
        until = time.monotonic() + 20
        while relay("status", "--spool", tmp_path / "spool", spool=False)[0] != 0:
            assert running.poll() is None and time.monotonic() < until, (tmp_path / "out").read_text()
            time.sleep(0.05)
    finally:
        running.terminate()
    assert running.wait(20) in (0, -signal.SIGTERM), (tmp_path / "out").read_text()  # both are a clean end to systemd
    steps = [line.split()[1] for line in (tmp_path / "out").read_text().splitlines() if "Z " in line]
    assert (steps[0], steps[-1]) == ("started", "stopped")
    assert not (tmp_path / "spool" / "control.sock").exists()


# -- check, and the rest --------------------------------------------------------------------------


def test_check_tells_every_fault_and_ends_with_78(relay: Relay, tmp_path: Path) -> None:
    path = tmp_path / "relay.yaml"
    path.write_text("spoool: /x\naccept:\n  networks: [x]\n", encoding="utf-8")
    code, out, err = relay("check", path, spool=False)
    assert code == 78
    assert out.splitlines() == [
        f'{path}:1:1: spoool: unknown key; did you mean "spool"?',
        f'{path}:3:14: accept.networks[0]: "x" is not a network; write it like 192.168.0.0/16 or ::1/128',
    ]
    assert err == f"{path}: 2 faults\n"


def test_check_in_json(relay: Relay, tmp_path: Path) -> None:
    path = tmp_path / "relay.yaml"
    path.write_text("hostname: mx.example.org\naccept:\n  networks: [0.0.0.0/0]\n", encoding="utf-8")
    code, out, _ = relay("check", "--config", path, "--json", spool=False)
    found = json.loads(out)
    assert (code, found["ok"], found["faults"]) == (0, True, [])
    warning = found["warnings"][0]
    assert (warning["line"], warning["column"], warning["key"]) == (3, 14, "accept.networks[0]")


def test_check_reads_the_list_of_recipients_too(relay: Relay, tmp_path: Path) -> None:
    (tmp_path / "recipients").write_text("ann\nb ob\n", encoding="utf-8")
    (tmp_path / "relay.yaml").write_text("accept: {recipients: recipients}\n", encoding="utf-8")
    code, out, _ = relay("check", tmp_path / "relay.yaml", spool=False)
    assert code == 78
    assert out.startswith(f'{tmp_path}/recipients:2:1: accept.recipients: "b ob": ')


def test_check_without_a_file_is_about_the_built_in_configuration(relay: Relay) -> None:
    code, out, _ = relay("check", spool=False)
    assert code == 0
    assert "the built-in configuration: good" in out


@pytest.mark.parametrize(
    "command",
    ["", "run", "check", "status", "queue"]
    + [f"queue {do}" for do in ("list", "show", "flush", "hold", "release", "retry", "remove", "export")],
)
def test_every_command_explains_itself(relay: Relay, command: str) -> None:
    code, out, _ = relay(*command.split(), "--help", spool=False)
    assert code == 0
    assert "Usage: relay" in out


def test_a_wrong_word_is_met_with_the_right_one(relay: Relay) -> None:
    code, _, err = relay("queeu", spool=False)
    assert code == 64
    assert "'queue'" in err


def test_the_version_is_told(relay: Relay) -> None:
    assert relay("--version", spool=False)[1].startswith("relay, version ")
