"""How much of what leads nowhere a server hears from one client.

All counts begin anew with each accepted message: who brings mail may make mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How often before the session is closed with 421 4.7.0.

    errors         5yz replies, those counted as refusals apart
    refusals       5yz replies within a transaction, to RCPT and to chunks of a refused message: one wrong
                   recipient among many is no bad behaviour
    idle_commands  commands that bring no message nearer, as NOOP, RSET, VRFY
    discarded      octets of refused content, read only to find its end
    """

    errors: int = 20
    refusals: int = 1000
    idle_commands: int = 100
    discarded: int = 1024 * 1024 * 1024


USUAL = Limits()


class Patience:
    """What one client has used up of the limits.  Each method counts one more, and says whether it was too much."""

    __slots__ = ("_discarded", "_errors", "_idle_commands", "_limits", "_refusals")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.renew()

    def renew(self) -> None:
        """A message was accepted."""
        self._errors = self._refusals = self._idle_commands = self._discarded = 0

    def refused(self, within_transaction: bool) -> bool:
        if within_transaction:
            self._refusals += 1
            return self._refusals > self._limits.refusals
        self._errors += 1
        return self._errors > self._limits.errors

    def idled(self) -> bool:
        self._idle_commands += 1
        return self._idle_commands > self._limits.idle_commands

    def discarded(self, octets: int) -> bool:
        self._discarded += octets
        return self._discarded > self._limits.discarded
