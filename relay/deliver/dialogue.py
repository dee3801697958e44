"""What was said in one attempt, kept cheaply and put into words only when somebody asks.

The sessions note what they send and hear anyway; a Dialogue holds references to those notes.  Content is never
in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relay.message.reply import Reply, printable

Notes = Sequence[tuple[float, "bytes | Reply | str"]]


class Dialogue:
    """The dialogues of one attempt with one host after the other.

    parts  (whom we talked to, what was said); what was said: (when, in seconds since the epoch; our octets, their
           Reply, or a remark)
    """

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[tuple[str, Notes]] = []

    def add(self, hop: str, notes: Notes) -> None:
        self.parts.append((hop, notes))

    def remark(self, at: float, hop: str, why: str) -> None:
        """Why there was nothing to be said."""
        self.parts.append((hop, [(at, why)]))

    def lines(self) -> Iterator[tuple[float, str, str]]:
        """(when, hop, text) of each line: ``> `` what we said, ``< `` what they said, ``* `` a remark."""
        for hop, notes in self.parts:
            for at, said in notes:
                if isinstance(said, Reply):
                    for line in said.lines:
                        yield at, hop, f"< {said.code} {said.enhanced} {line}".replace("  ", " ").rstrip()
                elif isinstance(said, str):
                    yield at, hop, f"* {said}"
                else:
                    for command in said.decode("utf-8", "replace").split("\r\n"):
                        if command:
                            yield at, hop, "> " + printable(command)
