"""What a next hop got, as a test wants to look at it."""

from __future__ import annotations

import email
import email.policy
from dataclasses import dataclass
from email.message import EmailMessage
from functools import cached_property


@dataclass(frozen=True)
class Arrived:
    """A message that a next hop took.

    sender      the reverse-path; empty for the null sender
    recipients  those it was taken for, in their order
    content     octets, as they were before dots were doubled
    at          when, seconds since the epoch
    hop         the host's name
    tls         within TLS
    login       who had logged in, or empty
    """

    sender: str
    recipients: list[str]
    content: bytes
    at: float
    hop: str
    tls: bool = False
    login: str = ""

    @cached_property
    def message(self) -> EmailMessage:
        """The content as Python's email package reads it."""
        return email.message_from_bytes(self.content, policy=email.policy.default)

    @property
    def subject(self) -> str:
        return str(self.message["Subject"] or "")

    @property
    def text(self) -> str:
        """The text that a person reads first, with ``\\n`` for its line ends; empty when there is none."""
        body = self.message.get_body(("plain", "html"))
        return str(body.get_content()).replace("\r\n", "\n") if body is not None else ""

    @property
    def is_report(self) -> bool:
        """Whether it tells what became of another message (RFC 3464)."""
        return self.message.get_content_type() == "multipart/report"

    @cached_property
    def told(self) -> list[Told]:
        """What a report tells of each recipient; empty when it is no report."""
        status = [part for part in self.message.walk() if part.get_content_type() == "message/delivery-status"]
        blocks = [block for part in status for block in part.get_payload() if not isinstance(block, str)]
        found = [block for block in blocks if "Final-Recipient" in block]
        return [
            Told(
                str(block["Final-Recipient"]).partition(";")[2].strip(),
                str(block["Action"]),
                str(block["Status"]),
                str(block.get("Diagnostic-Code", "")).partition(";")[2].strip(),
            )
            for block in found
        ]


@dataclass(frozen=True)
class Told:
    """What a report tells of one recipient.

    action  ``failed``, ``delayed``, ``delivered``, ``relayed`` or ``expanded``
    status  ``5.1.1``
    reply   what the host said, or what the relay itself has found
    """

    recipient: str
    action: str
    status: str
    reply: str
