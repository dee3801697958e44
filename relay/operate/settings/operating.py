"""Running it: how long is waited, what is written down, and who looks on."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from relay.operate import kinds
from relay.operate.settings.section import Section


class Timeouts(Section):
    """How long is waited for a peer, and for ourselves.

    What a next hop may take for each of its replies is the law's (RFC 5321 §4.5.3.2) and cannot be set.
    """

    command_s: kinds.Duration = Field(default=300.0, alias="command", description="A client's next command.")
    content_s: kinds.Duration = Field(
        default=180.0, alias="content", description="The next piece of a client's content."
    )
    transaction_s: kinds.Duration = Field(
        default=1800.0,
        alias="transaction",
        description="A client's whole message; a large one gets a second more for every 500 octets that came.",
    )
    connect_s: kinds.Duration = Field(
        default=30.0, alias="connect", description="A connection to one address of a next hop."
    )
    shutdown_s: kinds.Duration = Field(
        default=30.0, alias="shutdown", description="What is in flight when the relay is told to stop."
    )


class Journal(Section):
    """What happened to each message, for `relay trace` and `relay explain`; there when the message is gone.

    ``journal: 7 days`` is short for ``journal: {keep: 7 days}``; ``journal: none`` switches it off and forgets it.
    """

    keep_s: kinds.Duration = Field(
        default=7 * 86400.0,
        alias="keep",
        description="How long a message's journey is kept after its last entry; while it is in the queue, always.",
    )
    size_octets: kinds.Size = Field(
        default=1 << 30,
        alias="size",
        description="About so much of the disk it takes at most, all workers together; what is oldest goes first.",
    )


class Log(Section):
    """One line for each step of a message's way."""

    format: Literal["text", "json"] = Field(default="text", description="`text` for people, `json` for programs.")
    file: kinds.LogPath | None = Field(
        default=None,
        description="The file to append to; opened again on SIGHUP, for logrotate. None: standard error.",
        examples=["/var/log/relay.log"],
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least of what is written. `debug` adds each connection."
    )


class Admin(Section):
    """The page for a browser, and the API beside it. `admin: none` switches both off.

    Where it listens on this machine alone nobody needs to log in; anywhere else it needs a token.
    """

    http: kinds.Endpoint = Field(
        default="tcp:8025:interface=127.0.0.1",
        description="Where it listens: a Twisted server endpoint, as under `listen`.",
    )
    token_file: kinds.SecretPath | None = Field(
        default=None,
        description="A file whose first line is the token that lets somebody in; required unless `http` is a loopback "
        "address or a unix socket. `openssl rand -hex 24` makes a good one. It is read again with every reload.",
        examples=["/etc/relay/admin.token"],
    )
    tls: kinds.Flag = Field(
        default=False, description="Speak HTTPS, with the certificates of `tls`, and nothing but HTTPS."
    )


_LOOPBACK = re.compile(
    r"(?:tcp|ssl):.*?\binterface=(?:127(?:\.\d{1,3}){3}|localhost)(?::|\Z)"
    r"|(?:tcp6?|ssl):.*?\binterface=(?:\\:\\:1|0\\:0\\:0\\:0\\:0\\:0\\:0\\:1)(?::|\Z)"
    r"|unix:"
)


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint.  What a description does not show, as of a socket that systemd
    hands over or a proxy serves, is taken for no."""
    return _LOOPBACK.match(endpoint) is not None
