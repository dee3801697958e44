"""The last lines of the log, and who follows them; the configuration as it is in force; rests by an operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.message.address import parse_mailbox
from relay.operate import cli
from relay.operate.answers.configuration import ConfigurationAnswers
from relay.operate.answers.watching import WatchingAnswers
from relay.operate.config import Config, load
from relay.operate.control import AT_ONCE, BadRequest, Request, Row
from relay.operate.logfile import LogFile
from relay.operate.recent import Recent
from relay.operate.shares import part_of
from relay.operate.steps import StepLog
from relay.operate.together import Together
from relay.receive.watched import at_once
from relay.route.table import RouteRule, RouteTable, parse_rule
from relay.route.tls import Level, Security
from relay.route.via import ByMx
from relay.schedule.runner import DestinationStatus
from tests.operate.running import running_relay


def log_of(tmp_path: Path, clock: Clock, level: Any = "info") -> StepLog:
    return StepLog(clock, LogFile(clock, tmp_path / "log"), "text", level)


def rows(recent: Recent, clock: Clock, **fields: object) -> list[Row]:
    """What is answered at once."""
    found: list[Row] = []
    asked = WatchingAnswers(recent, None, clock).tail(Request(fields))
    while True:
        try:
            asked.__anext__().send(None)
        except StopIteration as row:
            found.append(row.value)
        except StopAsyncIteration:
            return found


def test_the_last_lines_are_there_with_their_fields_and_level(tmp_path: Path) -> None:
    clock = Clock()
    clock.advance(1000.25)
    log = log_of(tmp_path, clock)
    log("connected", client="192.0.2.1")  # below the level: not in the log, and not here
    log("accepted", id="5f3c", sender=parse_mailbox("ann@example.org"), size=17, place=None)
    log("trouble", error="the disk is full")
    assert rows(log.recent, clock) == [
        {"at": 1000.25, "level": "info", "step": "accepted", "id": "5f3c", "sender": "ann@example.org", "size": 17},
        {"at": 1000.25, "level": "error", "step": "trouble", "error": "the disk is full"},
    ]
    assert [row["step"] for row in rows(log.recent, clock, lines=1)] == ["trouble"]
    assert [row["step"] for row in rows(log.recent, clock, level="warning")] == ["trouble"]
    assert rows(log.recent, clock, lines=0) == []


@pytest.mark.parametrize("fields", [{"lines": -1}, {"lines": "3"}, {"lines": True}, {"level": "loud"}, {"folow": True}])
def test_a_wrong_question_is_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    clock = Clock()
    with pytest.raises(BadRequest):
        rows(log_of(tmp_path, clock).recent, clock, **fields)


def test_only_so_many_are_kept() -> None:
    recent = Recent(kept=3)
    for number in range(10):
        recent.add(partial_line(number))
    assert [line.step for line in recent.last(100, 0)] == ["7", "8", "9"]
    assert [line.step for line in recent.since(8)[1]] == ["8", "9"]
    lost, lines = recent.since(2)
    assert (lost, len(lines)) == (5, 3)


def partial_line(number: int) -> Any:
    from relay.operate.recent import Line

    return Line(0.0, 1, str(number), {})


class Following:
    """Somebody who follows the log."""

    def __init__(self, recent: Recent, clock: Clock) -> None:
        self.rows: list[Row] = []
        self._asked = WatchingAnswers(recent, None, clock).tail(Request({"follow": True, "lines": 1}))
        self._clock = clock
        self._go_on()

    def _go_on(self) -> None:
        """Takes rows until the next one has to be waited for."""
        while True:
            step = self._asked.__anext__()
            try:
                waited = step.send(None)
            except StopIteration as row:
                self.rows.append(row.value)
                continue
            self._step, self._waited = step, waited
            return

    def pass_time(self) -> None:
        self._clock.advance(1)
        try:
            self._step.send(None)
        except StopIteration as row:
            self.rows.append(row.value)
        self._go_on()


def test_who_follows_hears_what_comes_and_how_much_he_has_missed() -> None:
    clock, recent = Clock(), Recent(kept=3)
    recent.add(partial_line(0))
    following = Following(recent, clock)
    assert [row.get("step") for row in following.rows] == ["0", None]
    recent.add(partial_line(1))
    following.pass_time()
    assert [row.get("step") for row in following.rows[2:]] == ["1", None]
    assert following.rows[-1] is AT_ONCE  # so that it does not wait for company
    for number in range(2, 12):
        recent.add(partial_line(number))
    following.pass_time()
    assert [(row.get("step"), row.get("lines")) for row in following.rows[4:]] == [
        ("skipped", 7),
        ("9", None),
        ("10", None),
        ("11", None),
        (None, None),
    ]


def configuration(config: Config, look: Callable[[], Config] | None) -> Any:
    asked = ConfigurationAnswers(lambda: config, look, at_once).configuration(Request({}))
    with pytest.raises(StopIteration) as row:
        asked.__anext__().send(None)
    return row.value.value


SECRETS = """
spool: spool
routes:
  - {to: "*", via: "smtp://smarthost.example:587", user: ann, password_file: password}
"""


def test_the_configuration_in_force_is_told_as_it_would_be_written_and_no_secret_with_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    file = tmp_path / "relay.yaml"
    file.write_text(SECRETS)
    row = configuration(load(file), partial(load, file))
    assert row["source"] == str(file)
    (route,) = row["settings"]["routes"]
    assert (route["via"], route["password_file"]) == ("smtp://smarthost.example:587", str(tmp_path / "password"))
    assert row["settings"]["retry"]["first"] == "1m"
    assert row["places"]["spool"] == f"{file}:2"
    assert "hunter2" not in json.dumps(row)
    assert (row["faults"], row["reload"], row["restart"]) == ([], [], ())


def test_what_a_reload_would_take_and_what_is_wrong_with_the_file_by_now(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text("spool: spool\nhostname: a.example\nretry: {first: 1m}\n")
    config = load(file)
    file.write_text("spool: spool\nhostname: b.example\nretry: {first: 2m}\n")
    row = configuration(config, partial(load, file))
    assert (row["reload"], row["restart"]) == (["retry"], ("hostname",))
    assert row["settings"]["hostname"] == "a.example"
    file.write_text("spool: spool\nretry: {frist: 1m}\n")
    row = configuration(config, partial(load, file))
    (fault,) = row["faults"]
    assert (fault["place"], fault["key"]) == (f"{file}:2:9", "retry.frist")
    assert 'did you mean "first"' in fault["what"]


def test_a_worker_tells_the_configuration_as_it_is_written_and_not_its_share(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text("spool: spool\nworkers: 2\nlimits: {connections: 100}\n")
    part = part_of(load(file), 1)
    assert part.limits.connections == 50
    newer = part_of(load(file), 1).keeping(part)
    row = configuration(newer, partial(load, file))
    assert row["settings"]["limits"]["connections"] == 100
    assert row["settings"]["spool"] == str(tmp_path / "spool")
    assert (row["reload"], row["restart"]) == ([], ())


VERIFIED = Security(Level.VERIFY)
ROUTES = RouteTable(
    [
        parse_rule("dead.example", "smtp://[10.0.0.5]:2598"),
        parse_rule("bob@sold.example", "smtp://[10.0.0.5]:2599"),
        parse_rule(".sold.example", "discard:"),
        parse_rule("sold.example", "smtp://mail.example"),
        parse_rule("sold.example", "smtp://never.example"),
        RouteRule("strict.example", ByMx(security=VERIFIED)),
    ]
)


def relay(capfd: pytest.CaptureFixture[str], spool: Path, *arguments: str) -> tuple[int, str, str]:
    capfd.readouterr()
    code = cli.exit_code([*arguments, "--spool", str(spool)])
    return code, *capfd.readouterr()


def test_a_destination_rests_and_is_woken(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running_relay(tmp_path) as running:
        running.put("ann@client.example", "bob@a.example")
        code, out, _ = relay(capfd, tmp_path, "destination", "rest", "a.example", "--for", "2h")
        assert (code, running.runner.rested) == (0, [("a.example", 7200.0)])
        assert out.startswith("a.example rests for 2h, until ")
        assert out.endswith("; 1 recipient there\n")
        code, out, _ = relay(capfd, tmp_path, "destination", "wake", "a.example")
        assert (code, running.runner.flushed) == (0, ["a.example"])
        code, out, _ = relay(capfd, tmp_path, "destination", "rest", "a.example", "--json")
        assert (code, json.loads(out), running.runner.rested[-1]) == (
            0,
            {"changed": 1, "destinations": ["a.example"]},
            ("a.example", 3600.0),
        )
        code, _, err = relay(capfd, tmp_path, "destination", "rest", "a.example", "--for", "2 hours or so")
        assert (code, "duration" in err) == (64, True)
        code, _, err = relay(capfd, tmp_path, "destination", "rest", "a.example", "--for", "60d")
        assert (code, "seconds must be from 1 to" in err) == (65, True)


def test_a_smart_host_is_named_by_its_host_and_need_not_be_spelt_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lane = "smtp:mail.example:587;tls=verify;login=ann,/etc/relay/password"
    with running_relay(tmp_path) as running:
        running.runner.known = [
            DestinationStatus(lane, 0, 0, 5, None, 0, ""),
            DestinationStatus("b.example", 0, 0, 5, None, 0, ""),
        ]
        assert relay(capfd, tmp_path, "destination", "rest", "mail.example")[1].startswith(f"{lane} rests for 1h")
        assert running.runner.rested == [(lane, 3600.0)]
        relay(capfd, tmp_path, "destination", "wake", "mail.example:587")
        relay(capfd, tmp_path, "queue", "flush", "--destination", "mail.example")
        assert running.runner.flushed == [lane, lane]


def test_a_destination_may_rest_before_mail_comes_for_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running_relay(tmp_path) as running:
        code, out, _ = relay(capfd, tmp_path, "destination", "rest", "not-yet.example")
        assert (code, "nothing waits for it just now" in out) == (0, True)
        assert running.runner.rested == [("not-yet.example", 3600.0)]


@pytest.mark.parametrize(
    ("name", "lanes"),
    [
        ("Not-Yet.example", ["not-yet.example"]),
        ("b\u00fccher.example", ["xn--bcher-kva.example"]),
        ("strict.example", [ByMx("strict.example", VERIFIED).lane]),
        ("10.0.0.5", ["smtp:[10.0.0.5]:2598", "smtp:[10.0.0.5]:2599"]),
        ("smtp:[10.0.0.5]:2599", ["smtp:[10.0.0.5]:2599"]),
        ("mail.example", ["smtp:mail.example:25"]),
        ("[10.0.0.9]", ["[10.0.0.9]"]),
    ],
)
def test_what_rests_before_mail_comes_is_what_mail_will_come_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, lanes: list[str]
) -> None:
    with running_relay(tmp_path, table=ROUTES) as running:
        assert relay(capfd, tmp_path, "destination", "rest", name)[0] == 0
        assert running.runner.rested == [(lane, 3600.0) for lane in lanes]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dead.example", "mail for dead.example goes by smtp:[10.0.0.5]:2598; name that"),
        ("sold.example", "mail for sold.example goes by smtp:[10.0.0.5]:2599 and smtp:mail.example:25; name that"),
        ("a b", "a b can be no destination"),
        ("b@c.example", "b@c.example can be no destination"),
        ("10.0.0.77", "10.0.0.77 can be no destination"),
        ("smtp:[10.0.0.77]:25", "can be no destination"),
        ("\x1b[2J", "can be no destination"),
    ],
)
def test_what_would_rest_nothing_is_refused_with_what_would_be_right(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    """Mail of a domain with a route waits for where the route leads: a rest of the domain kept nothing back."""
    with running_relay(tmp_path, table=ROUTES) as running:
        running.put("ann@client.example", "bob@dead.example", lane="smtp:[10.0.0.5]:2598")
        code, out, err = relay(capfd, tmp_path, "destination", "rest", name)
        assert (code, out, words in err, "\x1b" in err) == (65, "", True, False)
        assert running.runner.rested == []


def test_nothing_rests_by_halves(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A worker that is silent may know of more that the name means."""
    (tmp_path / "shards" / "1").mkdir(parents=True)
    with running_relay(tmp_path) as running:
        for do in ("rest", "wake"):
            code, _, err = relay(capfd, tmp_path, "destination", do, "a.example")
            assert (code, "worker 1 does not answer" in err) == (69, True)
        assert running.runner.rested == []


def test_what_was_told_lately_is_answered_by_the_socket(tmp_path: Path) -> None:
    with running_relay(tmp_path) as running, Together(tmp_path) as control:
        running.within(lambda: running.recent.add(partial_line(4)))
        assert [row["step"] for row in control.ask("log.tail", lines=5)] == ["4"]
        assert control.ask_one("history")["every_s"] == 60
        assert control.ask_one("config")["settings"]["spool"] == str(tmp_path)
