"""What a configuration makes of one recipient of an envelope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from relay.operate.explaining.finding import Decision

End = Literal["", "discarded", "rejected"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where mail goes.

    address  after forwarding
    lane     equal lane, equal way
    via      the way in words: ``smtp://mail.example:587, tls: verify``; ``mx:`` is by the MX records of its own domain
    rule     that of the route, with its place
    hold     it is held when it comes
    ends     the route leads nowhere
    """

    address: str
    lane: str
    via: str
    rule: str
    place: str
    hold: bool = False
    ends: End = ""


@dataclass(frozen=True, slots=True)
class Fate:
    """
    decision     accepted, refused (5yz) or temporary (4yz)
    stage        what decided: listener, connection, hello, tls, login, sender or recipient
    rule, place  of that
    targets      where it goes; none unless it is accepted
    """

    decision: Decision
    stage: str
    reply: str
    rule: str
    place: str
    targets: tuple[Target, ...] = ()


NO_FATE = Fate("told", "", "", "", "")
