"""Whose message is next, and what rests."""

from __future__ import annotations

from relay.receive.maildrop.looking import Waiting
from relay.receive.maildrop.turns import FIRST_REST_S, LONGEST_REST_S, RESTING_LIMIT, Rests, in_turn


def waiting(name: str, uid: int = 1000, since: float = 0.0) -> Waiting:
    return Waiting(since, name, 1, uid)


def test_a_flood_of_one_user_keeps_nobody_elses_one_message_waiting() -> None:
    flood = [waiting(f"flood{n}", 1, n) for n in range(50)]
    late = [waiting("ann", 2, 100.0), waiting("bob", 3, 99.0), waiting("bob's second", 3, 101.0)]
    assert [one.name for one in in_turn([*flood, *late])][:6] == [
        "flood0",
        "bob",
        "ann",
        "flood1",
        "bob's second",
        "flood2",
    ]


def test_what_failed_rests_and_each_time_longer() -> None:
    rests, one, now = Rests(), waiting("one"), 0.0
    slept = []
    for _ in range(8):
        rests.begin(one, None, now)
        at = rests.next_at(now)
        assert at is not None and rests.is_resting("one", at - 1) and not rests.is_resting("one", at)
        slept.append(at - now)
        now = at
    assert slept[0] == FIRST_REST_S and slept[-1] == LONGEST_REST_S and slept == sorted(slept)


def test_who_has_had_it_is_remembered_while_it_rests() -> None:
    rests, one = Rests(), waiting("one")
    assert rests.left_of("one") is None
    rests.begin(one, (2, 5), 0.0)
    assert rests.left_of("one") == (2, 5)
    rests.end("one")
    assert rests.left_of("one") is None and rests.next_at(0.0) is None


def test_so_many_of_one_user_rest_and_the_others_are_not_looked_at_meanwhile() -> None:
    """Or whoever leaves a million messages for an address in trouble fills our memory."""
    rests = Rests()
    for n in range(RESTING_LIMIT):
        assert rests.may_come(waiting(f"a{n}", 1))
        rests.begin(waiting(f"a{n}", 1), None, 0.0)
    assert not rests.may_come(waiting("one more", 1))
    assert rests.may_come(waiting("a0", 1)) and rests.may_come(waiting("of another", 2))
    rests.end("a5")
    assert rests.may_come(waiting("one more", 1))


def test_what_its_owner_took_away_is_forgotten_when_its_rest_is_over() -> None:
    rests = Rests()
    rests.begin(waiting("gone"), None, 0.0)
    rests.begin(waiting("there"), None, 0.0)
    rests.only({"there"}, FIRST_REST_S - 1)
    assert rests.resting(FIRST_REST_S - 1) == {"gone", "there"}
    rests.only({"there"}, FIRST_REST_S)
    rests.begin(waiting("there"), None, FIRST_REST_S)
    assert rests.resting(FIRST_REST_S) == {"there"}
    assert rests.left_of("gone") is None and rests.may_come(waiting("gone"))
