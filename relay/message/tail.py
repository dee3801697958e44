"""The tail of a journey: what was said the last time that somebody was tried, for who is told that it failed.

The rule that must not be broken: nobody reads in it who else was to get the message.  A sender knows whom he named,
but not who stands behind an address that is forwarded.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from relay.message.journey import CUT, Entry, read

_RECIPIENT = re.compile(r"> RCPT TO:<(.*?)>(?: |$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Said:
    """One conversation.

    at     when the attempt ended, seconds since the epoch
    hop    with whom
    lines  ``> `` what we said, ``< `` what they said, ``* `` a remark; printable
    """

    at: float
    hop: str
    lines: tuple[str, ...]


def is_attempt(entry: Entry) -> bool:
    return entry[1].startswith(b'["attempted"')


def numbers_in(entries: Iterable[Entry]) -> set[int]:
    """The recipients whose attempts are told of."""
    return {one["number"] for entry in entries if is_attempt(entry) for one in read(entry).get("recipients", ())}


def tail(entries: Sequence[Entry], numbers: Collection[int], addresses: Collection[str]) -> tuple[Said, ...]:
    """What was said the last time that each of these recipients was tried, the latest attempt first.

    addresses  theirs, as they stand on the wire; the others are left out
    """
    left = set(numbers)
    said: list[Said] = []
    for entry in sorted(filter(is_attempt, entries), key=lambda one: one[0], reverse=True):
        row = read(entry)
        of_them = left.intersection(one["number"] for one in row.get("recipients", ()))
        if of_them:
            left -= of_them
            said += [
                Said(entry[0], part["hop"], tuple(_without_others([line for _, line in part["lines"]], addresses)))
                for part in row["dialogue"]
            ]
    return tuple(one for one in said if one.lines)


def _without_others(lines: Sequence[str], addresses: Collection[str]) -> Iterator[str]:
    """The lines without what is about recipients that are not these."""
    others = {found[1] for line in lines if (found := _RECIPIENT.match(line)) and found[1] not in addresses}
    if any(line.endswith(CUT) for line in lines):  # who was named, and which reply was whose, is not known
        yield from (line for line in lines if any(address in line for address in addresses))
    elif not others:
        yield from lines
    else:
        named = re.compile(rf"(?<![\w.+-])(?:{'|'.join(map(re.escape, others))})(?![\w-])", re.IGNORECASE)
        yield from (line for line in _answered_alone(lines, others) if not named.search(line))


def _answered_alone(lines: Sequence[str], others: Collection[str]) -> Iterator[str]:
    """Without the replies to RCPT of the others.  Replies come in the order of the commands (RFC 2920 §3.1)."""
    asked: deque[bool] = deque()  # for each command without reply: is it about one of the others?
    for line in lines:
        if line.startswith("> "):
            found = _RECIPIENT.match(line)
            asked.append(found is not None and found[1] in others)
        is_reply = line.startswith("< ")
        if not (is_reply and asked and asked[0]):
            yield line
        if is_reply and asked and line[5:6] != "-":
            asked.popleft()
