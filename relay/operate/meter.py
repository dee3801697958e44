"""What the steps tell beyond how often they were made: octets, delays, refusals by their code.

It hangs on the same hook as the log (relay.operate.steps), and costs a message about a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from relay.message.histogram import Histogram

DELAYS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400, 432_000)
CODES_LIMIT = 40
"""How many reply codes are told apart; there are fewer."""

Fields = Mapping[str, Any]


class Meter:
    """
    taken_octets, taken_recipients  of the messages that were accepted
    delivered_octets                of those delivered, once for each recipient
    delays_s                        from acceptance to delivery, for each recipient
    refusals                        by the reply's code; empty for what the client gave up itself
    failed_logins                   of clients
    failed_handshakes               of clients
    """

    def __init__(self) -> None:
        self.taken_octets = 0
        self.taken_recipients = 0
        self.delivered_octets = 0
        self.delays_s = Histogram(DELAYS_S)
        self.refusals: dict[str, int] = {}
        self.failed_logins = 0
        self.failed_handshakes = 0

    def by_step(self) -> dict[str, Callable[[Fields], None]]:
        """For the log: who is to see the fields of which step."""
        return {
            "accepted": self._accepted,
            "delivered": self._delivered,
            "refused": self._refused,
            "disconnected": self._disconnected,
        }

    def _accepted(self, fields: Fields) -> None:
        self.taken_octets += fields["size"]
        self.taken_recipients += fields["recipients"]

    def _delivered(self, fields: Fields) -> None:
        self.delivered_octets += fields["size"]
        self.delays_s.add(max(0.0, fields["delay_s"]))

    def _refused(self, fields: Fields) -> None:
        code = str(fields.get("reply") or "")[:3]
        if code in self.refusals or len(self.refusals) < CODES_LIMIT:
            self.refusals[code] = self.refusals.get(code, 0) + 1
        if "login" in fields and "sender" not in fields:
            self.failed_logins += 1

    def _disconnected(self, fields: Fields) -> None:
        if fields.get("error"):
            self.failed_handshakes += 1
