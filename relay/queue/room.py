"""Which of the bodies under way go on when the disk is nearly full: the eldest, and the youngest give way to them.

A hundred bodies that fill the last of the disk together would all fail together, each when it is half there, and so
would the hundred that their clients send next: nothing would pass.  So a body that finds no room waits, and the
youngest of all is given up (452, its client comes back); what that sets free is for the eldest that waits.  One is
given up at a time, and each octet goes to a body that may come to its end.

What small messages, results and reports need is left alone (``LEAVE_FREE_OCTETS``): they are in the database.

Nothing here touches the disk; the drafts say what they find.
"""

from __future__ import annotations

from typing import Final, Protocol

LEAVE_FREE_OCTETS: Final = 8 << 20
"""Left for the database by large bodies, and by whoever says beforehand how large a message will be (RFC 1870)."""


class NoRoom(Exception):
    """Less would be left free than is to be, and nothing was written."""


class Occupant(Protocol):
    """A body under way, as the room sees it."""

    @property
    def may_give_way(self) -> bool:
        """Not so when it is about to be whole."""
        ...

    def give_way(self) -> None:
        """Is given up, and says ``left`` when what it took is free."""
        ...

    def go_on(self) -> None:
        """Tries again."""
        ...


class Room:
    """The bodies under way that have something on the disk, the eldest first."""

    def __init__(self, leave_free_octets: int) -> None:
        self.leave_free_octets = leave_free_octets
        self._inside: dict[Occupant, None] = {}
        self._waiting: set[Occupant] = set()
        self._leaving: Occupant | None = None

    def enter(self, one: Occupant) -> None:
        """Is about to write; said before each piece."""
        self._inside.setdefault(one)

    def had_its_turn(self) -> None:
        """One has written a piece, or failed to: perhaps the next finds room too."""
        if self._waiting:
            self._let_go_on()

    def found_none(self, one: Occupant) -> None:
        """Waits from now on, unless it is itself the one to give way."""
        self._waiting.add(one)
        if self._leaving is None:
            youngest = next(other for other in reversed(self._inside) if other.may_give_way)
            self._leaving = youngest
            self._waiting.discard(youngest)
            youngest.give_way()

    def left(self, one: Occupant) -> None:
        """It is whole, or gone."""
        self._inside.pop(one, None)
        self._waiting.discard(one)
        if self._leaving is one:
            self._leaving = None
        if self._waiting:
            self._let_go_on()

    def _let_go_on(self) -> None:
        eldest = next(one for one in self._inside if one in self._waiting)
        self._waiting.discard(eldest)
        eldest.go_on()
