"""How much of what leads nowhere a server hears from one client.

All counts begin anew with each accepted message: who brings mail may make mistakes.
"""

from __future__ import annotations

from relay.smtp.extensions import ServerOffer


class Patience:
    """What one client has used up.  Each method counts one more, and says whether it was too much."""

    __slots__ = ("_discarded", "_errors", "_idle_commands", "_refusals")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A message was accepted."""
        self._errors = self._refusals = self._idle_commands = self._discarded = 0

    def refused(self, offer: ServerOffer, within_transaction: bool) -> bool:
        """A 5yz reply; within a transaction, to RCPT or to a chunk: one wrong recipient of many is no bad behaviour."""
        if within_transaction:
            self._refusals += 1
            return self._refusals > offer.refusals_limit
        self._errors += 1
        return self._errors > offer.errors_limit

    def idled(self, offer: ServerOffer) -> bool:
        """A command that brings no message nearer."""
        self._idle_commands += 1
        return self._idle_commands > offer.idle_commands_limit

    def discarded(self, offer: ServerOffer, octets: int) -> bool:
        """Refused content, read only to find its end."""
        self._discarded += octets
        return self._discarded > offer.discard_limit
