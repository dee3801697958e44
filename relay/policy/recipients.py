"""The list of the addresses that exist in our domains (``accept.recipients``).

One a line: an address, a local part that exists in every domain of ours, or ``@example.org`` for
a whole domain.  ``#`` begins a comment.  A faulty line makes the whole text faulty, so that half a list is
never used: it would refuse mail for good that should pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.message.address import Address, AddressFault, domain_key, is_domain, parse_mailbox


@dataclass(frozen=True, slots=True)
class ListFault:
    """A line that is not understood.  ``line`` counts from 1."""

    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text!r}: {self.why}"


class RecipientsFault(ValueError):
    """The list cannot be used; ``faults`` are all its bad lines."""

    def __init__(self, faults: tuple[ListFault, ...]) -> None:
        super().__init__("; ".join(map(str, faults[:10])) + ("; …" if len(faults) > 10 else ""))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class RecipientList:
    """The addresses that exist.

    name   the file's, for the places that verdicts name
    lines  entry in look-up form -> its line
    """

    name: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    def find(self, address: Address) -> int | None:
        """The line that has this address, or None when it does not exist."""
        lines = self.lines
        key = address.key
        found = lines.get(key)
        if found is None:
            local, _, domain = key.rpartition("@")
            # A quoted local part may look like an address; it is none.
            found = lines.get("@" + domain)
            if found is None and "@" not in local:
                found = lines.get(local)
        return found

    def mailboxes(self, local: str, domains: tuple[str, ...]) -> tuple[Address, ...]:
        """The addresses that a bare user name can mean, in these domains."""
        lowered = local.lower()
        everywhere = lowered in self.lines
        return tuple(Address(local, domain) for domain in domains if everywhere or f"{lowered}@{domain}" in self.lines)


def parse_recipients(text: str, name: str = "") -> RecipientList:
    """The list that this text is.  Raises RecipientsFault with every bad line."""
    lines: dict[str, int] = {}
    faults: list[ListFault] = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        entry = entry.partition(" #")[0].rstrip()
        try:
            lines.setdefault(entry_key(entry), number)
        except AddressFault as fault:
            faults.append(ListFault(number, entry[:100], str(fault)))
    if faults:
        raise RecipientsFault(tuple(faults))
    return RecipientList(name, lines)


def entry_key(entry: str) -> str:
    """The look-up form of ``ann@example.org``, ``@example.org`` or ``ann``; raises AddressFault.

    It is the form in which both the list of recipients and ``forward:`` are kept.
    """
    if entry.startswith("@"):
        if not is_domain(entry[1:]):
            raise AddressFault("after the @ must stand a domain")
        return "@" + domain_key(entry[1:])
    if "@" in entry:
        return parse_mailbox(entry).key
    return parse_mailbox(entry + "@example.org").local.lower()
