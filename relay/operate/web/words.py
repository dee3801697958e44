"""How the page speaks: ages, times, sizes and states in words.  Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

NARROW = "\u202f"

STATES: Mapping[str, str] = {
    "waiting": "Waits for its next attempt.",
    "held": "Kept back by an operator or a rule: it is not tried and does not expire.",
    "owing": "Finished; a report to the sender is still owed.",
    "queued": "In the queue.",
    "delivered": "Handed over; the next host is responsible now.",
    "discarded": "A route threw it away.",
    "failed": "It came back to the sender.",
    "refused": "It was not taken; the client was told so.",
    "mixed": "Some recipients have it, some do not.",
    "removed": "Removed from the queue by an operator.",
}
"""What each state of a message or a recipient means."""


def age(seconds: float | None) -> str:
    """``45 s``, ``12 min``, ``3 h``, ``2 d``: in the unit that tells most."""
    if seconds is None:
        return "–"
    seconds = max(seconds, 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length * (2 if unit == "d" else 1):
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def away(at: float | None, now: float) -> str:
    """``12 min ago``, ``in 3 h``, ``now``."""
    if at is None:
        return "–"
    if abs(at - now) < 1:
        return "now"
    return f"in {age(at - now)}" if at > now else f"{age(now - at)} ago"


def moment(at: float | None) -> str:
    """``2026-11-03 10:51:39 UTC``."""
    return "–" if at is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", _utc(at))


def day(at: float) -> str:
    """``3 Nov 10:51``, in UTC."""
    utc = _utc(at)
    return f"{utc.tm_mday} {time.strftime('%b %H:%M', utc)}"


def iso(at: float) -> str:
    """As the ``datetime`` of a ``time`` element."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", _utc(at))


def _utc(at: float) -> time.struct_time:
    return time.gmtime(min(max(at, 0), 253402300799))  # what a broken row says must not break the page


def size(octets: float) -> str:
    """``512 B``, ``5.1 KiB``, ``48 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if octets < 1000 or unit == "TiB":
            return f"{octets:.0f} {unit}" if octets >= 10 or unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1024
    return ""


def number(value: float) -> str:
    """``12 345``, with narrow spaces: commas and points mean different things to different people."""
    return f"{value:,.0f}".replace(",", NARROW)


def count(value: int, one: str, several: str = "") -> str:
    """``1 message``, ``3 messages``."""
    return f"{number(value)} {one if value == 1 else several or one + 's'}"


def sentence(text: str) -> str:
    """Some words of the relay as a sentence; nothing of nothing."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}" if text else ""


def printable(text: object) -> str:
    """The text with what does not print, or turns the direction of writing, spelt out: a peer chose it."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(c if c.isprintable() or c == NARROW else _shown(c) for c in shown)


def lines(text: str) -> str:
    """The same, with its line ends and tabs kept: a header section."""
    return "\n".join(printable(line.replace("\t", "    ")) for line in re.split(r"\r\n|\r|\n", text))


def _shown(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
