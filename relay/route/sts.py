"""MTA-STS policies: what a domain says of its mail hosts over HTTPS (RFC 8461).

    policy_id     the TXT records of _mta-sts.DOMAIN -> the id of its policy, or None
    parse_policy  the text that its web server gave -> a policy; raises PolicyFault
    Policy        which hosts may take the domain's mail, and whether that is enforced

The rule that must not be broken: a policy in testing mode never keeps mail back, and one in enforce mode is never
weakened while it lasts, whatever has become of its record or its web server.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from relay.message.address import domain_key, is_domain

POLICY_LIMIT_OCTETS = 64 * 1024  # RFC 8461 §3.3 suggests it
LONGEST_MAX_AGE_S = 31_557_600  # RFC 8461 §3.2
_PATTERNS_LIMIT = 500

# RFC 8461 §3.1: one that is not just so counts as none.
_OURS = re.compile(r"v=STSv1[ \t]*;")
_RECORD = re.compile(r"v=STSv1(?:[ \t]*;[ \t]*[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[!-:<>-~]+)+(?:[ \t]*;)?[ \t]*")
_ID = re.compile(r";[ \t]*id=([A-Za-z0-9]{1,32})[ \t]*(?:;|\Z)")


class PolicyFault(ValueError):
    """This is not a policy; ``str()`` says why."""


class Mode(enum.Enum):
    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """See the module.

    mx         names, or patterns as ``*.example.net``, in lower case and A-labels
    max_age_s  how long it holds from when it was fetched
    """

    mode: Mode
    mx: tuple[str, ...]
    max_age_s: int

    def allows(self, host: str) -> bool:
        """Whether this mail host may take the domain's mail (RFC 8461 §4.1).

        host  in lower case and A-labels
        """
        parent = "*." + host.partition(".")[2]  # RFC 6125 §6.4.3: a wildcard stands for one label, the leftmost
        return host in self.mx or parent in self.mx

    def lines(self) -> tuple[str, ...]:
        """The policy as its domain wrote it, in the order of the law."""
        return (
            "version: STSv1",
            f"mode: {self.mode.value}",
            *(f"mx: {pattern}" for pattern in self.mx),
            f"max_age: {self.max_age_s}",
        )


def policy_id(records: Sequence[str]) -> str | None:
    """The id in the TXT records of ``_mta-sts.DOMAIN``; None when there is no policy (RFC 8461 §3.1).

    Other records beside it are nobody's concern; two of it are as good as none.
    """
    ours = [record for record in records if _OURS.match(record)]
    if len(ours) != 1 or _RECORD.fullmatch(ours[0]) is None:
        return None
    found = _ID.search(ours[0])
    return found[1] if found else None


def parse_policy(text: bytes) -> Policy:
    """The policy in a text (RFC 8461 §3.2).  Raises PolicyFault."""
    said: dict[str, str] = {}
    mx: list[str] = []
    for line in _decoded(text).split("\n"):  # and nothing else ends one, whatever str.splitlines thinks of U+2028
        if not line.strip():
            continue
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon or not key:
            raise PolicyFault(f"a line that is not key: value: {line[:60]!r}")
        if key == "mx":
            mx.append(_pattern(value))
        else:
            said.setdefault(key, value)  # of one that is repeated the first counts
    if said.get("version") != "STSv1":
        raise PolicyFault("the version is not STSv1")
    return Policy(_mode(said.get("mode", "")), _hosts(said.get("mode", ""), mx), _max_age_s(said.get("max_age", "")))


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyFault("not UTF-8") from None


def _mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError:
        raise PolicyFault(f"the mode is {text[:20]!r}, not enforce, testing or none") from None


def _hosts(mode: str, mx: Sequence[str]) -> tuple[str, ...]:
    if not mx and mode != Mode.NONE.value:
        raise PolicyFault("no mx is named")
    if len(mx) > _PATTERNS_LIMIT:
        raise PolicyFault(f"more than {_PATTERNS_LIMIT} mx")
    return tuple(dict.fromkeys(mx))


def _pattern(text: str) -> str:
    name = text.removeprefix("*.")
    if name.startswith("[") or "*" in name or not is_domain(name):
        raise PolicyFault(f"an mx that is neither a host nor *. and a domain: {text[:60]!r}")
    return text[: len(text) - len(name)] + domain_key(name)


def _max_age_s(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise PolicyFault(f"max_age is {text[:20]!r}, not a number of seconds")
    return min(int(text), LONGEST_MAX_AGE_S)
