"""Whose turn comes when, as an operator asks for it."""

from __future__ import annotations

from tests.schedule.house import HANG, House, settings


def sent(house: House, to: str) -> str:
    """The id of a message that is queued now."""
    ids: list[str] = []
    house.send(to).addCallback(lambda message: ids.append(message.id))
    return ids[0]


def test_what_is_tried_has_place_0_and_the_others_wait_behind_one_another() -> None:
    house = House(settings(active=40))
    house.answers["slow.example"] = HANG
    ids = [sent(house, f"u{number}@slow.example") for number in range(8)]
    tried = {one.message.id for one in house.deliverer.hanging}
    waiting = [one for one in ids if one not in tried]
    assert [house.runner.turns(one) for one in ids if one in tried] == [{0: 0}] * len(tried)
    assert [house.runner.turns(one) for one in waiting] == [{0: place} for place in range(1, len(waiting) + 1)]
    assert waiting and tried


def test_what_is_not_in_hand_has_no_turn() -> None:
    house = House()
    assert house.runner.turns(sent(house, "bob@alive.example")) == {}
    assert house.runner.turns("nothing") == {}
