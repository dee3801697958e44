"""The client, as policy sees it."""

from __future__ import annotations

from dataclasses import dataclass

from relay.policy.users import User


@dataclass(frozen=True, slots=True)
class Client:
    """The peer of a session; found once a session.

    ip         textual address, an IPv4-mapped one as IPv4; empty for a unix socket
    trusted    may relay anywhere, and may ask VRFY, EXPN, ETRN and HELP STATUS
    rule       what made it so, in words
    place      where that stands
    user       who logged in, if anybody did
    certified  it has shown a certificate of accept.certificates
    """

    ip: str
    trusted: bool
    rule: str
    place: str
    user: User | None = None
    certified: bool = False

    @property
    def is_known_by_name(self) -> bool:
        """Whether somebody vouches for it, and not only its address."""
        return self.user is not None or self.certified
