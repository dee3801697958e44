"""An explanation, drawn for people: what was decided on the left, what it is about beside it; below, the rule with its
place, the words of the wire, and under a refusal what would let it pass.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from relay.message.reply import printable
from relay.operate.cli import finding_texts
from relay.operate.cli.finding_texts import Row

Style = Mapping[str, Any]
Line = tuple[str, Style]
"""A text, and how click styles it."""

PLAIN: Style = {}
DIM: Style = {"dim": True}
ADVICE: Style = {"fg": "yellow"}
WORDS: Mapping[str, Line] = {
    "accepted": ("ok", {"fg": "green"}),
    "refused": ("refused", {"fg": "red", "bold": True}),
    "temporary": ("not now", {"fg": "yellow", "bold": True}),
    "told": ("", PLAIN),
}
HEADS = {"in": "The way in", "out": "The way out", "probe": "Asked in truth", "queue": "In the queue"}
WHERE = {
    "connection": "the connection of",
    "hello": "the greeting of",
    "tls": "TLS for",
    "login": "the login of",
    "sender": "the sender",
    "recipient": "the recipient",
    "content": "the content",
    "route": "the way of",
    "way": "the next host, for",
}
"""Of a verdict: at which finding, and of whom."""
LEFT = " " * 24


class Drawing:
    """Draws one finding after the other."""

    def __init__(self) -> None:
        self._part = ""

    def draw(self, row: Row) -> None:
        """Writes it, in colours where the reader is a terminal."""
        if row["part"] != self._part:
            if self._part:
                click.echo()
            self._part = row["part"]
            if self._part in HEADS:
                click.secho(HEADS[self._part], bold=True)
        for text, style in lines_of(row, time.time()):
            click.secho(printable(text), **style)


def lines_of(row: Row, now: float) -> Iterator[Line]:
    """The lines of one finding; now in seconds since the epoch."""
    if row["what"] == "verdict":
        yield from _verdict(row)
        return
    word, style = WORDS[row["decision"]]
    text, *more = finding_texts.of(row, now)
    yield f"  {row['what']:<13}{word:<9}{text}".rstrip(), style
    yield from ((LEFT + one, PLAIN) for one in more)
    if row["rule"] or row["place"]:
        yield LEFT + finding_texts.rule_of(row), DIM
    if row["reply"] and row["what"] != "hello":  # what EHLO lists is told above in words
        yield LEFT + row["reply"], DIM
    if row["remedy"]:
        yield f"{LEFT}-> {row['remedy']}", ADVICE


def _verdict(row: Row) -> Iterator[Line]:
    _, style = WORDS[row["decision"]]
    if row["decision"] == "accepted":
        yield "It has a way." if row["details"]["is_queued"] else "It would be taken, and has a way.", style
        return
    where = f"{WHERE[row['details']['at']]} {row['about']}".rstrip()
    yield f"It would be {'refused' if row['decision'] == 'refused' else 'put off'}: {where}", style
    if row["remedy"]:
        yield f"-> {row['remedy']}", ADVICE
