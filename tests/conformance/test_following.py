"""What every Store promises those who follow its journal."""

from __future__ import annotations

import json

from relay.message.account import Account
from relay.message.journey import Entry, attempted
from relay.message.reply import reply
from relay.queue.store import BEGINNING, Place, Settlement, Store
from tests.conformance.mail import NOW, now, queue

CAME: Entry = (NOW, b'["accepted",null,"ann@client.example",10,"<1@client.example>",1,["bob@one.example"]]')
SAID = Account(NOW, "rule")
SAID.add("mx.one.example", "", [(NOW, b"EHLO relay.example\r\n"), (NOW, reply(250, "", "mx"))])
TRIED: Entry = (NOW + 1, attempted(SAID, NOW + 1, "one.example", []))
GONE = 1 << 40


def tried(store: Store, message_id: str, at: float = NOW + 1) -> None:
    now(store.record(Settlement(message_id, (0,), entries=((at, TRIED[1]),))))


def test_entries_come_in_the_order_in_which_they_were_written_with_whose_message_it_is(store: Store) -> None:
    first, second = queue(store, entries=[CAME]).id, queue(store, entries=[CAME]).id
    tried(store, first)
    found = now(store.follow(BEGINNING, 10))
    assert [(one.message, json.loads(one.entry[1])[0]) for one in found.entries] == [
        (first, "accepted"),
        (second, "accepted"),
        (first, "attempted"),
    ]
    assert {(one.sender, one.message_id) for one in found.entries} == {("ann@client.example", "<1@client.example>")}
    assert found.missed == 0


def test_what_was_said_to_a_hop_stays_in_the_journal(store: Store) -> None:
    """It is long, and the receiver's business is the outcome."""
    tried(store, queue(store, entries=[CAME]).id)
    _, attempt = now(store.follow(BEGINNING, 10)).entries
    assert json.loads(attempt.entry[1]) == ["attempted", 1000, "one.example", "rule", [], []]


def test_who_follows_goes_on_where_he_was(store: Store) -> None:
    ids = [queue(store, entries=[CAME]).id for _ in range(5)]
    place, found = BEGINNING, []
    for _ in range(4):
        portion = now(store.follow(place, 2))
        found += [one.message for one in portion.entries]
        place = portion.place
        assert portion.behind == max(0, 5 - len(found))
    assert found == ids
    assert now(store.follow(place, 2)).entries == ()
    assert now(store.journal_end()) == place
    tried(store, ids[0])
    assert [one.message for one in now(store.follow(place, 2)).entries] == [ids[0]]


def test_an_empty_journal_begins_at_the_beginning(store: Store) -> None:
    assert now(store.journal_end()) == BEGINNING
    assert now(store.follow(BEGINNING, 10)).place == BEGINNING


def test_what_was_forgotten_before_it_was_read_is_counted(store: Store) -> None:
    for _ in range(3):
        tried(store, queue(store, entries=[CAME]).id)
    place = now(store.follow(BEGINNING, 1)).place
    now(store.forget(NOW + 100, GONE))
    queue(store, entries=[CAME])
    later = queue(store, entries=[CAME]).id
    found = now(store.follow(place, 10))
    assert later in {one.message for one in found.entries}
    assert found.place == now(store.journal_end())


def test_a_place_is_a_number_and_a_time(store: Store) -> None:
    queue(store, entries=[CAME])
    assert now(store.journal_end()) == Place(1, NOW)
