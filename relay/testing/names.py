"""The DNS of the simulated world: slow, broken now and then, and not always of the same mind."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed

from relay.route.names import Answer, Found, Kind, Missing, Mx, Trouble
from relay.testing.clock import LifeClock


class Zone:
    """What there is in the DNS, whoever asks.

    mx         domain -> its mail hosts, as (preference, host)
    addresses  host -> its addresses
    """

    def __init__(self) -> None:
        self.mx: dict[str, list[tuple[int, str]]] = {}
        self.addresses: dict[str, list[str]] = {}

    def exists(self, name: str) -> bool:
        return name in self.mx or name in self.addresses


class SeededNames:
    """The resolver of one life of the relay: asks the zone, through weather of its own.

    mood  what befalls a question for a name: "fine", "slow", "servfail", "timeout"
    """

    def __init__(self, clock: LifeClock, chance: Random, zone: Zone, mood: Callable[[str], str]) -> None:
        self._clock = clock
        self._chance = chance
        self._zone = zone
        self._mood = mood
        self._remembered: dict[tuple[str, str], Answer[Any]] = {}

    def known(self, name: str, kind: Kind[Any], *, search: bool = False) -> Answer[Any] | None:
        answer = self._remembered.get((name, kind.name))
        return answer if answer is not None and answer.expires_at > self._clock.seconds() else None

    def ask(self, name: str, kind: Kind[Any], *, search: bool = False) -> Deferred[Answer[Any]]:
        known = self.known(name, kind)
        if known is not None:
            return succeed(known)
        asked: Deferred[Answer[Any]] = Deferred()
        mood = self._mood(name)
        wait_s = {"fine": 0.02, "slow": 8.0, "servfail": 1.0, "timeout": 10.0}[mood] * self._chance.random()
        self._clock.callLater(wait_s, self._answer, asked, name, kind.name, mood)
        return asked

    def _answer(self, asked: Deferred[Answer[Any]], name: str, kind: str, mood: str) -> None:
        now = self._clock.seconds()
        answer: Answer[Any]
        if mood in ("servfail", "timeout"):
            answer = Trouble("SERVFAIL from 192.0.2.53" if mood == "servfail" else "time-out", now + 15)
        else:
            values = self._values(name, kind)
            expires_at = now + self._chance.choice((30.0, 300.0, 3600.0))
            answer = Found(values, expires_at) if values else Missing(self._zone.exists(name), expires_at)
        self._remembered[name, kind] = answer
        if not asked.called:
            asked.callback(answer)

    def _values(self, name: str, kind: str) -> tuple[Any, ...]:
        if kind == "MX":
            return tuple(Mx(*one) for one in self._zone.mx.get(name, ()))
        wanted = self._zone.addresses.get(name, ()) if kind in ("A", "AAAA") else ()
        return tuple(address for address in wanted if (":" in address) is (kind == "AAAA"))
