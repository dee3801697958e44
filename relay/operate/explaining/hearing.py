"""The DNS as it was asked for one explanation: who asks goes on to the real one, and the answers are written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from relay.operate.explaining.finding import Finding
from relay.route.names import Answer, Found, Kind, Missing, Mx, Names, T_co


class Heard:
    """Fits relay.route.names.Names.

    answers  (name, kind) -> the answer, in the order of the questions
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self.answers: dict[tuple[str, str], Answer[Any]] = {}

    def ask(self, name: str, kind: Kind[T_co], *, search: bool = False) -> Deferred[Answer[T_co]]:
        return self._names.ask(name, kind, search=search).addCallback(self._hear, name, kind)

    def known(self, name: str, kind: Kind[T_co], *, search: bool = False) -> Answer[T_co] | None:
        known = self._names.known(name, kind, search=search)
        return None if known is None else self._hear(known, name, kind)

    def _hear(self, answer: Answer[T_co], name: str, kind: Kind[T_co]) -> Answer[T_co]:
        self.answers[name, kind.name] = answer
        return answer

    def findings(self, now: float) -> Iterator[Finding]:
        """A finding for each answer not yet told of."""
        answers, self.answers = self.answers, {}
        for (name, kind), answer in answers.items():
            yield Finding("out", "dns", name, details={"kind": kind, **_told(answer, now)})


def _told(answer: Answer[Any], now: float) -> Mapping[str, object]:
    """``answer``: found, no records, no such name, or no answer."""
    left_s = max(0, round(answer.expires_at - now))
    if isinstance(answer, Found):
        records = [_record(value) for value in answer.values]
        return {
            "answer": "found",
            "records": records,
            "secure": answer.secure,
            "canonical": answer.canonical,
            "ttl_s": left_s,
        }
    if isinstance(answer, Missing):
        answered = "no records" if answer.name_exists else "no such name"
        return {"answer": answered, "records": [], "secure": answer.secure, "ttl_s": left_s}
    return {"answer": "no answer", "records": [], "secure": False, "why": answer.why, "ttl_s": left_s}


def _record(value: object) -> str:
    return f"{value.preference} {value.host or '.'}" if isinstance(value, Mx) else str(value)
