"""Health: what is wrong, in words, with a status that a monitor understands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.deliver.keyring import REFUSALS_LIMIT, Keyring
from relay.operate import complaints
from relay.operate.answers.vitals import VitalsAnswers
from relay.operate.complaints import Complaint
from relay.operate.control import Request
from relay.operate.merging import health_of
from relay.queue.store import Condition, Counts
from relay.receive.watched import Watched
from relay.route.credentials import Login
from relay.route.via import Hop
from tests.fakes.inquirer import Row
from tests.operate.running import FakeRunner
from tests.operate.web.wire import TOKEN, Wire

ROOT = Path(__file__).parents[3]
DAY = 86400.0
FULL = Complaint("disk", "wrong", "the disk of /spool is full", "make room")
SOON = Complaint("certificate", "soon", "the certificate runs out in 3d", "renew it")


def health(*found: Complaint, silent: Iterable[int] = (), token_file: Path | None = None) -> Wire:
    row = health_of([(0, {"complaints": [complaint.row() for complaint in found]})])
    return Wire({"health": lambda: [{**row, "silent": list(silent)}]}, token_file)


def test_nothing_is_wrong() -> None:
    answer = health().get("/health")
    assert (answer.status, answer.json()) == (200, {"status": "ok", "complaints": []})


def test_what_will_be_wrong_is_a_warning() -> None:
    answer = health(SOON).get("/health")
    assert (answer.status, answer.json()["status"]) == (200, "warning")
    assert answer.json()["complaints"] == [SOON.row()]


def test_what_is_wrong_comes_first_and_is_503() -> None:
    answer = health(SOON, FULL).get("/health")
    assert (answer.status, answer.json()["status"]) == (503, "wrong")
    assert [one["about"] for one in answer.json()["complaints"]] == ["disk", "certificate"]


def test_a_silent_worker_is_wrong() -> None:
    answer = health(silent=[1]).get("/health")
    assert (answer.status, answer.json()["complaints"][0]["what"]) == (503, "worker 1 does not answer")


def test_a_relay_that_answers_nothing_is_wrong() -> None:
    answer = Wire().get("/health")
    assert (answer.status, answer.json()["complaints"][0]["about"]) == (503, "worker")


def test_strangers_hear_only_that_something_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    wire = health(FULL, token_file=file)
    assert (wire.get("/health").status, wire.get("/health").json()) == (503, {"status": "wrong"})
    assert wire.get("/health", Authorization=f"Bearer {TOKEN}").json()["complaints"] == [FULL.row()]


def test_who_restarts_what_does_not_answer_hears_that_it_lives() -> None:
    answer = health(FULL).get("/health/live")
    assert (answer.status, answer.json()) == (200, {"status": "alive"})
    assert health().get("/health/lively").status == 404


def test_what_all_workers_complain_of_is_said_once() -> None:
    rows: list[tuple[int, Row]] = [(shard, {"complaints": [FULL.row(), SOON.row()]}) for shard in (0, 1)]
    assert len(health_of(rows)["complaints"]) == 2


# -- what is complained of ------------------------------------------------------------------------------------


def said(found: Iterator[Complaint]) -> list[tuple[str, str]]:
    return [(complaint.level, complaint.what) for complaint in found]


@pytest.mark.parametrize(
    ("free", "is_full", "expected"),
    [
        (5 << 30, False, []),
        (None, False, []),
        (100 << 20, False, [("soon", "the disk of /spool has only 100M left")]),
        (1 << 20, True, [("wrong", "the disk of /spool is full, and new mail is refused (452)")]),
    ],
)
def test_a_disk_that_is_full_or_nearly(free: int | None, is_full: bool, expected: list[Any]) -> None:
    assert said(complaints.of_disk("/spool", free, is_full)) == expected


def test_a_queue_that_cannot_be_written() -> None:
    assert said(complaints.of_store("disk I/O error")) == [("wrong", "the queue cannot be written: disk I/O error")]
    assert said(complaints.of_store("")) == []


def test_a_message_that_should_have_been_given_up_long_ago() -> None:
    assert said(complaints.of_age(5 * DAY, 0, 5 * DAY)) == []
    assert [level for level, _ in said(complaints.of_age(5 * DAY + 7200, 0, 5 * DAY))] == ["wrong"]
    assert said(complaints.of_age(50 * DAY, 1, 5 * DAY)) == []  # what is held stays for as long as somebody likes


def test_certificates_that_run_out() -> None:
    now = 1000 * DAY
    expiries = [("/a", now + 60 * DAY), ("/b", now + 5.5 * DAY), ("/c", now - 1), ("/d", now - 3 * DAY)]
    assert said(complaints.of_certificates(expiries, now)) == [
        ("soon", "the certificate /b runs out in 5d"),
        ("wrong", "the certificate /c ran out 1s ago"),
        ("wrong", "the certificate /d ran out 3d ago"),
    ]


def test_a_dns_that_is_dead_and_a_domain_that_is() -> None:
    assert said(complaints.of_dns({"a.example"}, 3)) == []
    (found,) = said(complaints.of_dns({"a.example", "b.example", "c.example"}, 3))
    assert found == ("wrong", "the DNS has answered nothing lately, not for a.example, b.example, c.example")


def test_a_receiver_that_takes_nothing_for_a_while() -> None:
    row = {"webhook": "https://app.example/…", "failing_since": 1000.0, "error": "it answers 503"}
    assert said(complaints.of_webhooks([row], 1000.0 + 800)) == []
    assert said(complaints.of_webhooks([row], 1000.0 + 7200)) == [
        ("soon", "https://app.example/… has taken nothing for 2h: it answers 503")
    ]
    assert said(complaints.of_webhooks([{**row, "failing_since": None}], 1e9)) == []


def test_broken_rows_and_faults_and_files() -> None:
    assert said(complaints.of_set_aside(2)) == [("soon", "2 broken rows or files put out of the way")]
    assert said(complaints.of_set_aside(1)) == [("soon", "1 broken row or file put out of the way")]
    assert [level for level, _ in said(complaints.of_reload("relay.yaml:3:1: unknown key"))] == ["soon"]
    assert said(complaints.of_files(["/r:3: no address"])) == [
        ("wrong", "/r:3: no address; what was read last is still in force")
    ]


def test_a_queue_that_was_broken_as_a_whole_is_no_row(tmp_path: Path) -> None:
    """Told as a broken row, with a word for a warning, while its mail did not go out."""
    clock = Clock()
    counts = Counts(0, 0, {}, set_aside=3, databases=["/spool/set-aside/1790"])
    store: Any = SimpleNamespace(counts=lambda: counts, condition=lambda: Condition(False, "", {}, {}))
    asked = VitalsAnswers(store, FakeRunner(), clock, lambda: 5 * DAY, None).health(Request({}))
    with pytest.raises(StopIteration) as row:
        asked.__anext__().send(None)
    database, rows = row.value.value["complaints"]
    assert (database["about"], database["level"]) == ("database", "wrong")
    assert "/spool/set-aside/1790;" in database["what"]
    assert "'The database is broken'" in database["do"]
    assert (rows["level"], rows["what"]) == ("soon", "2 broken rows or files put out of the way")
    (several,) = complaints.of_databases(["/a", "/b", "/c"])
    assert "/a and 2 more;" in several.what


@pytest.mark.parametrize("complaint", [*complaints.of_databases(["/a"]), *complaints.of_set_aside(1)])
def test_the_chapters_that_complaints_send_to_are_there(complaint: complaints.Complaint) -> None:
    (chapter,) = re.findall(r"under '(.*?)'", complaint.do)
    assert f"\n**{chapter}.** " in (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def test_a_hop_that_refuses_our_login_is_remembered_until_it_lets_us_in() -> None:
    keyring = Keyring(Clock(), Random(1), lambda step, **fields: None)
    hop = Hop("smtp.provider.example", 587, login=Login("ann", "/nowhere"))
    keyring.refused(hop, "smtp.provider.example [192.0.2.1]", "535 5.7.8 no")
    found = [(hop.name(), user, why) for hop, (user, why) in keyring.refusals.items()]
    assert said(complaints.of_logins(found)) == [
        ("wrong", "smtp.provider.example:587 refuses our login as ann: 535 5.7.8 no")
    ]
    keyring.accepted(hop)
    assert keyring.refusals == {}
    for number in range(2 * REFUSALS_LIMIT):
        keyring.refused(Hop("h", number, login=Login("ann", "/nowhere")), "h", "no")
    assert len(keyring.refusals) == REFUSALS_LIMIT


def test_a_file_that_cannot_be_read_again_is_remembered_until_it_can(tmp_path: Path) -> None:
    file, clock = tmp_path / "recipients", Clock()
    file.write_text("1\n")
    watched = Watched((file,), lambda: int(file.read_text()), lambda _: None, clock, lambda step, **fields: None)
    watched.start()
    assert watched.trouble == ""
    file.write_text("one\n")
    clock.pump([1] * 3)
    assert "invalid literal" in watched.trouble
    file.unlink()
    clock.pump([1] * 3)
    assert "No such file" in watched.trouble
    file.write_text("22\n")
    clock.pump([1] * 3)
    assert watched.trouble == ""
