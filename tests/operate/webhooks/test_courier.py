"""Bringing events to a receiver: in order, for as long as it takes, and never more than one batch in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from relay.message import journey
from relay.message.account import Account
from relay.message.journey import Entry
from relay.operate.merging import webhooks_of
from relay.operate.webhooks import courier as module
from relay.operate.webhooks.courier import LONGEST_WAIT_S, POLL_S, Courier, Receiver
from relay.operate.webhooks.couriers import Couriers, key_of
from relay.operate.webhooks.signature import UnusableSecret
from relay.queue.store import BEGINNING, Place, Settlement, StoreUnavailable
from tests.conformance.mail import NOW, now, queue
from tests.fakes.memory_store import MemoryStore

SECRET = b"0123456789abcdef"
HOUR = 3600.0


@dataclass
class House:
    """A journal, and somebody who is told.

    answers  what the receiver says, one after the other; 200 when there is nothing left, None for never
    """

    wanted: tuple[str, ...] = ("accepted", "delivered")
    answers: list[int | Exception | None] = field(default_factory=list)
    begins_at: Place | None = BEGINNING

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = MemoryStore(self.clock)
        self.told: list[dict[str, Any]] = []
        self.requests: list[tuple[bytes, Mapping[str, str]]] = []
        self.waiting: Deferred[int] | None = None
        self.secret: bytes | Exception = SECRET
        self.moves = 0
        receiver = Receiver("https://app.example/…", self.wanted, self._secret, self._post, "relay.yaml:7")
        self.courier = Courier(
            self.store, receiver, "gw.example", self.clock, Random(1), self._tell, self.begins_at, self._moved
        )

    def _tell(self, step: str, /, **fields: Any) -> None:
        self.told.append({"step": step, **fields})

    def _moved(self) -> None:
        self.moves += 1

    def _secret(self) -> bytes:
        if isinstance(self.secret, Exception):
            raise self.secret
        return self.secret

    def _post(self, body: bytes, fields: Mapping[str, str]) -> Deferred[int]:
        self.requests.append((body, fields))
        answer = self.answers.pop(0) if self.answers else 200
        if answer is None:
            self.waiting = Deferred()
            return self.waiting
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def came(self, *recipients: str) -> str:
        """A message that came in, and is journaled."""
        return queue(self.store, entries=[accepted(len(recipients) or 1)]).id

    def delivered(self, message_id: str, recipients: int = 1) -> None:
        now(self.store.record(Settlement(message_id, (0,), entries=(attempted(recipients),))))

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(int(seconds / step)):
            self.clock.advance(step)

    def events(self) -> list[tuple[str, str]]:
        """What was sent, as far as it was taken or not."""
        return [(one["event"], one["id"]) for body, _ in self.requests for one in json.loads(body)["data"]["events"]]


def accepted(count: int = 1) -> Entry:
    return NOW, journey.accepted(
        "null", "ann@example.org", 10, "<1@example.org>", count, [journey.named("bob@a.example")]
    )


def attempted(recipients: int) -> Entry:
    became = [journey.became(n, f"u{n}@a.example", "delivered", "250 OK", "mx") for n in range(recipients)]
    return NOW, journey.attempted(Account(NOW), NOW, "a.example", became)


def test_events_are_sent_together_and_signed() -> None:
    house = House()
    first = house.came()
    house.delivered(first)
    house.courier.start()
    ((body, fields),) = house.requests
    said = json.loads(body)
    assert (said["type"], said["data"]["relay"]) == ("relay.events", "gw.example")
    assert said["timestamp"].endswith("Z")
    assert house.events() == [("accepted", first), ("delivered", first)]
    assert fields["webhook-id"] == f"{first}.1.0-{first}.2.0"
    assert fields["webhook-signature"].startswith("v1,")
    assert (house.courier.sent, house.courier.behind, house.courier.trouble) == (2, 0, "")


def test_what_comes_later_is_sent_soon() -> None:
    house = House()
    house.courier.start()
    assert house.requests == []
    message = house.came()
    house.pass_time(POLL_S)
    assert house.events() == [("accepted", message)]
    house.pass_time(10)
    assert len(house.requests) == 1


def test_one_that_is_new_hears_of_what_comes_and_not_of_the_past() -> None:
    house = House(begins_at=None)
    house.came()
    house.courier.start()
    later = house.came()
    house.pass_time(POLL_S)
    assert house.events() == [("accepted", later)]


@pytest.mark.parametrize("answer", [500, 503, 302, 404, 401, 429, ConnectionError("no connection")])
def test_a_receiver_that_is_down_is_asked_again_after_waits_that_grow(answer: int | Exception) -> None:
    house = House(answers=[answer] * 100)
    message = house.came()
    house.courier.start()
    asked_at: list[float] = []
    for _ in range(int(2 * HOUR)):
        before = len(house.requests)
        house.clock.advance(1)
        asked_at += [house.clock.seconds()] * (len(house.requests) - before)
    waits = [later - earlier for earlier, later in pairwise(asked_at)]
    assert waits[:3] == sorted(waits[:3])
    assert max(waits) <= LONGEST_WAIT_S * 1.25 + 1
    assert len(house.requests) < 30
    assert len({fields["webhook-id"] for _, fields in house.requests}) == 1
    assert len({body.partition(b'"data"')[2] for body, _ in house.requests}) == 1
    assert house.courier.failures == len(house.requests)
    assert house.courier.since == NOW
    assert house.courier.next_at is not None
    house.answers.clear()
    house.pass_time(LONGEST_WAIT_S * 1.3)
    assert house.events()[-1] == ("accepted", message)
    assert (house.courier.sent, house.courier.trouble, house.courier.since) == (1, "", None)


def test_trouble_is_told_once_an_hour_and_names_no_secret() -> None:
    house = House(answers=[ConnectionError("refused")] * 1000)
    house.came()
    house.courier.start()
    house.pass_time(2.5 * HOUR)
    troubles = [one for one in house.told if one["step"] == "trouble"]
    assert len(troubles) == 3
    assert troubles[0]["error"] == "nothing can be told to https://app.example/… just now: refused"
    assert troubles[0]["place"] == "relay.yaml:7"


def test_the_order_is_kept_while_it_is_down() -> None:
    house = House(answers=[503, 503])
    ids = [house.came() for _ in range(3)]
    house.courier.start()
    house.delivered(ids[0])
    house.pass_time(60)
    taken = [(one["event"], one["id"]) for body, _ in house.requests[2:] for one in json.loads(body)["data"]["events"]]
    assert taken == [("accepted", one) for one in ids] + [("delivered", ids[0])]


def test_nothing_more_is_read_while_a_request_is_under_way() -> None:
    house = House(answers=[None])
    for _ in range(1000):
        house.came()
    house.courier.start()
    house.pass_time(100)
    assert len(house.requests) == 1
    assert len(house.events()) == module.ENTRIES_AT_ONCE
    assert house.courier.behind == 1000 - module.ENTRIES_AT_ONCE
    assert house.waiting is not None
    house.waiting.callback(200)
    house.pass_time(10)
    assert len(house.events()) == 1000
    assert house.courier.behind == 0


def test_many_recipients_of_one_attempt_are_sent_in_parts() -> None:
    house = House(wanted=("delivered",))
    house.delivered(house.came(), recipients=1000)
    house.courier.start()
    sizes = [len(json.loads(body)["data"]["events"]) for body, _ in house.requests]
    assert (sum(sizes), max(sizes)) == (1000, module.EVENTS_AT_ONCE)


def test_a_request_that_is_too_large_is_made_smaller() -> None:
    house = House(answers=[413, 413])
    ids = [house.came() for _ in range(8)]
    house.courier.start()
    house.pass_time(30)
    sizes = [len(json.loads(body)["data"]["events"]) for body, _ in house.requests]
    assert sizes == [8, 4, 2, 4, 2]
    assert house.courier.sent == 8
    taken = [one["id"] for body, _ in house.requests[2:] for one in json.loads(body)["data"]["events"]]
    assert taken == ids


def test_an_event_that_is_refused_again_and_again_is_dropped_and_told() -> None:
    """It must not stop all that come after it."""
    house = House(answers=[400] * (module.REFUSALS_LIMIT + 1))
    poison, other = house.came(), house.came()
    house.courier.start()
    house.pass_time(HOUR)
    assert (house.courier.sent, house.courier.dropped) == (1, 1)
    assert house.events()[-1] == ("accepted", other)
    (told,) = [one for one in house.told if "was not told of 1" in one["error"]]
    assert f"{poison}.1.0" in told["error"]


def test_what_the_journal_has_forgotten_meanwhile_is_told() -> None:
    house = House(answers=[503] * 3)
    ids = [house.came() for _ in range(3)]
    house.courier.start()
    for one in ids:
        house.delivered(one)
    queue(house.store, entries=[accepted()])
    now(house.store.forget(NOW + 1, 1 << 40))
    house.pass_time(HOUR)
    assert house.courier.dropped == 3
    assert any("the journal has forgotten" in one["error"] for one in house.told)


def test_a_secret_that_cannot_be_read_sends_nothing_unsigned() -> None:
    house = House()
    house.secret = UnusableSecret("/etc/relay/webhook.secret is empty")
    house.came()
    house.courier.start()
    house.pass_time(60)
    assert house.requests == []
    assert house.courier.trouble == "its secret cannot be used: /etc/relay/webhook.secret is empty"
    house.secret = SECRET
    house.pass_time(HOUR)
    assert house.courier.sent == 1


def test_a_store_in_trouble_is_asked_again() -> None:
    house = House()
    house.came()
    house.store.trouble["follow"] = StoreUnavailable("the disk is away")
    house.courier.start()
    assert house.requests == []
    house.store.trouble.clear()
    house.pass_time(10)
    assert house.courier.sent == 1


def test_who_stops_sends_no_more() -> None:
    house = House(answers=[503])
    house.came()
    house.courier.start()
    house.courier.stop()
    house.pass_time(HOUR)
    assert len(house.requests) == 1
    assert house.clock.getDelayedCalls() == []


# -- all of them -----------------------------------------------------------------------------------------------


@dataclass
class MemoryShelf:
    text: str | None = None
    saves: int = 0

    def load(self) -> str | None:
        return self.text

    def save(self, text: str) -> None:
        self.text, self.saves = text, self.saves + 1


URL = "https://app.example/hooks/secret-path"
SPOOL = Path("/spool")


def couriers(house: House, shelf: MemoryShelf) -> Couriers:
    made = Couriers(house.clock, Random(1), house._tell, "gw.example", lambda path: shelf)
    made.use({URL: house.courier.receiver})
    return made


def test_after_a_restart_it_goes_on_where_it_was() -> None:
    house, shelf = House(), MemoryShelf()
    first = couriers(house, shelf)
    first.follow(SPOOL, house.store)
    mine = house.came()
    house.pass_time(POLL_S)
    first.stop()
    assert shelf.text is not None and "secret-path" not in shelf.text
    other = house.came()
    second = couriers(house, shelf)
    second.follow(SPOOL, house.store)
    assert house.events() == [("accepted", mine), ("accepted", other)]
    second.stop()


def test_after_a_crash_what_was_sent_last_may_come_twice_with_the_same_ids() -> None:
    house, shelf = House(), MemoryShelf()
    first = couriers(house, shelf)
    first.follow(SPOOL, house.store)
    one = house.came()
    house.pass_time(10)
    assert shelf.saves == 1
    two = house.came()
    house.pass_time(POLL_S)
    before = shelf.text
    first.stop()
    shelf.text = before  # the crash: what ``stop`` wrote was never written
    couriers(house, shelf).follow(SPOOL, house.store)
    assert house.events() == [("accepted", one), ("accepted", two), ("accepted", two)]
    assert house.requests[1][1]["webhook-id"] == house.requests[2][1]["webhook-id"]


def test_the_place_is_written_now_and_then_and_not_with_every_event() -> None:
    house, shelf = House(), MemoryShelf()
    couriers(house, shelf).follow(SPOOL, house.store)
    for _ in range(20):
        house.came()
        house.pass_time(POLL_S)
    assert 3 <= shelf.saves <= 5


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": ["x", "y"]}', "null", "7"])
def test_a_file_that_is_broken_stops_nothing(text: str) -> None:
    house, shelf = House(), MemoryShelf(text)
    couriers(house, shelf).follow(SPOOL, house.store)
    message = house.came()
    house.pass_time(POLL_S)
    assert house.events() == [("accepted", message)]


def test_who_is_no_longer_in_the_configuration_is_told_no_more() -> None:
    house, shelf = House(), MemoryShelf()
    made = couriers(house, shelf)
    made.follow(SPOOL, house.store)
    made.use({})
    house.came()
    house.pass_time(60)
    assert house.requests == []
    assert made.rows() == []


def test_a_changed_receiver_goes_on_from_its_place() -> None:
    house, shelf = House(), MemoryShelf()
    made = couriers(house, shelf)
    made.follow(SPOOL, house.store)
    made.use({URL: Receiver("new name", ("delivered",), house._secret, house._post, "relay.yaml:9")})
    message = house.came()
    house.delivered(message)
    house.pass_time(POLL_S)
    assert house.events() == [("delivered", message)]


def test_how_each_is_told_over_all_journals_and_workers() -> None:
    house, shelf = House(answers=[503] * 10), MemoryShelf(json.dumps({key_of(URL): [0, 0.0]}))
    made = couriers(house, shelf)
    house.came()
    made.follow(SPOOL, house.store)
    made.follow(SPOOL / "shards" / "1", MemoryStore(house.clock))
    (row,) = made.rows()
    assert (row["webhook"], row["sent"], row["failures"], row["error"]) == (
        "https://app.example/…",
        0,
        1,
        "it answers 503",
    )
    assert (row["failing_since"], row["events"]) == (NOW, ["accepted", "delivered"])
    well = {**row, "sent": 5, "failures": 0, "failing_since": None, "error": "", "next_at": None}
    merged = webhooks_of([(0, {"webhooks": [dict(row)]}), (1, {"webhooks": [well]})])
    (both,) = merged["webhooks"]
    assert (both["sent"], both["failures"], both["error"]) == (5, 1, "it answers 503")
