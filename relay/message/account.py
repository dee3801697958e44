"""The account of one attempt: which way it went, and what was said, host after host.

It is kept cheaply, and put into words only when somebody asks: the sessions note what they send and hear anyway,
and an Account holds references to those notes.  Content is never in it, and no secret: sessions note a stand-in for
every line with credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from relay.message.outcome import Outcome
from relay.message.reply import Reply, printable

_BETWEEN: Final = b"\x7f"
_TIME: Final = re.compile(r"-?\d+")
_REPLY: Final = re.compile(r"\d{3}[ -]")

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
            for after_s, line in lines_in(transcript(notes, self.began_at).decode("utf-8", "replace")):
                yield self.began_at + after_s, hop, line


class Tried(NamedTuple):
    """What came of an attempt.

    outcomes  one for each recipient, in their order
    accounts  how it went, with the places of the recipients that it is about; several where their ways have parted.
              No recipient is in two of them, and one that never got as far is in none.
    """

    outcomes: Sequence[Outcome]
    accounts: Sequence[tuple[Account, Sequence[int]]] = ()


def transcript(notes: Notes, began_at: float) -> bytes:
    """Notes as they are kept: what stood on the wire, each turn after the milliseconds since then, where these have
    changed; between them an octet that is in no line of SMTP.  A remark begins with ``* ``."""
    pieces = []
    noted_at = None
    for at, said in notes:
        if at is not noted_at:  # the same object for all that came at once
            pieces.append(b"%d" % ((at - began_at) * 1000 + 0.5))
            noted_at = at
        if type(said) is bytes:
            pieces.append(said)
        elif isinstance(said, Reply):
            pieces.append(said.wire)
        else:
            pieces.append(f"* {printable(str(said))}".encode("utf-8", "replace"))
    return _BETWEEN.join(pieces)


def lines_in(transcript: str) -> Iterator[tuple[float, str]]:
    """(seconds since the attempt began, text) of each line: ``> `` what we said, ``< `` what they said, ``* `` a
    remark; fit to be shown."""
    after_s = 0.0
    for piece in transcript.split(_BETWEEN.decode()):
        if _TIME.fullmatch(piece):
            after_s = int(piece) / 1000
            continue
        kind = "< " if _REPLY.match(piece) else "" if piece.startswith("* ") else "> "
        for line in piece.split("\r\n"):
            if line:
                yield after_s, kind + printable(line)
