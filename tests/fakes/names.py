"""A DNS in memory: answers at once, after a delay of a fake clock, or when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from relay.route.names import Answer, Found, Kind, Missing, Mx, Trouble


class FakeNames:
    """Fits ``relay.route.names.Names``.  What nobody told it does not exist.

    delay_s  how long an answer takes by the clock; 0 is at once
    """

    def __init__(self, clock: IReactorTime, delay_s: float = 0.0) -> None:
        self.asked: list[tuple[str, str]] = []
        self.delay_s = delay_s
        self.held: list[Callable[[], None]] | None = None
        self._clock = clock
        self._signed: list[str] = []
        self._answers: dict[tuple[str, str], Any] = {}
        self._broken: dict[tuple[str, str], str] = {}
        self._remembered: dict[tuple[str, str], Answer[Any]] = {}

    def mx(self, name: str, *hosts: tuple[int, str], ttl: float = 300.0) -> None:
        self._say(name, "MX", tuple(Mx(*host) for host in hosts), ttl)

    def a(self, name: str, *addresses: str, ttl: float = 300.0) -> None:
        self._say(name, "A", addresses, ttl)

    def aaaa(self, name: str, *addresses: str, ttl: float = 300.0) -> None:
        self._say(name, "AAAA", addresses, ttl)

    def ptr(self, reverse_pointer: str, *names: str, ttl: float = 300.0) -> None:
        self._say(reverse_pointer, "PTR", names, ttl)

    def add(self, name: str, kind: Kind[Any], *values: Any, ttl: float = 300.0) -> None:
        """Records of any type."""
        self._say(name, kind.name, values, ttl)

    def sign(self, *names: str) -> None:
        """Answers for these names, and for all below them, are secure."""
        self._signed += names
        self._remembered.clear()

    def cname(self, name: str, target: str) -> None:
        """What is asked of the name is answered with what the target has."""
        self._say(name, "CNAME", (target,), 300.0)

    def trouble(self, name: str, kind: str, why: str = "time-out") -> None:
        self._answers[name, kind] = lambda: Trouble(why, self._clock.seconds() + 15)
        self._remembered.clear()

    def break_off(self, name: str, kind: str, why: str = "time-out") -> None:
        """Nobody answers this question; what else is known of the name stays, an alias too."""
        self._broken[name, kind] = why
        self._remembered.clear()

    def remove(self, name: str) -> None:
        """From now on the name does not exist."""
        for key in [key for key in self._answers if key[0] == name]:
            del self._answers[key]
        self._remembered.clear()

    def hold(self) -> None:
        """Answer nothing until ``let_go``."""
        self.held = []

    def let_go(self) -> None:
        held, self.held = self.held or [], None
        for answer in held:
            answer()

    def _say(self, name: str, kind: str, values: tuple[Any, ...], ttl: float) -> None:
        self._answers[name, kind] = lambda: Found(values, self._clock.seconds() + ttl, self._is_signed(name))
        self._remembered.clear()

    def _is_signed(self, name: str) -> bool:
        return any(name == one or name.endswith("." + one) for one in self._signed)

    # -- names.Names -------------------------------------------------------------------------

    def known(self, name: str, kind: Kind[Any], *, search: bool = False) -> Answer[Any] | None:
        answer = self._remembered.get((name, kind.name))
        return answer if answer is not None and answer.expires_at > self._clock.seconds() else None

    def ask(self, name: str, kind: Kind[Any], *, search: bool = False) -> defer.Deferred[Answer[Any]]:
        known = self.known(name, kind)
        if known is not None:
            return defer.succeed(known)
        self.asked.append((name, kind.name))
        asked: defer.Deferred[Answer[Any]] = defer.Deferred()
        why = self._broken.get((name, kind.name))

        def answer() -> None:
            if not asked.called and why is not None:
                asked.callback(Trouble(why, self._clock.seconds() + 15))
            elif not asked.called:
                asked.callback(self._answer(name, kind.name))

        if self.held is not None:
            self.held.append(answer)
        elif self.delay_s:
            self._clock.callLater(self.delay_s, answer)
        else:
            answer()
        return asked

    def _answer(self, name: str, kind: str) -> Answer[Any]:
        make = self._answers.get((name, kind))
        exists = any(one == name for one, _ in self._answers)
        alias = self._answers.get((name, "CNAME"))
        if make is None and alias is not None:
            target = alias().values[0]
            answer = self._answer(target, kind)
            if isinstance(answer, Found):
                secure = answer.secure and self._is_signed(name)
                answer = replace(answer, canonical=answer.canonical or target, secure=secure)
        elif make is None:
            answer = Missing(exists, self._clock.seconds() + 60, self._is_signed(name))
        else:
            answer = make()
        self._remembered[name, kind] = answer
        return answer
