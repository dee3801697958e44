"""The account of one attempt: which way it went, and what was said, host after host.

It is kept cheaply, and put into words only when somebody asks: the sessions note what they send and hear anyway,
and an Account holds references to those notes.  Content is never in it, and no secret: sessions note a stand-in for
every line with credentials.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from relay.message.outcome import Outcome
from relay.message.reply import Reply, printable

Notes = Sequence[tuple[float, "bytes | Reply | str"]]
"""What was said: (when, in seconds since the epoch; our octets, their Reply, or a remark)."""

Part = tuple[str, str, Notes]
"""Whom we talked to; within which TLS, empty where there was none; what was said."""


class Account:
    """How it went.

    began_at  seconds since the epoch
    rule      what decided the way: ``routes[2], relay.yaml:31``
    parts     one for each session, and for each transaction in it
    """

    __slots__ = ("began_at", "parts", "rule")

    def __init__(self, began_at: float, rule: str = "") -> None:
        self.began_at = began_at
        self.rule = rule
        self.parts: list[Part] = []

    def add(self, hop: str, tls: str, notes: Notes) -> None:
        self.parts.append((hop, tls, notes))

    def remark(self, at: float, hop: str, why: str) -> None:
        """Why there was nothing to be said."""
        self.parts.append((hop, "", [(at, why)]))

    def lines(self) -> Iterator[tuple[float, str, str]]:
        """(when, hop, text) of each line: ``> `` what we said, ``< `` what they said, ``* `` a remark."""
        for hop, _, notes in self.parts:
            for at, said in notes:
                for line in lines_of(words_of(said)):
                    yield at, hop, line


class Tried(NamedTuple):
    """What came of an attempt.

    outcomes  one for each recipient, in their order
    accounts  how it went, with the places of the recipients that it is about; several where their ways have parted.
              No recipient is in two of them, and one that never got as far is in none.
    """

    outcomes: Sequence[Outcome]
    accounts: Sequence[tuple[Account, Sequence[int]]] = ()


def words_of(said: bytes | Reply | str) -> str:
    """A note as one text: what it is, and the lines of it."""
    if isinstance(said, bytes):
        return ">" + said.decode("utf-8", "replace").removesuffix("\r\n")
    if isinstance(said, Reply):
        enhanced = f"{said.enhanced} " if said.enhanced else ""
        if len(said.lines) == 1:
            return f"<{said.code} {enhanced}{said.lines[0]}"
        *lines, last = [enhanced + line for line in said.lines]
        return "<" + "\n".join([f"{said.code}-{line}" for line in lines] + [f"{said.code} {last}"])
    return "*" + said


def lines_of(words: str) -> Iterator[str]:
    """The lines of such a text, each with what it is, fit to be shown."""
    kind = words[:1]
    for line in words[1:].replace("\r\n", "\n").split("\n"):
        if line:
            yield f"{kind} {printable(line.rstrip())}"
