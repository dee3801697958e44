"""Whom we log in as at a hop, and where the secret lies; the secret itself is read when it is needed.

Part of a Hop, so that a connection is used only with the credentials that opened it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OAuth:
    """How access tokens are got (RFC 6749 §6).

    token_url           where a refresh token is exchanged for them
    client_id           whom the provider knows us as
    client_secret_file  empty for a client without a secret
    scope               what to ask for; empty for what the refresh token has
    """

    token_url: str
    client_id: str
    client_secret_file: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in.

    secret_file  holds the password, or with ``oauth`` the refresh token; its first line
    mechanisms   to be tried in this order; empty: the safest that is offered
    unverified   also where nobody has proved to be the hop: the password may be given to a stranger
    """

    user: str
    secret_file: str
    mechanisms: tuple[str, ...] = ()
    unverified: bool = False
    oauth: OAuth | None = None

    def __str__(self) -> str:
        """The part of a lane's name that tells this from other ways."""
        parts = [self.user, self.secret_file, *self.mechanisms]
        if self.oauth is not None:
            parts += [self.oauth.token_url, self.oauth.client_id, self.oauth.client_secret_file, self.oauth.scope]
        return f";login={','.join(parts)}" + ",unverified" * self.unverified
