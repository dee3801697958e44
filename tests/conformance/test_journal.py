"""What every Store promises of the journal: it is written with what it tells of, and forgotten when it is old."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from relay.message.envelope import Envelope, Origin
from relay.message.journey import Entry
from relay.queue.store import EVERYTHING, FOR_EVER, NewMessage, Selection, Settlement, State, Store, StoreUnavailable
from tests.conformance.mail import NOW, all_of, now, queue, to, whole

CAME: Entry = (NOW, b'["accepted","ann@client.example"]')
TRIED: Entry = (NOW + 1, b'["attempted",{"of":"Bob_100%!@example.org"}]')
GONE = 1 << 40
DAY = 86400


def steps(store: Store, message_id: str) -> list[object]:
    """The entries of a message, each from its step on."""
    return [json.loads(text) for _, text in all_of(store.journey(message_id))]


def found(store: Store, **wanted: object) -> list[str]:
    return list(dict.fromkeys(one for one, _ in all_of(store.journeys(**wanted))))  # type: ignore[arg-type]


# -- writing ----------------------------------------------------------------------------------------


def test_entries_come_with_the_commit_and_the_settlement_in_their_order(store: Store) -> None:
    message = queue(store, entries=[CAME, (NOW, b'["held"]')])
    now(store.record(Settlement(message.id, finished=(0,), entries=(TRIED,))))
    assert all_of(store.journey(message.id)) == [CAME, (NOW, b'["held"]'), TRIED]
    assert now(store.read(message.id)) is None
    assert store.counts().journal > len(CAME[1] + TRIED[1])


def test_each_message_has_its_own(store: Store) -> None:
    ids = [queue(store, entries=[(NOW, b'["%d"]' % number)]).id for number in range(5)]
    assert [steps(store, one) for one in ids] == [[["0"]], [["1"]], [["2"]], [["3"]], [["4"]]]
    assert steps(store, "000000000000") == []
    assert steps(store, "nonsense") == []


def test_what_could_not_be_committed_has_no_journey(store: Store) -> None:
    draft = store.begin()
    draft.write(b"x")
    draft.abort()
    assert found(store) == []


def test_a_report_is_told_of_in_both_journeys(store: Store) -> None:
    """Only the store knows the report's id."""
    message = queue(store, to("a@one.example"), to("b@one.example"), entries=[CAME])
    report = NewMessage(Envelope(None), Origin(), b"", b"report", (to("ann@client.example"),), NOW + 2, (CAME,))
    settlement = Settlement(message.id, (0, 1), (), (report,), reported=(0, 1), entries=(TRIED,))
    ((made, _),) = now(store.record(settlement))
    assert steps(store, message.id)[-1] == ["reported", made.id, ["ann@client.example"], [0, 1]]
    assert all_of(store.journey(made.id)) == [CAME]


def test_a_large_report_too(store: Store) -> None:
    message = queue(store, entries=[CAME])
    report = NewMessage(Envelope(None), Origin(), b"", b"x" * 100_000, (to("ann@client.example"),), NOW, (CAME,))
    ((made, _),) = now(store.record(Settlement(message.id, (0,), (), (report,), (0,))))
    assert steps(store, message.id)[-1] == ["reported", made.id, ["ann@client.example"], [0]]
    assert all_of(store.journey(made.id)) == [CAME]


def test_what_operators_do_is_told_of_with_the_recipients_that_they_changed(store: Store, clock: Clock) -> None:
    first = queue(store, to("a@one.example"), to("b@two.example"), to("c@one.example", state=State.HELD))
    second = queue(store, to("d@one.example"))
    one = Selection(lanes=("one.example",))
    now(store.hold(one, "a quiet Sunday", by="ann"))
    clock.advance(5)
    now(store.release(one, NOW, by="ann"))
    now(store.retry(one, NOW))
    now(store.remove(EVERYTHING, by="bob"))
    assert steps(store, first.id) == [
        ["held", "ann", "a quiet Sunday", [0]],
        ["released", "ann", "", [0, 2]],
        ["retried", "", "", [0, 2]],
        ["removed", "bob", "", [0, 1, 2]],
    ]
    assert [at for at, _ in all_of(store.journey(second.id))] == [NOW, NOW + 5, NOW + 5, NOW + 5]


def test_an_operator_who_changes_nothing_leaves_no_entry(store: Store) -> None:
    message = queue(store, to("a@one.example"))
    now(store.release(EVERYTHING, NOW))
    now(store.hold(Selection(lanes=("other",)), "x"))
    assert steps(store, message.id) == []


def test_what_came_to_no_message_is_a_journey_of_its_own(store: Store) -> None:
    before = queue(store, entries=[CAME])
    ids = now(store.note([(NOW, b'["refused","a"]'), (NOW, b'["refused","b"]')]))
    after = queue(store, entries=[CAME])
    assert [steps(store, one) for one in ids] == [[["refused", "a"]], [["refused", "b"]]]
    assert sorted([before.id, *ids, after.id]) == [before.id, *ids, after.id]
    assert now(store.note([])) in ([], ())


def test_nothing_is_journaled_when_it_is_off(store: Store) -> None:
    store.journals = False
    message = queue(store, entries=[CAME])
    report = NewMessage(Envelope(None), Origin(), b"", b"report", (to("ann@client.example"),), NOW, (CAME,))
    now(store.hold(EVERYTHING, "x"))
    now(store.record(Settlement(message.id, (0,), (), (report,), (0,), (TRIED,))))
    assert not now(store.note([TRIED]))
    assert found(store) == []
    assert store.counts().journal == 0


def test_a_closed_store_journals_nothing(store: Store) -> None:
    now(store.close())
    for ask in (lambda: now(store.note([TRIED])), lambda: all_of(store.journey("x")), lambda: found(store)):
        with pytest.raises(StoreUnavailable):
            ask()


# -- reading ----------------------------------------------------------------------------------------


def test_journeys_come_newest_first_and_each_whole(store: Store) -> None:
    ids = [queue(store, entries=[CAME, TRIED]).id for _ in range(3)]
    assert all_of(store.journeys()) == [(one, [CAME, TRIED]) for one in reversed(ids)]
    assert found(store, before=ids[2]) == [ids[1], ids[0]]
    assert found(store, before=ids[0]) == []


def test_journeys_of_some_time(store: Store, clock: Clock) -> None:
    ids = []
    for _ in range(4):
        ids.append(queue(store, entries=[(clock.seconds(), b"[]")]).id)
        clock.advance(10)
    assert found(store, since=NOW + 10) == [ids[3], ids[2], ids[1]]
    assert found(store, until=NOW + 10) == [ids[0]]
    assert found(store, since=NOW + 10, until=NOW + 30) == [ids[2], ids[1]]
    assert found(store, since=NOW + 100) == []


@pytest.mark.parametrize("words", ["Bob_100%!@example.org", "bob_100%!", "ATTEMPTED"])
def test_journeys_with_these_words_in_any_case(store: Store, words: str) -> None:
    """What means something to LIKE means itself."""
    found_one = queue(store, entries=[CAME, TRIED]).id
    queue(store, entries=[CAME, (NOW, b'["attemptad",{"of":"Bobx100xx@example.org"}]')])
    assert all_of(store.journeys(words=words)) == [(found_one, [CAME, TRIED])]


def test_long_journals_and_long_journeys_are_read_to_their_end(store: Store) -> None:
    """In portions."""
    long = queue(store, entries=[(NOW, b"[%d]" % number) for number in range(450)])
    ids = [queue(store, entries=[CAME]).id for _ in range(450)]
    assert [number for (number,) in steps(store, long.id)] == list(range(450))  # type: ignore[misc]
    assert found(store) == [*reversed(ids), long.id]
    pieces = [entries for one, entries in all_of(store.journeys()) if one == long.id]
    assert [text for entries in pieces for _, text in entries] == [b"[%d]" % number for number in range(450)]
    assert found(store, words="[449]") == [long.id]


# -- forgetting -------------------------------------------------------------------------------------


def finish(store: Store, message_id: str, at: float) -> None:
    now(store.record(Settlement(message_id, (0,), entries=((at, b'["attempted"]'),))))


def test_a_journey_is_kept_so_long_after_its_last_entry(store: Store, clock: Clock) -> None:
    early, late = queue(store, entries=[CAME]).id, queue(store, entries=[CAME]).id
    finish(store, early, NOW + 1)
    finish(store, late, NOW + 5 * DAY)
    assert now(store.forget(NOW + 1, GONE)) == 0
    assert now(store.forget(NOW + 2, GONE)) == 2
    assert found(store) == [late]
    assert len(steps(store, late)) == 2
    assert now(store.forget(NOW + 6 * DAY, GONE)) == 2
    assert store.counts().journal == 0


def test_what_is_in_the_queue_is_not_forgotten(store: Store) -> None:
    """However old it is: its journey has not ended."""
    message = queue(store, entries=[CAME])
    assert now(store.forget(NOW + 30 * DAY, GONE)) == 0
    finish(store, message.id, NOW + 31 * DAY)
    assert now(store.forget(NOW + 31 * DAY, GONE)) == 0
    assert now(store.forget(NOW + 32 * DAY, GONE)) == 2


def test_a_journey_that_ended_without_an_entry_is_forgotten_a_day_later(store: Store) -> None:
    """As when the journal could not be written then."""
    message = queue(store, entries=[CAME])
    now(store.forget(NOW + 30 * DAY, GONE))
    now(store.record(Settlement(message.id, (0,))))
    now(store.forget(NOW + 32 * DAY, GONE))
    assert found(store) == []


def test_refusals_are_forgotten_too(store: Store) -> None:
    now(store.note([(NOW, b'["refused"]')]))
    assert now(store.forget(NOW + 1, GONE)) == 1


def test_too_much_of_it_goes_the_oldest_first(store: Store) -> None:
    """Whatever it is of: the disk has an end."""
    ids = [queue(store, entries=[(NOW + number, b'["%d"]' % number * 50)]).id for number in range(2500)]
    most = store.counts().journal
    gone = now(store.forget(0.0, most // 2))
    assert 1250 <= gone <= 2250
    assert store.counts().journal <= most // 2
    assert found(store) == list(reversed(ids[gone:]))
    assert now(store.forget(0.0, 0)) == 2500 - gone
    assert store.counts().journal == 0
    assert store.counts().messages == 2500


def test_a_new_entry_after_much_was_forgotten(store: Store) -> None:
    message = queue(store, entries=[CAME])
    now(store.forget(0.0, 0))
    row = replace(whole(store, message.id)[1][0], note="later")
    now(store.record(Settlement(message.id, changed=(row,), entries=(TRIED,))))
    assert all_of(store.journey(message.id)) == [TRIED]
    assert now(store.forget(NOW + DAY, GONE)) == 0
    finish(store, message.id, NOW + 2)
    assert now(store.forget(NOW + DAY, GONE)) == 2


def test_old_mail_is_forgotten_when_its_time_has_come(store: Store) -> None:
    """However often was looked before, and for nothing."""
    message = queue(store, entries=[CAME])
    finish(store, message.id, NOW + 2)
    for second in (-DAY, -60, 0, 1):
        assert now(store.forget(NOW + second, GONE)) == 0
    assert now(store.forget(NOW + 3, GONE)) == 2


def test_who_had_no_journal_and_has_one_again_keeps_and_forgets_as_before(store: Store) -> None:
    now(store.forget(FOR_EVER, 0))
    message = queue(store, entries=[CAME])
    finish(store, message.id, NOW + 2)
    assert now(store.forget(NOW, GONE)) == 0
    assert now(store.forget(NOW + DAY, GONE)) == 2
