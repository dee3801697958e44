"""What every Store promises: each sentence of relay/queue/store.py, for the one in memory and the one on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.message.address import Address, parse_mailbox
from relay.message.envelope import Envelope, Message, Notify, Origin, Recipient
from relay.message.outcome import Action, Final
from relay.queue.store import (
    EVERYTHING,
    INLINE_LIMIT_OCTETS,
    Counts,
    NewMessage,
    NewRecipient,
    QueuedRecipient,
    QueueRow,
    Selection,
    Settlement,
    State,
    Store,
    StoreUnavailable,
)
from tests.conformance.mail import (
    FULL_ENVELOPE,
    LEASE_END,
    NOW,
    ORIGIN,
    all_of,
    content_of,
    lease,
    now,
    of_mail,
    queue,
    to,
    whole,
)

# -- the way in -------------------------------------------------------------------------------------


def test_what_is_committed_is_what_was_given(store: Store) -> None:
    """Every field of the envelope, the origin and the recipients comes back as it was."""
    recipient = Recipient(
        parse_mailbox('"b\\"ob x"@example.org'), Notify.SUCCESS | Notify.DELAY, "rfc822;Bob\u00fc+@example.org"
    )
    new = NewRecipient(recipient, "smtp:[10.0.0.5]:25", NOW + 0.123456789, 0, State.HELD, "held by rule 7")
    message = queue(store, to("\u00e4nn@b\u00fccher.example"), new, to("bob@[IPv6:2001:db8::2]"))
    assert message == Message(
        message.id, FULL_ENVELOPE, ORIGIN, NOW, b"Received: by us\r\n", b"Subject: x\r\n\r\nhello\r\n", 38
    )
    found, recipients = whole(store, message.id)
    assert found == message
    assert [one.number for one in recipients] == [0, 1, 2]
    assert recipients[1] == QueuedRecipient(
        1, recipient, "smtp:[10.0.0.5]:25", NOW + 0.123456789, 0, State.HELD, "held by rule 7"
    )
    assert recipients[0].recipient.address == parse_mailbox("\u00e4nn@b\u00fccher.example")


def test_the_postmaster_without_a_domain_is_a_recipient(store: Store) -> None:
    """RFC 5321 §4.5.1."""
    recipient = NewRecipient(Recipient(Address("Postmaster", "")), "local", NOW)

    message = queue(store, recipient)
    assert whole(store, message.id)[1][0].recipient.address == Address("Postmaster", "")


def test_the_null_sender_and_bare_defaults_come_back(store: Store) -> None:
    message = queue(store, envelope=Envelope(None))
    assert whole(store, message.id)[0].envelope == Envelope(None)


def test_a_draft_has_the_id_of_its_message_and_ids_follow_the_order_of_acceptance(store: Store) -> None:
    drafts = [store.begin() for _ in range(50)]
    assert [draft.id for draft in drafts] == sorted({draft.id for draft in drafts})
    drafts[3].write(b"x")
    message = now(drafts[3].commit(FULL_ENVELOPE, ORIGIN, b"", (to("bob@example.org"),), NOW))
    assert message.id == drafts[3].id


@pytest.mark.parametrize("size", [0, 1, INLINE_LIMIT_OCTETS - 1, INLINE_LIMIT_OCTETS])
def test_content_up_to_the_limit_is_carried(store: Store, size: int) -> None:
    content = bytes(range(256)) * 256
    message = queue(store, content=content[:size])
    assert message.content == content[:size]
    assert whole(store, message.id)[0].content == content[:size]
    (leased,) = lease(store)
    assert leased.message == message


@pytest.mark.parametrize("size", [INLINE_LIMIT_OCTETS + 1, 2 * INLINE_LIMIT_OCTETS, 1_000_000])
def test_content_beyond_the_limit_is_read_in_pieces(store: Store, size: int) -> None:
    content = (bytes(range(256)) * 4000)[:size]
    message = queue(store, content=content)
    assert message.content is None
    assert message.size == size + len(message.head)
    assert content_of(store, message.id) == content
    (leased,) = lease(store)
    assert leased.message == message


def test_there_is_no_content_of_a_message_that_is_not_there(store: Store) -> None:
    for message_id in ("000000000000", "nonsense", "", queue(store).id):
        with pytest.raises(StoreUnavailable):
            now(store.open(message_id).read())


def test_an_aborted_draft_leaves_nothing(store: Store) -> None:
    for content in (b"", b"x", b"x" * 200_000):
        draft = store.begin()
        draft.write(content)
        draft.abort()
        draft.abort()
    assert store.counts().messages == 0
    assert all_of(store.list()) == []


def test_abort_after_commit_does_nothing(store: Store) -> None:
    for content in (b"x", b"x" * 200_000):
        draft = store.begin()
        draft.write(content)
        message = now(draft.commit(FULL_ENVELOPE, ORIGIN, b"", (to("bob@example.org"),), NOW))
        draft.abort()
        assert whole(store, message.id)[0] == message
    assert content_of(store, message.id) == b"x" * 200_000


def test_ten_thousand_recipients_are_no_trouble(store: Store) -> None:
    message = queue(store, *(to(f"user{number}@example.org") for number in range(10_000)))
    (leased,) = lease(store)
    assert leased.message == message
    assert [one.number for one in leased.recipients] == list(range(10_000))
    now(store.record(Settlement(message.id, finished=tuple(range(9_999)))))
    assert store.counts().recipients[State.WAITING] == 1


# -- leases -----------------------------------------------------------------------------------------


def test_a_lease_gives_what_is_due_and_moves_it_ahead(store: Store) -> None:
    """Before the network is touched, so that a crash cannot hammer a peer."""
    message = queue(store, to("bob@example.org"), to("late@example.org", due_at=NOW + 1))
    (leased,) = now(store.lease(NOW, LEASE_END, 100))
    assert leased.message == message
    (bob,) = leased.recipients
    assert (bob.number, bob.due_at, bob.attempts, bob.state) == (0, LEASE_END, 1, State.WAITING)
    assert whole(store, message.id)[1][0] == bob
    assert not lease(store)


def test_a_lease_that_is_over_is_due_again(store: Store) -> None:
    """Whoever held it is gone; nothing else needs to be cleaned up."""
    queue(store)
    lease(store)
    (leased,) = now(store.lease(LEASE_END, LEASE_END + 900, 100))
    assert leased.recipients[0].attempts == 2


def test_what_is_committed_in_hand_is_due_when_its_lease_is_over(store: Store) -> None:
    queue(store, to("bob@example.org", due_at=LEASE_END, attempts=1))
    assert not lease(store)
    assert now(store.next_due()) == LEASE_END
    (leased,) = lease(store, LEASE_END)
    assert leased.recipients[0].attempts == 2


def test_a_lease_holds_the_recipients_of_one_lane(store: Store) -> None:
    queue(store, to("a@one.example"), to("b@two.example"), to("c@one.example"))
    leased = lease(store)
    assert sorted(tuple(one.number for one in each.recipients) for each in leased) == [(0, 2), (1,)]


def test_recipients_of_one_message_and_lane_come_together_though_due_at_different_times(store: Store) -> None:
    """They are to be tried in one transaction."""
    queue(store, to("a@one.example", due_at=NOW - 5), to("b@one.example", due_at=NOW - 4), to("c@one.example"))
    (leased,) = lease(store)
    assert [one.number for one in leased.recipients] == [0, 1, 2]


def test_the_limit_counts_messages(store: Store) -> None:
    for _ in range(5):
        queue(store, to("a@one.example"), to("b@one.example"))
    assert [len(lease(store, limit=2)) for _ in range(4)] == [2, 2, 1, 0]


def test_lanes_are_served_in_turn(store: Store) -> None:
    """A lane with much mail does not keep one with little from being served."""
    for number in range(20):
        queue(store, to("a@much.example", due_at=NOW - 100 + number))
    queue(store, to("b@little.example"))
    queue(store, to("c@little2.example"))
    first = lease(store, limit=3)
    assert sorted(one.recipients[0].lane for one in first) == ["little.example", "little2.example", "much.example"]
    queue(store, to("b@little.example"))
    served = [lease(store, limit=1)[0].recipients[0].lane for _ in range(3)]
    assert "little.example" in served[:2]


def test_lanes_that_take_turns_one_by_one_are_served_alike(store: Store) -> None:
    for number in range(10):
        queue(store, to("a@one.example", due_at=NOW - 100 + number))
        queue(store, to("b@two.example", due_at=NOW - 10 + number))
    served = [lease(store, limit=1)[0].recipients[0].lane for _ in range(10)]
    assert served.count("one.example") == served.count("two.example") == 5


def test_what_one_lane_does_not_need_another_gets(store: Store) -> None:
    for number in range(10):
        queue(store, to("a@one.example", due_at=NOW - number))
    queue(store, to("b@two.example"))
    assert len(lease(store, limit=8)) == 8


def test_a_lane_gives_its_oldest_first(store: Store) -> None:
    late = queue(store, to("a@one.example", due_at=NOW - 1))
    early = queue(store, to("a@one.example", due_at=NOW - 2))
    assert [lease(store, limit=1)[0].message.id for _ in range(2)] == [early.id, late.id]


def test_a_resting_lane_is_passed_over(store: Store) -> None:
    queue(store, to("a@one.example"), to("b@two.example"))
    leased = lease(store, resting=frozenset({"one.example", "three.example"}))
    assert [one.recipients[0].lane for one in leased] == ["two.example"]
    assert [one.recipients[0].lane for one in lease(store)] == ["one.example"]


def test_a_lease_of_one_lane_is_of_that_lane_only(store: Store) -> None:
    queue(store, to("a@one.example"), to("b@two.example"), to("c@one.example", state=State.OWING))
    assert [one.recipients[0].lane for one in lease(store, lane="two.example")] == ["two.example"]
    assert not lease(store, lane="three.example")
    (leased,) = lease(store, lane="one.example")
    assert [one.number for one in leased.recipients] == [0]


def test_a_lease_of_one_lane_takes_as_many_as_are_wanted(store: Store) -> None:
    for number in range(10):
        queue(store, to("a@one.example", due_at=NOW - number))
    assert [len(lease(store, lane="one.example", limit=4)) for _ in range(4)] == [4, 4, 2, 0]


def test_a_resting_lane_is_not_leased_by_its_name_either(store: Store) -> None:
    queue(store)
    assert not lease(store, lane="example.org", resting=frozenset({"example.org"}))


def test_what_is_held_is_not_leased(store: Store) -> None:
    queue(store, to("bob@example.org", state=State.HELD))
    assert not lease(store, NOW + 10**9)
    assert now(store.next_due()) is None


def test_a_lease_given_back_is_due_when_it_is_said_and_not_counted(store: Store) -> None:
    message = queue(store, to("a@one.example"), to("b@one.example"))
    lease(store)
    now(store.release_lease(message.id, [1], NOW + 5))
    assert [(one.due_at, one.attempts) for one in whole(store, message.id)[1]] == [(NOW + 900, 1), (NOW + 5, 0)]
    assert now(store.next_due()) == NOW + 5
    (leased,) = lease(store, NOW + 5)
    assert [one.number for one in leased.recipients] == [1]


def test_giving_back_what_is_gone_is_no_error(store: Store) -> None:
    message = queue(store)
    now(store.release_lease(message.id, [7], NOW))
    now(store.release_lease("nonsense", [0], NOW))
    assert whole(store, message.id)[1][0].attempts == 0


# -- what is too old --------------------------------------------------------------------------------


def overdue(store: Store, limit: int = 100) -> list[tuple[str, tuple[int, ...]]]:
    """With a warning after 100 seconds and giving up after 1000."""
    leased = now(store.overdue(NOW, NOW + 50, limit, NOW - 100, NOW - 1000))
    return sorted((one.message.id, tuple(each.number for each in one.recipients)) for one in leased)


def test_what_is_due_and_too_old_is_given_though_nobody_serves_its_lane(store: Store) -> None:
    """Expiry and the delay warning hold while a destination rests, too."""
    queue(store, accepted_at=NOW - 100)
    old = queue(store, to("a@one.example"), to("b@two.example", state=State.HELD), accepted_at=NOW - 101)
    queue(store, to("a@one.example", due_at=NOW + 1), accepted_at=NOW - 5000)
    expired = queue(store, accepted_at=NOW - 1001)
    (one, _) = whole(store, old.id)[1]
    (two,) = whole(store, expired.id)[1]
    assert overdue(store) == [(old.id, (0,)), (expired.id, (0,))]
    assert whole(store, old.id)[1][0] == replace(one, due_at=NOW + 50)
    assert overdue(store) == []
    warned = (replace(one, warned=True),)
    now(store.record(Settlement(old.id, changed=warned)))
    now(store.record(Settlement(expired.id, changed=(replace(two, warned=True),))))
    assert overdue(store) == [(expired.id, (0,))]


def test_overdue_gives_the_recipients_of_a_message_by_lane_and_so_many_messages(store: Store) -> None:
    messages = [
        queue(store, to("a@one.example"), to("b@two.example"), to("c@one.example"), accepted_at=NOW - 2000)
        for _ in range(5)
    ]
    found = []
    for _ in range(10):
        portion = overdue(store, limit=2)
        assert len(portion) in (0, 2, 4)
        found += portion
    assert found == [(message.id, numbers) for message in messages for numbers in ((0, 2), (1,))]


def test_what_is_overdue_is_due_again_when_its_lease_is_over(store: Store) -> None:
    queue(store, accepted_at=NOW - 2000)
    overdue(store)
    assert not lease(store)
    assert now(store.next_due()) == NOW + 50
    assert lease(store, NOW + 50)[0].recipients[0].attempts == 1


# -- results ----------------------------------------------------------------------------------------


def test_a_message_goes_with_its_last_recipient(store: Store) -> None:
    message = queue(store, to("a@one.example"), to("b@two.example"), content=b"x" * 100_000)
    now(store.record(Settlement(message.id, finished=(0,))))
    assert [one.number for one in whole(store, message.id)[1]] == [1]
    assert content_of(store, message.id) == b"x" * 100_000
    now(store.record(Settlement(message.id, finished=(1,))))
    assert now(store.read(message.id)) is None
    assert of_mail(store) == Counts(0, 0, dict.fromkeys(State, 0))
    with pytest.raises(StoreUnavailable):
        now(store.open(message.id).read())


def test_what_changed_is_as_it_was_recorded(store: Store) -> None:
    message = queue(store, to("a@one.example"), to("b@two.example"))
    one, two = whole(store, message.id)[1]
    later = replace(one, lane="other.example", due_at=NOW + 60, attempts=3, note="451 4.7.1 later", warned=True)
    owed = replace(
        two,
        state=State.OWING,
        due_at=NOW + 1,
        final=Final(Action.FAILED, "5.1.1", "550 5.1.1 No such us\u00e9r", "mx [192.0.2.1]", NOW + 0.5),
    )
    now(store.record(Settlement(message.id, changed=(later, owed))))
    assert whole(store, message.id)[1] == (later, owed)


def test_a_deferred_recipient_is_leased_again_from_its_new_lane(store: Store) -> None:
    message = queue(store)
    (leased,) = lease(store)
    now(store.record(Settlement(message.id, changed=(replace(leased.recipients[0], lane="new", due_at=NOW + 60),))))
    assert now(store.next_due()) == NOW + 60
    assert not lease(store, NOW + 59)
    assert lease(store, NOW + 60)[0].recipients[0].lane == "new"


def test_results_for_what_is_gone_are_no_error(store: Store) -> None:
    message = queue(store)
    (one,) = whole(store, message.id)[1]
    now(store.record(Settlement("nonsense", finished=(0,), changed=(one,))))
    now(store.record(Settlement(message.id, finished=(5,), changed=(replace(one, number=9),))))
    assert whole(store, message.id)[1] == (one,)
    now(store.remove(EVERYTHING))
    now(store.record(Settlement(message.id, finished=(0,))))
    now(store.record(Settlement(message.id, changed=(one,))))
    assert store.counts().messages == 0


@pytest.mark.parametrize("size", [100, 200_000])
def test_a_report_enters_with_what_it_reports(store: Store, size: int) -> None:
    """One transaction: from queued to gone a recipient is never in no state."""
    message = queue(store)
    content = b"Subject: undelivered\r\n\r\n" + b"x" * size
    new = NewMessage(Envelope(None), Origin(), b"", content, (to("ann@client.example", due_at=NOW + 1),), NOW)
    ((report, recipients),) = now(store.record(Settlement(message.id, finished=(0,), reports=(new,))))
    assert now(store.read(message.id)) is None
    assert report.content == (content if size == 100 else None)
    assert (report.envelope, report.size, report.accepted_at) == (Envelope(None), len(content), NOW)
    assert whole(store, report.id) == (report, recipients)
    (leased,) = lease(store, NOW + 1)
    assert leased.message == report
    if size > INLINE_LIMIT_OCTETS:
        assert content_of(store, report.id) == content


def test_what_is_owing_is_given_once_it_is_due_whatever_its_lane(store: Store) -> None:
    """The report is made after a crash too, and nobody is tried again for it."""
    message = queue(store, *(to(f"{name}@{name}.example") for name in "abc"))
    final = Final(Action.FAILED, "5.1.1", "550 no", "", NOW)
    one, two, _ = whole(store, message.id)[1]
    owing = tuple(replace(each, state=State.OWING, due_at=NOW + 5, final=final) for each in (one, two))
    now(store.record(Settlement(message.id, changed=owing)))
    assert [one.number for each in lease(store) for one in each.recipients] == [2]
    assert now(store.next_due()) == NOW + 5
    resting = frozenset({"a.example", "b.example"})
    assert now(store.next_due(resting)) == NOW + 5
    (leased,) = now(store.lease(NOW + 5, NOW + 50, 100, resting))
    assert leased.message == message
    assert leased.recipients == tuple(replace(each, due_at=NOW + 50) for each in owing)
    assert not lease(store, NOW + 6)
    assert len(lease(store, NOW + 50)) == 1


def test_a_recipient_may_owe_from_the_beginning(store: Store) -> None:
    final = Final(Action.EXPANDED, "2.1.5", "250 2.1.5 became several", "", NOW)
    message = queue(store, to("a@one.example", state=State.OWING, final=final), to("b@one.example"))
    assert whole(store, message.id)[1][0].final == final
    assert {one.final for each in lease(store) for one in each.recipients} == {final, None}


def test_only_so_many_messages_that_owe_are_given(store: Store) -> None:
    for _ in range(3):
        queue(store, to("a@one.example", state=State.OWING), to("b@two.example", state=State.OWING))
    assert [len(lease(store, limit=2)) for _ in range(3)] == [2, 1, 0]


def test_a_message_that_still_owes_is_not_gone(store: Store) -> None:
    message = queue(store, to("a@one.example"), to("b@one.example", state=State.OWING))
    now(store.record(Settlement(message.id, finished=(0,))))
    assert whole(store, message.id)[1][0].state is State.OWING
    now(store.record(Settlement(message.id, finished=(1,))))
    assert store.counts().messages == 0


# -- when to look again -----------------------------------------------------------------------------


def test_nothing_is_due_in_an_empty_queue(store: Store) -> None:
    assert now(store.next_due()) is None
    assert not lease(store)


def test_when_the_first_of_many_lanes_are_gone_the_next_due_is_the_earliest_of_those_left(store: Store) -> None:
    """Not the last: mail would sleep over its time."""
    for number in range(3):
        lane = f"{number}.example"
        first = queue(store, to(f"a@{lane}", due_at=NOW + number))
        queue(store, to(f"b@{lane}", due_at=NOW + 100 + number), to(f"c@{lane}", due_at=NOW + 200))
        now(store.record(Settlement(first.id, finished=(0,))))
    assert now(store.next_due()) == NOW + 100


def test_next_due_is_the_earliest_of_the_lanes_that_do_not_rest(store: Store) -> None:
    queue(store, to("a@one.example", due_at=NOW + 10), to("b@two.example", due_at=NOW + 20))
    assert now(store.next_due()) == NOW + 10
    assert now(store.next_due(frozenset({"one.example"}))) == NOW + 20
    assert now(store.next_due(frozenset({"one.example", "two.example"}))) is None


def test_next_due_forgets_what_is_finished(store: Store) -> None:
    message = queue(store, to("a@one.example", due_at=NOW + 10))
    other = queue(store, to("b@two.example", due_at=NOW + 20))
    assert now(store.next_due()) == NOW + 10
    now(store.record(Settlement(message.id, finished=(0,))))
    assert now(store.next_due()) == NOW + 20
    now(store.record(Settlement(other.id, finished=(0,))))
    assert now(store.next_due()) is None


def test_what_is_due_already_may_be_any_time_up_to_now(store: Store) -> None:
    for _ in range(3):
        queue(store, to("a@one.example", due_at=NOW - 10))
    lease(store, limit=1)
    due = now(store.next_due())
    assert due is not None
    assert due <= NOW


# -- operators --------------------------------------------------------------------------------------


def test_the_list_is_in_the_order_of_acceptance(store: Store) -> None:
    messages = [
        queue(store, to("a@one.example"), to("b@two.example", due_at=NOW + 9, note="later")) for _ in range(300)
    ]
    rows = all_of(store.list())
    assert [row.message_id for row in rows[::2]] == [message.id for message in messages]
    assert rows[1] == QueueRow(
        message_id=messages[0].id,
        sender="ann@client.example",
        recipient="b@two.example",
        state=State.WAITING,
        lane="two.example",
        accepted_at=NOW,
        due_at=NOW + 9,
        attempts=0,
        size=messages[0].size,
        note="later",
    )
    assert all_of(store.list(after=messages[149].id)) == rows[300:]
    assert all_of(store.list(newest_first=True)) == rows[::-1]
    assert all_of(store.list(after=messages[150].id, newest_first=True)) == rows[299::-1]
    assert all_of(store.list(Selection(recipient="a@one.example"), newest_first=True)) == rows[-2::-2]


SELECTIONS = [
    (Selection(), "abcde"),
    (Selection(sender="ANN@Client.example"), "ab"),
    (Selection(sender="<>"), "cd"),
    (Selection(sender="j\u00fcrgen@b\u00dccher.example"), "e"),
    (Selection(recipient="B@ONE.example"), "b"),
    (Selection(recipient='"d d"@xn--bcher-kva.example'), "d"),
    (Selection(recipient="nobody@one.example"), ""),
    (Selection(lanes=("lane-c",)), "c"),
    (Selection(lanes=("Lane-C",)), ""),
    (Selection(lanes=("lane-c", "nowhere", "one.example")), "abc"),
    (Selection(state=State.HELD), "e"),
    (Selection(state=State.WAITING), "abcd"),
    (Selection(recipient_domain="ONE.example"), "ab"),
    (Selection(recipient_domain=".Example"), "abcde"),
    (Selection(recipient_domain=".ONE.example"), ""),
    (Selection(recipient_domain="b\u00fccher.example"), "de"),
    (Selection(recipient_domain="XN--BCHER-kva.example"), "de"),
    (Selection(sender="<>", recipient_domain="xn--bcher-kva.example"), "d"),
]


@pytest.fixture
def five(store: Store) -> dict[str, str]:
    """Five messages: name -> id."""
    jurgen = Envelope(parse_mailbox("J\u00fcrgen@b\u00fccher.example"))
    return {
        "a": queue(store, to("a@one.example")).id,
        "b": queue(store, to("b@one.example")).id,
        "c": queue(store, to("c@three.example", "lane-c"), envelope=Envelope(None)).id,
        "d": queue(store, to('"D d"@b\u00fccher.example'), envelope=Envelope(None)).id,
        "e": queue(store, to("e@B\u00fccher.example", state=State.HELD), envelope=jurgen).id,
    }


@pytest.mark.parametrize(("selection", "wanted"), SELECTIONS)
def test_a_selection_means_what_it_says(store: Store, five: dict[str, str], selection: Selection, wanted: str) -> None:
    """Without case, domains in A-labels, all conditions together."""
    assert [row.message_id for row in all_of(store.list(selection))] == [five[name] for name in wanted]
    assert now(store.remove(selection)) == len(wanted)
    assert [row.message_id for row in all_of(store.list())] == [five[name] for name in five if name not in wanted]


def test_lanes_are_found_whatever_the_state_of_who_is_in_them(
    store: Store, five: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In portions, here of two recipients."""
    monkeypatch.setattr("relay.queue.listing.WINDOW", 2)
    queue(store, to("f@one.example", "lane-f", state=State.OWING), to("g@one.example", "lane-g", state=State.HELD))
    assert now(store.lanes_that(lambda lane: lane.startswith("lane-"))) == {"lane-c", "lane-f", "lane-g"}
    assert now(store.lanes_that("one.example".__eq__)) == {"one.example"}
    assert now(store.lanes_that("nowhere".__eq__)) == frozenset()


def test_a_selection_by_ids(store: Store, five: dict[str, str]) -> None:
    selection = Selection(ids=(five["d"], five["b"], "nonsense", "000000000000"))
    assert [row.message_id for row in all_of(store.list(selection))] == [five["b"], five["d"]]


def test_a_message_that_is_not_there_is_read_as_none(store: Store) -> None:
    assert now(store.read("nonsense")) is None
    assert now(store.read("")) is None


def test_what_is_held_stays_until_it_is_released(store: Store) -> None:
    message = queue(store, to("a@one.example"), to("b@two.example", state=State.OWING), to("c@three.example"))
    assert now(store.hold(Selection(lanes=("one.example",)), "looks odd")) == 1
    assert now(store.hold(Selection(lanes=("two.example",)), "owing is not held")) == 0
    held = whole(store, message.id)[1][0]
    assert (held.state, held.note) == (State.HELD, "looks odd")
    assert [one.number for each in lease(store) for one in each.recipients] == [1, 2]
    assert now(store.release(EVERYTHING, NOW + 7)) == 1
    assert now(store.next_due()) == NOW + 7
    assert [one.number for each in lease(store, NOW + 7) for one in each.recipients] == [0]


def test_a_hold_outlives_an_attempt_that_was_under_way(store: Store) -> None:
    message = queue(store, to("a@one.example"), to("b@one.example"))
    (leased,) = lease(store)
    assert now(store.hold(EVERYTHING, "stop")) == 2
    later = tuple(replace(one, due_at=NOW + 60, note="451 later") for one in leased.recipients)
    now(store.record(Settlement(message.id, changed=later)))
    assert [(one.state, one.note) for one in whole(store, message.id)[1]] == [(State.HELD, "stop")] * 2
    now(store.record(Settlement(message.id, finished=(0,))))
    assert [one.number for one in whole(store, message.id)[1]] == [1]


def test_retry_makes_due_what_waits(store: Store) -> None:
    queue(store, to("a@one.example", due_at=NOW + 500), to("b@two.example", due_at=NOW + 500, state=State.HELD))
    assert now(store.retry(EVERYTHING, NOW)) == 1
    due = now(store.next_due())
    assert due is not None
    assert due <= NOW
    assert [one.number for each in lease(store) for one in each.recipients] == [0]


def test_retry_leaves_alone_what_is_being_tried(store: Store) -> None:
    """Else it would be delivered twice."""
    queue(store)
    queue(store, to("b@one.example", due_at=LEASE_END, attempts=1))
    lease(store)
    assert now(store.retry(EVERYTHING, NOW + 1)) == 0
    assert not lease(store, NOW + 1)


def test_removed_is_gone(store: Store) -> None:
    message = queue(store, to("a@one.example"), to("b@two.example", state=State.HELD), content=b"x" * 100_000)
    assert now(store.remove(Selection(lanes=("one.example",)))) == 1
    assert [one.number for one in whole(store, message.id)[1]] == [1]
    assert now(store.remove(EVERYTHING)) == 1
    assert now(store.read(message.id)) is None
    assert of_mail(store) == Counts(0, 0, dict.fromkeys(State, 0))


def test_operators_change_thousands(store: Store) -> None:
    for _ in range(3):
        queue(store, *(to(f"u{number}@one.example", due_at=NOW + 9) for number in range(1000)))
    assert now(store.hold(EVERYTHING, "all")) == 3000
    assert now(store.release(EVERYTHING, NOW)) == 3000
    assert now(store.retry(EVERYTHING, NOW)) == 3000
    assert now(store.remove(EVERYTHING)) == 3000


def test_the_counts_follow_every_change(store: Store) -> None:
    assert of_mail(store) == Counts(0, 0, dict.fromkeys(State, 0))
    first = queue(store, to("a@one.example"), to("b@two.example", state=State.HELD), accepted_at=NOW - 50)
    second = queue(store, to("c@three.example"), to("d@one.example", state=State.OWING))

    def counted(messages: int, waiting: int, held: int, owing: int, oldest_at: float) -> Counts:
        states = {State.WAITING: waiting, State.HELD: held, State.OWING: owing}
        return Counts(messages, messages * first.size, states, oldest_at)

    assert of_mail(store) == counted(2, 2, 1, 1, NOW - 50)
    lease(store, limit=1, lane="one.example")
    assert of_mail(store) == counted(2, 2, 1, 1, NOW - 50)
    now(store.hold(Selection(lanes=("three.example",)), "x"))
    assert of_mail(store) == counted(2, 1, 2, 1, NOW - 50)
    now(store.release(EVERYTHING, NOW))
    assert of_mail(store) == counted(2, 3, 0, 1, NOW - 50)
    one, _ = whole(store, first.id)[1]
    now(store.record(Settlement(first.id, finished=(1,), changed=(replace(one, state=State.OWING),))))
    assert of_mail(store) == counted(2, 1, 0, 2, NOW - 50)
    now(store.record(Settlement(first.id, finished=(0,))))
    assert of_mail(store) == counted(1, 1, 0, 1, NOW)
    now(store.remove(Selection(ids=(second.id,))))
    assert of_mail(store) == Counts(0, 0, dict.fromkeys(State, 0))


def test_the_largest_lanes(store: Store) -> None:
    queue(store, to("a@one.example"), to("b@one.example"), to("c@two.example"))
    queue(store, to("d@three.example", state=State.HELD), to("e@four.example", state=State.OWING))
    assert list(now(store.lanes()).items()) == [("one.example", 2), ("two.example", 1)]
    assert now(store.lanes(1)) == {"one.example": 2}


def test_how_many_are_left_of_each_age(store: Store, clock: Clock) -> None:
    """By the time when the message began, which in real life is that of its acceptance."""
    began = clock.seconds()
    queue(store, to("a@one.example"), to("b@one.example", state=State.HELD), accepted_at=began)
    clock.advance(100)
    queue(store, to("c@one.example"), accepted_at=began + 100)
    spans = [(0, began), (began, began + 100), (began + 100, began + 1e6)]
    assert list(now(store.ages(spans, 10))) == [0, 2, 1]
    assert list(now(store.ages(spans, 1))) == [0, 1, 1]
    assert list(now(store.ages([], 1))) == []


# -- the end ----------------------------------------------------------------------------------------


def test_a_closed_store_takes_nothing(store: Store) -> None:
    message = queue(store)
    now(store.close())
    with pytest.raises(StoreUnavailable):
        store.begin()
    asked: list[Callable[[], Deferred[Any]]] = [
        lambda: store.lease(NOW, LEASE_END, 1),
        lambda: store.record(Settlement(message.id, finished=(0,))),
        lambda: store.next_due(),
        lambda: store.read(message.id),
        lambda: store.hold(EVERYTHING, "x"),
        lambda: store.lanes(),
        lambda: store.ages([(0, NOW)], 1),
    ]
    for ask in asked:
        with pytest.raises(StoreUnavailable):
            now(ask())
    now(store.close())
