"""``TLS-Required: No``, by which a message says that it had better arrive without TLS than not at all (RFC 8689 §3)."""

from __future__ import annotations

import re

# At most one such field, and its one value; anything else is as if there were none.
_FIELD = re.compile(rb"(?:\A|\r\n)tls-required[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)


def tls_not_required(header: bytes) -> bool:
    """Whether a header section says it, and not once more otherwise."""
    return [said.strip().lower() for said in _FIELD.findall(header)] == [b"no"]
