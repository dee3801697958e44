"""Lists of mailboxes as they stand in header fields (RFC 5322 §3.4, the obsolete forms of §4.4 too).

Only as much is understood as it takes to find the addresses and where they stand: who is written to, and which address
lacks its domain.  Everything else of the field stays as it was written.

The rule that must not be broken: a list that is not understood is a fault; no address in it is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relay.message.address import Address, AddressFault, parse_mailbox

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<quoted>"(?:[^"\\]|\\.)*")
    |(?P<literal>\[(?:[^\[\]\\]|\\.)*\])
    |(?P<comment>\()
    |(?P<special>[<>@,;:])
    |(?P<atom>[^ \t\r\n"()\[\]<>@,;:\\]+)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_PART = re.compile(r"[^()\\]+|\\.|[()]", re.DOTALL)


class MailboxesFault(ValueError):
    """This is no list of mailboxes; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class Written:
    """An address as it was written.

    text  without comments and blanks: ``ann@example.org``, or ``root`` when it has no domain
    end   where it ends in the field: there the domain belongs that it lacks
    """

    text: str
    end: int

    @property
    def has_domain(self) -> bool:
        return "@" in self.text.rpartition('"')[2]

    def address(self, domain: str) -> Address:
        """What it means; this domain goes to one that has none.  Raises AddressFault."""
        return parse_mailbox(self.text if self.has_domain else f"{self.text}@{domain}")


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    end: int


def written(field: str) -> list[Written]:
    """The addresses of a list, in their order.  Groups are opened, names left out.  Raises MailboxesFault."""
    found: list[Written] = []
    element: list[_Token] = []
    is_within = False  # within < and >, where commas and colons belong to a source route
    for token in _tokens(field):
        if token.kind == "special":
            is_within = token.text == "<" or (is_within and token.text != ">")
            if not is_within and token.text in ",;:":
                if token.text != ":":  # else it was the name of a group
                    found += _mailbox(element)
                element = []
                continue
        element.append(token)
    return found + _mailbox(element)


def addresses(field: str, domain: str) -> list[Address]:
    """The same, each with this domain if it has none.  Raises MailboxesFault."""
    try:
        return [one.address(domain) for one in written(field)]
    except AddressFault as fault:
        raise MailboxesFault(str(fault)) from None


def with_domain(field: str, domain: str) -> str:
    """The field with this domain put behind each address that has none.  What is not understood stays as it is."""
    try:
        lacking = [one for one in written(field) if not one.has_domain]
    except MailboxesFault:
        return field
    for one in reversed(lacking):
        field = f"{field[: one.end]}@{domain}{field[one.end :]}"
    return field


def _tokens(field: str) -> Iterator[_Token]:
    """What counts: neither blanks nor comments."""
    at = 0
    while at < len(field):
        found = _TOKEN.match(field, at)
        if found is None:
            raise MailboxesFault(_complaint(field[at]))
        at = found.end()
        kind = found.lastgroup or ""
        if kind == "comment":
            at = _end_of_comment(field, at)
        elif kind != "space":
            yield _Token(kind, found[0], at)


def _complaint(character: str) -> str:
    open_ended = {'"': "a quoted string is not closed", "[": "a [ is not closed", ")": "a ) closes no comment"}
    return open_ended.get(character, "there is a bad character")


def _end_of_comment(field: str, at: int) -> int:
    depth = 1
    while depth:
        part = _COMMENT_PART.match(field, at)
        if part is None:
            raise MailboxesFault("a comment is not closed")
        at = part.end()
        depth += {"(": 1, ")": -1}.get(part[0], 0)
    return at


def _mailbox(tokens: list[_Token]) -> list[Written]:
    """The one address of an element, if it has any: ``Name <address>`` or an address alone."""
    opened = [place for place, token in enumerate(tokens) if token.text == "<" and token.kind == "special"]
    if not opened:
        return [_spec(tokens)] if tokens else []
    inner = tokens[opened[0] + 1 :]
    if len(opened) > 1 or not inner or inner[-1].text != ">":
        raise MailboxesFault("text follows the address" if any(one.text == ">" for one in inner) else "no > follows")
    inner = inner[:-1]
    if inner and inner[0].text == "@":  # a source route, which says nothing any more (RFC 5321 appendix C)
        colons = [place for place, token in enumerate(inner) if token.text == ":"]
        inner = inner[colons[0] + 1 :] if colons else inner
    return [_spec(inner)] if inner else []


def _spec(tokens: list[_Token]) -> Written:
    """An addr-spec, with or without its domain: words joined by dots, @, words joined by dots or a literal."""
    text = ""
    for place, token in enumerate(tokens):
        if token.kind == "special" and token.text != "@":
            raise MailboxesFault("text follows the address")
        joins = token.text == "@" or token.text.startswith(".")
        if place and not joins and not text.endswith(("@", ".")):
            raise MailboxesFault("two words stand where one address should; put a name before <address>")
        text += token.text
    if text.startswith("@") or text.endswith("@"):
        raise MailboxesFault("an address lacks a part beside its @")
    return Written(text, tokens[-1].end)
