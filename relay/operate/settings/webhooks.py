"""Telling others by HTTP what became of mail."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from relay.operate import kinds
from relay.operate.settings.section import Section
from relay.operate.webhooks.events import USUAL, Kind


class Webhook(Section):
    """Who is told by HTTP what becomes of mail (docs/api.md): in order, again and again until it is taken, for as long
    as the journal has it.
    """

    url: kinds.WebhookUrl = Field(
        description="Where it is sent: `https://`, or `http://` on this machine.",
        examples=["https://app.example.org/hooks/mail"],
    )
    events: Annotated[tuple[Kind, ...], Field(min_length=1)] = Field(
        default=USUAL,
        description="What is told: `accepted`, `refused`, `delivered`, `deferred`, `failed`, `expired`, `discarded`, "
        "`held`, `released`, `removed`, `warned`, `reported`.",
    )
    secret_file: kinds.SecretPath = Field(
        description="A file whose first line is what requests are signed with: `openssl rand -hex 24` makes a good "
        "one. It is read at each request.",
        examples=["/etc/relay/webhook.secret"],
    )
    authorities: kinds.ExistingFile | None = Field(
        default=None,
        description="The authorities that vouch for its certificate. Default: those this machine trusts.",
        examples=["/etc/relay/corp-ca.pem"],
    )
