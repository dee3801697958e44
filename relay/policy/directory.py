"""The directory: which full name and mailbox a user has, for VRFY and EXPN (RFC 5321 §3.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from relay.message.address import Address, AddressFault, parse_mailbox, parse_path

_WITH_NAME = re.compile(r"(?P<name>[^<>]*?)\s*(?P<path><[^<>]+>)")


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody in the directory.

    user       the short name: ``crispin``
    full_name  may be empty
    place      where the entry stands
    """

    user: str
    full_name: str
    mailbox: Address
    place: str = "directory"

    def __str__(self) -> str:
        """``Mark Crispin <Admin.MRC@foo.com>``: the form that RFC 5321 §3.5.1 demands."""
        return f"{self.full_name} <{self.mailbox}>".lstrip()


def parse_entry(user: str, text: str, place: str = "directory") -> Entry:
    """The entry that ``Full Name <mailbox>`` or a bare mailbox means; raises AddressFault."""
    named = _WITH_NAME.fullmatch(text.strip())
    if named is None:
        return Entry(user, "", parse_mailbox(text.strip()), place)
    mailbox, _ = parse_path(named["path"])
    if mailbox is None or not mailbox.domain:
        raise AddressFault("a full mailbox must stand in the angle brackets")
    return Entry(user, named["name"].strip().strip('"'), mailbox, place)


class Directory:
    """Entries, found by user name, mailbox, local part of the mailbox, full name or one word of it."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._exact: dict[str, Entry] = {}
        self._loose: dict[str, dict[Entry, None]] = {}
        for entry in entries:
            self._exact[_folded(entry.user)] = entry
            self._exact.setdefault(entry.mailbox.key, entry)
            name = _folded(entry.full_name)
            for form in (entry.mailbox.local.lower(), name, *name.split(" ")):
                if form:
                    self._loose.setdefault(form, {})[entry] = None

    def __bool__(self) -> bool:
        return bool(self._exact)

    def find(self, text: str) -> tuple[Entry, ...]:
        """Whom this can mean: nobody, one, or several when it is ambiguous."""
        form = _folded(text)
        exact = self._exact.get(form)
        return (exact,) if exact is not None else tuple(self._loose.get(form, ()))

    def of_mailbox(self, address: Address) -> Entry | None:
        """The entry whose mailbox this is."""
        found = self._exact.get(address.key)
        return found if found is not None and found.mailbox.key == address.key else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
