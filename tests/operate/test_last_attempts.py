"""What ``relay explain ID`` takes from the journal: how it was last tried, and what became of what is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.message import journey
from relay.message.account import Account
from relay.message.journey import Entry
from relay.message.reply import reply
from relay.operate.answers.explain import ExplainAnswers
from relay.operate.cli import finding_texts
from relay.operate.control import BadRequest, Request
from relay.operate.explaining.last_attempts import SHOWN, LastAttempts
from relay.queue.store import Settlement
from tests.conformance.mail import NOW, all_of, clock_at, now, queue
from tests.fakes.memory_store import MemoryStore
from tests.operate.explaining import Asked

SESSION = journey.session("192.0.2.9", "pc", "pc", "ESMTP", None, "tcp:25", "relay", "", False, "x", "r:3")
HOP = "mx.example.net [192.0.2.7]"


def came(*to: str, at: float = NOW) -> Entry:
    return at, journey.accepted(SESSION, "ann@example.org", 4711, "<1@x>", len(to), [journey.named(one) for one in to])


def tried(
    number: int = 0, step: str = "deferred", said: str = "busy", at: float = NOW + 60, lane: str = "example.net"
) -> Entry:
    account = Account(at - 0.5, "routes[2], relay.yaml:31")
    account.add(HOP, "TLSv1.3 X", [(at - 0.4, b"RCPT TO:<bob@example.net>\r\n"), (at, reply(450, "4.2.0", said))])
    return at, journey.attempted(
        account, at, lane, [journey.became(number, f"{number}@example.net", step, f"450 4.2.0 {said}", HOP)]
    )


def last(still_here: set[int], *entries: Entry) -> list[tuple[str, Any]]:
    attempts = LastAttempts(still_here)
    for entry in entries:
        attempts.add(journey.read(entry))
    return [(one.about, one.details["recipients"][0]["reply"]) for one in attempts.findings()]  # type: ignore[index]


def test_it_is_the_last_on_each_way_of_who_is_still_here() -> None:
    entries = (
        came("a", "b", "c"),
        tried(0, said="first"),
        tried(1, lane="other.example", said="other"),
        tried(0, said="second", at=NOW + 90),
        tried(2, "delivered", "ok", at=NOW + 95, lane="done.example"),
    )
    assert last({0, 1}, *entries) == [("other.example", "450 4.2.0 other"), ("example.net", "450 4.2.0 second")]
    assert last({3}, *entries) == []


def test_of_many_ways_some_are_shown() -> None:
    found = last({0}, *(tried(0, lane=f"{number}.example") for number in range(20)))
    assert [lane for lane, _ in found] == [f"{number}.example" for number in range(20 - SHOWN, 20)]


@pytest.fixture
def answers(tmp_path: Path) -> ExplainAnswers:
    class NoTurns:
        def turns(self, message_id: str) -> dict[int, int]:
            return {}

        def destinations(self) -> list[Any]:
            return []

    return ExplainAnswers(Asked(tmp_path).premises, MemoryStore(clock_at()), NoTurns())  # type: ignore[arg-type]


def explained(answers: ExplainAnswers, message_id: str) -> list[dict[str, Any]]:
    return [dict(row) for row in all_of(answers.message(Request({"id": message_id})))]


def test_the_dialogue_is_among_the_findings(answers: ExplainAnswers) -> None:
    one = queue(answers.store, entries=[came("bob@example.net"), tried()]).id
    rows = explained(answers, one)
    at = [row["what"] for row in rows].index("attempt")
    assert [row["what"] for row in rows[: at + 2]] == ["message", "recipient", "attempt", "route"]
    row = rows[at]
    assert (row["about"], row["rule"], row["place"]) == ("example.net", "routes[2]", "relay.yaml:31")
    assert list(finding_texts.of(row, NOW + 120)) == [
        f"example.net: last tried 1m ago at {HOP}, TLSv1.3 X, in 0.50 s",
        "0@example.net  deferred: 450 4.2.0 busy",
        f"with {HOP}, TLSv1.3 X",
        "  0.100 > RCPT TO:<bob@example.net>",
        "  0.500 < 450 4.2.0 busy",
    ]
    assert rows[-1]["what"] == "verdict"


@pytest.mark.parametrize(
    ("step", "decision", "words"),
    [
        ("delivered", "accepted", "it is delivered"),
        ("discarded", "accepted", "a route threw it away"),
        ("failed", "refused", "it has failed"),
    ],
)
def test_of_what_is_gone_it_says_what_became_of_it(
    answers: ExplainAnswers, step: str, decision: str, words: str
) -> None:
    one = queue(answers.store, entries=[came("bob@example.net")]).id
    now(answers.store.record(Settlement(one, (0,), entries=(tried(0, step),))))
    (row,) = explained(answers, one)
    assert (row["part"], row["what"], row["decision"]) == ("queue", "gone", decision)
    assert row["remedy"] == f"relay trace {one} shows its whole journey"
    first, who, end = finding_texts.of(row, NOW + 120)
    assert first == f"{one} is not in the queue: {words}, 1m ago"
    assert who == "from <ann@example.org> to bob@example.net"
    assert end == f"at last: {step}: {HOP}: 450 4.2.0 busy"


def test_of_what_nobody_knows_it_says_how_to_find_it(answers: ExplainAnswers) -> None:
    for message_id in ("000000000000", "nosuch"):
        with pytest.raises(BadRequest, match=f"no message {message_id} in the queue.*relay trace ADDRESS"):
            explained(answers, message_id)
