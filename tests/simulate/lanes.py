"""The laws of destinations: none gets more attempts at once than its window, none is tried while it rests, and one that
is being probed gets one attempt.

Each shard has its own scheduler, and so its own windows and rests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relay.message.outcome import Deferred, Delivered, Failed, Outcome
from relay.schedule.destination import WISHED

Name = tuple[int, str]
"""(shard, lane)."""


@dataclass(slots=True)
class Lane:
    """What is known of one destination in this life of its shard."""

    in_flight: int = 0
    resting_until: float = 0.0
    wished_until: float = 0.0
    on_probation: bool = False
    probes: int = 0
    used_at: float = 0.0


class Lanes:
    """See the module.

    forgotten_after_s  what was not used for so long is forgotten, its troubles too
    """

    def __init__(self, seconds: Callable[[], float], violated: Callable[[str], None], forgotten_after_s: float) -> None:
        self._seconds = seconds
        self._violated = violated
        self._forgotten_after_s = forgotten_after_s
        self._lanes: dict[Name, Lane] = {}

    def attempt_begins(self, name: Name, window: int) -> None:
        now = self._seconds()
        lane = self._lanes.setdefault(name, Lane())
        lane.in_flight += 1
        if now > lane.used_at + self._forgotten_after_s:
            lane.on_probation = False
        lane.used_at = now
        if now < lane.resting_until - 0.001:
            self._violated(f"{name[1]} was tried while it rests until {lane.resting_until:.3f}")
        if now < lane.wished_until - 0.001:
            self._violated(f"{name[1]} was tried, and an operator wishes it to rest until {lane.wished_until:.3f}")
        if lane.in_flight > window:
            self._violated(f"{lane.in_flight} attempts at once to {name[1]}, whose window is {window}")
        if lane.on_probation:
            lane.probes += 1
            if lane.probes > 1:
                self._violated(f"{name[1]} is being probed, and gets more than one attempt")

    def attempt_ended(self, name: Name, outcomes: Sequence[Outcome]) -> None:
        lane = self._lanes.setdefault(name, Lane())
        lane.in_flight -= 1
        lane.used_at = self._seconds()
        lane.probes = max(0, lane.probes - 1)
        if any(map(_is_answer, outcomes)):  # the host is there after all: its rest or probation is over
            lane.resting_until = 0.0
            lane.on_probation = False

    def told(self, shard: int, step: str, fields: dict[str, Any]) -> None:
        """A step of a shard's scheduler: "rested" or "woken"."""
        lane = self._lanes.setdefault((shard, fields["destination"]), Lane())
        if step == "rested":
            lane.resting_until = fields["next_at"]
            lane.on_probation = True
            lane.probes = 0
            if fields["error"] == WISHED:
                lane.wished_until = lane.resting_until
            return
        lane.used_at = self._seconds()
        if lane.used_at < lane.resting_until - 0.001:
            self._violated(f"the rest of {fields['destination']} ended before its time")

    def forgiven(self, shard: int, name: str | None) -> None:
        """The rest of this destination is over, or all rests are: the operator says so."""
        for (of, lane_name), lane in self._lanes.items():
            if of == shard and name in (None, lane_name):
                lane.resting_until = lane.wished_until = 0.0
                lane.on_probation = False

    def begun_anew(self, shard: int) -> None:
        """The routes are new: all rests are over but those that the operator wishes."""
        for (of, _), lane in self._lanes.items():
            if of == shard and self._seconds() >= lane.wished_until:
                lane.resting_until = 0.0
                lane.on_probation = False

    def shard_ended(self, shard: int) -> None:
        """What was known of destinations is forgotten with its life."""
        self._lanes = {name: lane for name, lane in self._lanes.items() if name[0] != shard}


def _is_answer(outcome: Outcome) -> bool:
    """Whether the destination has spoken, if only to refuse."""
    if isinstance(outcome, Deferred):
        return bool(outcome.hop) and not outcome.whole_destination
    return isinstance(outcome, Delivered | Failed)
