"""How an operator's words are compared with the queue: without case, domains in A-labels.

Every store compares by these, so that ``--sender Ann@Example.ORG`` means the same everywhere.
"""

from __future__ import annotations

from functools import lru_cache

from relay.message.address import AddressFault, domain_key, parse_mailbox

NULL_SENDER = "<>"


@lru_cache(maxsize=4096)
def address_key(text: str) -> str:
    """The form in which two addresses are equal; ``<>`` and the empty text are the null sender."""
    if text in ("", NULL_SENDER):
        return NULL_SENDER
    try:
        return parse_mailbox(text).key
    except AddressFault:
        return text.lower()


def below_or_same(domain: str) -> tuple[bool, str]:
    """Whether a domain is wanted for what is below it, as in ``.example.org``, and its form for comparing."""
    below = domain.startswith(".")
    return below, "." + domain_key(domain[1:]) if below else domain_key(domain)
