"""What one report tells: the facts, before they are put into words for people and fields for programs."""

from __future__ import annotations

from dataclasses import dataclass

from relay.bounce.original import Original
from relay.message.envelope import Message, Recipient
from relay.message.outcome import Action, Final
from relay.message.reply import printable
from relay.message.tail import Said

_REPLY_LIMIT = 1000  # characters of a reply; some peers preach
_REPLIES_LIMIT = 1 << 20  # characters of all replies together


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told to whom.

    hostname     our own name
    reader       who gets the report, as an address
    message      what it is about, with its envelope
    finals       what became of each recipient that is told of; one at least
    original     as much of the message as there is to give back
    now          seconds since the epoch
    retry_until  until when those delayed are tried, seconds since the epoch, or None when that is not known
    said         what was said when those were tried the last time that failed or are delayed, as far as that is known
    """

    hostname: str
    reader: str
    message: Message
    finals: tuple[tuple[Recipient, Final], ...]
    original: Original
    now: float
    retry_until: float | None = None
    said: tuple[Said, ...] = ()

    @property
    def action(self) -> Action:
        """The gravest of what is told."""
        told = {final.action for _, final in self.finals}
        return next(action for action in Action if action in told)

    @property
    def utf8(self) -> bool:
        """Whether the way back is known to take UTF-8 outside encoded parts (RFC 6533 §4.5)."""
        return not self.reader.isascii()

    @property
    def is_to_postmaster(self) -> bool:
        """Whether the sender cannot be told, and the postmaster is in his place."""
        return self.message.envelope.reverse_path is None

    def reply_of(self, final: Final) -> list[str]:
        """The reply in printable lines: a host's as it said it, each with its code (RFC 3461 §9.2), ours in one.

        The more recipients a report has, the shorter, but not under 120 characters.
        """
        room = max(120, min(_REPLY_LIMIT, _REPLIES_LIMIT // len(self.finals)))
        lines: list[str] = []
        for said in final.said or (final.reply,):
            line = " ".join(printable(said[: 4 * room]).split())
            if len(line) > room:
                lines.append(line[: max(room - 3, 4)] + "...")
                break
            lines.append(line)
            room = max(room - len(line) - 1, 1)
        if final.said:
            lines[-1] = f"{lines[-1][:3]} {lines[-1][4:]}"  # also where the rest was cut off
        return lines
