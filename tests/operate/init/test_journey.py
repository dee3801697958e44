"""The journey of a test message, by the journal or by the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from relay.operate.asking import Control, Refusal
from relay.operate.init import journey as module
from relay.operate.init.journey import Journey
from relay.operate.init.sending import line_of

ID = "<1@gate.example.org>"
BOB = "bob@example.net"


class Asked(Control):
    """A relay that answers by a script: one set of answers for each look."""

    def __init__(self, *looks: Mapping[str, Any]) -> None:
        self._looks = list(looks)
        self._now: Mapping[str, Any] = {}
        self.failed = 0

    def ask(self, do: str, /, **fields: object) -> Iterator[dict[str, Any]]:
        if do == "status":
            yield {"steps": {"failed": self.failed}}
            return
        if do in ("trace.find", "queue.list") and do in self._looks[0]:
            self._now = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
            self.failed += self._now.get("failed", 0)
        if do not in self._now:
            raise Refusal(f"do must be one of {', '.join(self._now)}", "request")
        yield from self._now[do]


def follow(*looks: Mapping[str, Any], left: Callable[[], bool] = lambda: False, patience_s: float = 5.0) -> Journey:
    made = Journey(Asked(*looks), ID, BOB, lambda entry: None)
    made.follow(patience_s, left)
    return made


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda s: None)


ACCEPTED = {"at": 1.0, "step": "accepted", "size": 300}


def attempted(step: str, **more: object) -> dict[str, object]:
    one = {"number": 0, "recipient": BOB, "step": step, "reply": "250 OK", "hop": "mx [192.0.2.1]", **more}
    return {"at": 2.0, "step": "attempted", "tls": "TLSv1.3", "recipients": [one]}


def journal(state: str, *entries: Mapping[str, object]) -> dict[str, Any]:
    return {"trace.find": [{"id": "m1", "state": state}], "trace.show": list(entries)}


def test_the_journal_tells_each_step_once() -> None:
    made = follow(
        {"trace.find": []},
        journal("queued", ACCEPTED),
        journal("queued", ACCEPTED),
        journal("delivered", ACCEPTED, attempted("delivered")),
    )
    assert made.state == "delivered"
    assert [entry["step"] for entry in made.entries] == ["accepted", "delivered"]
    assert "mx [192.0.2.1], 250 OK, by TLSv1.3" in line_of(made.entries[1])


def test_an_attempt_that_failed_for_now_is_the_end_of_waiting() -> None:
    made = follow(journal("queued", ACCEPTED, attempted("deferred", reply="450 later", next_at=9.0)))
    assert made.state == "queued" and made.entries[-1]["reply"] == "450 later"
    assert "next try now" in line_of(made.entries[-1])


def queue(*rows: Mapping[str, object], header: str = f"Message-ID: {ID}") -> dict[str, Any]:
    whole = [
        {"id": "m1", "size": 300, "accepted_at": 1.0, "state": "waiting", "error": "", "next_at": 9.0, **row}
        for row in rows
    ]
    return {"queue.list": whole, "queue.show": [{"header": header}]}


def test_without_a_journal_the_queue_shows_it() -> None:
    made = follow(queue({}), queue({"error": "mx said: 450 later"}))
    assert made.state == "queued"
    assert [entry["step"] for entry in made.entries] == ["accepted", "deferred"]
    assert made.entries[1]["reply"] == "mx said: 450 later"


def test_what_has_left_the_queue_was_delivered_unless_something_failed() -> None:
    assert follow(queue({}), queue()).state == "delivered"
    assert follow(queue({}), {**queue(), "failed": 1}).state == "gone"
    assert follow(queue()).state == "delivered"


def test_what_is_held_is_told() -> None:
    assert follow(queue({"state": "held", "error": "no way"})).state == "held"


def test_other_mail_for_the_same_recipient_is_not_taken_for_it() -> None:
    assert follow(queue({"error": "450 later"}, header="Message-ID: <2@x>"), queue()).entries == []


def test_what_was_not_picked_up_is_not_waited_for_for_ever() -> None:
    assert follow(queue(), left=lambda: True, patience_s=0.05).state == ""


def test_trouble_of_the_relay_is_not_hidden() -> None:
    class Broken(Asked):
        def ask(self, do: str, /, **fields: object) -> Iterator[dict[str, Any]]:
            if do != "status":
                raise Refusal("no room", "unavailable")
            yield from super().ask(do, **fields)

    made = Journey(Broken({}), ID, BOB, lambda entry: None)
    with pytest.raises(Refusal, match="no room"):
        made.follow(5.0, lambda: False)
