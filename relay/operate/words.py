"""Ages, sizes and numbers in words, short."""

from __future__ import annotations


def age(seconds: float) -> str:
    """``45s``, ``12m``, ``3h``, ``2d``: to the unit that tells most."""
    seconds = max(seconds, 0)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length * (2 if unit == "d" else 1):
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def size(octets: float) -> str:
    """``512``, ``5.1K``, ``48M``."""
    for unit in ("", "K", "M", "G"):
        if octets < 1000 or unit == "G":
            return f"{octets:.0f}{unit}" if octets >= 10 or not unit else f"{octets:.1f}{unit}"
        octets /= 1024
    return ""


def count(number: int, one: str, several: str = "") -> str:
    """``1 message``, ``3 messages``."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {several or one + 's'}"
