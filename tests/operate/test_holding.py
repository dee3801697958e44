"""A route with ``hold`` holds what comes, before anything is tried; what is released goes its way."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred

from relay.message.journey import Row, read
from relay.message.outline import Outline
from relay.operate.cli import finding_texts
from relay.operate.explaining.explanation import explain
from relay.operate.explaining.finding import Question
from relay.queue.store import Selection, State
from relay.testing.hop import NextHop
from relay.testing.world import RelayWorld

LETTER = "Subject: news\n\nNews.\n"
HELD = {"to": "*", "from": "news@example.net", "via": "mx:", "hold": True}


def release(world: RelayWorld, message_id: str) -> None:
    """As ``relay queue release`` does."""
    world.wait_for(world.relay.store.release(Selection(ids=(message_id,)), world.clock.now))
    world.relay.runner.wake()


def journal(world: RelayWorld, message_id: str) -> list[Row]:
    async def rows() -> list[Row]:
        return [read(entry) async for entry in world.relay.store.journey(message_id)]

    return world.wait_for(ensureDeferred(rows()))


def hop(world: RelayWorld) -> NextHop:
    world.configure({"routes": [HELD]})
    return world.next_hop("mx.example.org", domain="example.org")


def test_it_is_held_until_it_is_released(relay_world: RelayWorld) -> None:
    there = hop(relay_world)
    taken = relay_world.send("news@example.net", ["ann@example.org"], LETTER)
    relay_world.pass_time(days=6)
    (row,) = relay_world.queue
    assert (row.state, row.attempts, there.sessions) == (State.HELD, 0, 0)
    assert row.note == "held by routes[0], the program, until it is released"
    assert [step.name for step in relay_world.journey(taken.id)] == ["held", "accepted"]
    release(relay_world, taken.id)
    relay_world.pass_time(minutes=1)
    assert [one.recipients for one in there.messages] == [["ann@example.org"]]
    assert relay_world.queue == []


def test_the_journal_has_it_from_the_beginning(relay_world: RelayWorld) -> None:
    hop(relay_world)
    taken = relay_world.send("news@example.net", ["ann@example.org", "bob@example.org"], LETTER)
    relay_world.crash()
    came, held = journal(relay_world, taken.id)
    assert [came["step"], held["step"], held["by"], held["numbers"]] == ["accepted", "held", "", [0, 1]]
    assert held["why"] == "held by routes[0], the program, until it is released"
    outline = Outline()
    for row in (came, held):
        outline.add(row)
    assert outline.row(taken.id)["state"] == "held"
    release(relay_world, taken.id)
    relay_world.pass_time(minutes=1)
    assert [row["step"] for row in journal(relay_world, taken.id)] == ["accepted", "held", "released", "attempted"]


def test_a_report_that_is_held_when_it_enters_the_queue_is_journaled_too(relay_world: RelayWorld) -> None:
    there = relay_world.next_hop("mx.example.org", domain="example.org")
    there.refuses("bob@example.org")
    relay_world.next_hop("mx.example.net", domain="example.net")
    relay_world.configure({"routes": [{"to": "me@example.net", "via": "mx:", "hold": True}]})
    taken = relay_world.send("me@example.net", ["bob@example.org"], LETTER)
    relay_world.pass_time(minutes=1)
    (reported,) = [row for row in journal(relay_world, taken.id) if row["step"] == "reported"]
    came, held = journal(relay_world, reported["report"])
    assert [came["step"], held["step"], held["numbers"]] == ["accepted", "held", [0]]


def test_others_go_at_once(relay_world: RelayWorld) -> None:
    there = hop(relay_world)
    relay_world.send("me@example.net", ["ann@example.org"], LETTER)
    relay_world.wait_until(lambda: there.messages)


def test_of_one_message_some_are_held_and_the_others_go(relay_world: RelayWorld) -> None:
    there = relay_world.next_hop("mx.example.org", domain="example.org")
    relay_world.configure({"routes": [{"to": "boss@example.org", "via": "mx:", "hold": True}]})
    to = [f"{name}@example.org" for name in ("ann", "boss", "carl")]
    taken = relay_world.send("me@example.net", to, LETTER)
    relay_world.pass_time(minutes=1)
    assert [one.recipients for one in there.messages] == [["ann@example.org", "carl@example.org"]]
    assert [(row.recipient, row.state) for row in relay_world.queue] == [("boss@example.org", State.HELD)]
    relay_world.crash()
    release(relay_world, taken.id)
    relay_world.pass_time(minutes=1)
    assert there.messages[1].recipients == ["boss@example.org"]


def test_what_is_held_does_not_hold_up_the_queue(relay_world: RelayWorld) -> None:
    """It takes no room in memory, and no place in the window of its destination."""
    there = hop(relay_world)
    for _ in range(20):
        relay_world.send("news@example.net", ["ann@example.org"], LETTER)
    assert relay_world.relay.runner._hand.recipients == 0
    relay_world.send("me@example.net", ["ann@example.org"], LETTER)
    relay_world.wait_until(lambda: there.messages)
    assert len(relay_world.queue) >= 20


def test_a_reload_begins_and_ends_it(relay_world: RelayWorld) -> None:
    there = relay_world.next_hop("mx.example.org", domain="example.org")
    assert relay_world.relay.runner._active.held_by is None, "who holds nothing is not asked"
    relay_world.configure({"routes": [HELD]})
    relay_world.send("news@example.net", ["ann@example.org"], LETTER)
    relay_world.configure({})
    relay_world.send("news@example.net", ["bob@example.org"], LETTER)
    relay_world.pass_time(minutes=1)
    assert [one.recipients for one in there.messages] == [["bob@example.org"]]
    assert [row.state for row in relay_world.queue] == [State.HELD]


def test_an_explanation_says_so(relay_world: RelayWorld) -> None:
    hop(relay_world)
    question = Question(client="192.0.2.1", sender="news@example.net", recipients=("ann@example.org",))

    async def findings() -> list[str]:
        rows = [one.row() async for one in explain(relay_world.relay._desk.premises(), question)]
        return [line for row in rows for line in finding_texts.of(row, relay_world.clock.now)]

    assert "held when it comes, until relay queue release" in relay_world.wait_for(ensureDeferred(findings()))
