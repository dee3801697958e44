"""Names of messages: integers inside, twelve letters and digits outside, both in the order of acceptance.

An id is the time in microseconds, or one more than the last id when that was given in the same
microsecond or when the clock was set back, with the number of the spool shard in its lowest bits.
No two shards and no two lives of a relay give the same one (see ``tally.ids_below`` in schema.py).
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

SHARD_BITS: Final = 8
TEXT_LENGTH: Final = 12  # 60 bits: enough until the year 2112

_LAST: Final = (1 << 54) - 1  # shifted, it still fits into 63 bits

# Crockford's base 32: no i, l, o, u, so that an id can be read aloud.  Sorts as the number does.
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
# To the digits that int(…, 32) knows; the letters left out are read as what they look like, u as nothing.
_TO_DIGITS: Final = str.maketrans(
    _ALPHABET + _ALPHABET[10:].upper() + "ilouILOU",
    ("0123456789abcdefghijklmnopqrstuv" + "abcdefghijklmnopqrstuv" + "110z110z"),
)


def to_text(number: int) -> str:
    """The id as it stands in replies, logs and file names."""
    pairs = _PAIRS
    return (
        f"{pairs[number >> 50]}{pairs[number >> 40 & 1023]}{pairs[number >> 30 & 1023]}"
        f"{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
    )


def to_number(text: str) -> int:
    """The number of an id, or -1, which no message has, when this is not an id of ours."""
    if len(text) != TEXT_LENGTH or not text.isalnum():
        return -1
    try:
        return int(text.translate(_TO_DIGITS), 32)
    except ValueError:
        return -1


def first_of(at: float) -> int:
    """The least id that is given at a time, seconds since the epoch, or later."""
    return min(int(max(at, 0.0) * 1_000_000), _LAST) << SHARD_BITS


def shard_of(text: str) -> int:
    """The number of the shard that gave this id; 255, as good as none, when it is not an id of ours."""
    return to_number(text) & (1 << SHARD_BITS) - 1


class IdSource:
    """Gives ids, each larger than all before.

    shard  0..255, the spool shard's number
    below  every id given in a former life is below this
    """

    def __init__(self, clock: IReactorTime, shard: int, below: int) -> None:
        self._clock = clock
        self._shard = shard
        self._last = below >> SHARD_BITS

    def next(self) -> int:
        now = int(self._clock.seconds() * 1_000_000)
        self._last = last = now if now > self._last else self._last + 1
        return last << SHARD_BITS | self._shard
