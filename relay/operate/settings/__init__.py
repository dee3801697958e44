"""Every key of the configuration: its kind, its default, and what it means.

This is the one place that knows them: the loader checks files against it and docs/configuration.md is
written from it.  Attribute names carry the unit (``first_s``), keys do not (``first: 1m``).  There is no key
that is read and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from relay.operate import kinds
from relay.operate.interfaces import own_hostname
from relay.operate.settings.delivering import Bounce, Delivery, Dns, Retry, Route, TlsReports
from relay.operate.settings.local import Sendmail
from relay.operate.settings.operating import Admin, Journal, Log, Timeouts
from relay.operate.settings.receiving import (
    Accept,
    Certificate,
    Forward,
    Limits,
    Listen,
    Tell,
    no_endpoint_twice,
    sound,
)
from relay.operate.settings.section import Section
from relay.operate.settings.webhooks import Webhook


class Settings(Section):
    """The whole configuration."""

    hostname: kinds.Hostname = Field(
        default_factory=own_hostname,
        description="What this host calls itself in its greeting, EHLO and Received. Should be a name the DNS knows. "
        "Default: the machine's own name.",
        examples=["gateway.example.org"],
    )
    spool: kinds.FolderPath = Field(
        default=Path("spool"),
        description="The folder of the queue and the control socket. A relative path starts at the folder of the "
        "configuration file (without a file: at the working directory), here and everywhere.",
        examples=["/var/spool/relay"],
    )
    user: str | None = Field(
        default=None,
        description="When started as root, become this user once the ports are open.",
        examples=["relay"],
    )
    group: str | None = Field(default=None, description="The group to go with it. Default: the user's own.")
    workers: kinds.Workers = Field(
        default=1,
        description="Processes that share the work, best one for each core. Each has its part of the queue, and its "
        "share of the limits on connections, deliveries and failed logins, rounded up.",
    )
    listen: Annotated[tuple[Listen, ...], Field(min_length=1), AfterValidator(no_endpoint_twice)] = Field(
        default=(Listen(endpoint="tcp:2525:interface=127.0.0.1"),), description="Where clients come in."
    )
    tls: Annotated[tuple[Certificate, ...], BeforeValidator(kinds.one_or_more)] = Field(
        default=(), description="The certificates by which clients know this host."
    )
    accept: Accept = Field(default_factory=Accept, description="Whose mail is taken, and what it may be.")
    tell: Tell = Field(default_factory=Tell, description="Who is told what about addresses and the queue.")
    forward: Annotated[Mapping[kinds.ForwardKey, Forward], AfterValidator(sound)] = Field(
        default_factory=dict,
        description="Addresses whose mail goes elsewhere: `ann@example.org`, `ann` (in every domain of ours, and at "
        "the hostname, localhost and `sendmail.domain`) or `@example.org` (whatever does not exist there). The value "
        "is an address, a list, or a mapping.",
    )
    sendmail: Sendmail = Field(default_factory=Sendmail, description="Mail of programs on this machine.")
    postmaster: kinds.MailAddress | None = Field(
        default=None,
        description="Where mail for `postmaster` goes (RFC 5321 §4.5.1), at this host and every domain of ours.",
        examples=["admin@example.org"],
    )
    directory: Mapping[str, kinds.Person] = Field(
        default_factory=dict,
        description="What VRFY may tell: a name, and whose it is.",
        examples=["{crispin: Mark Crispin <mrc@example.org>}"],
    )
    routes: tuple[Route, ...] = Field(
        default=(), description="Where mail goes. The first rule that matches is followed; without one, by MX."
    )
    retry: Retry = Field(default_factory=Retry, description="When what could not be delivered is tried again.")
    delivery: Delivery = Field(default_factory=Delivery, description="How hard a next hop is worked.")
    tls_reports: TlsReports = Field(
        default_factory=TlsReports, description="Telling other domains how TLS with them went."
    )
    bounce: Bounce = Field(default_factory=Bounce, description="How senders are told of failure.")
    limits: Limits = Field(default_factory=Limits, description="How much is served at once.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="How long is waited for a peer.")
    dns: Dns = Field(default_factory=Dns, description="How names are looked up.")
    journal: Annotated[Journal | None, BeforeValidator(kinds.journal)] = Field(
        default_factory=Journal,
        description="What happened to each message: a duration, a mapping, or `none`.",
        examples=["7 days"],
    )
    webhooks: tuple[Webhook, ...] = Field(default=(), description="Who is told by HTTP what becomes of mail.")
    log: Log = Field(default_factory=Log, description="One line for each step of a message's way.")
    admin: Annotated[Admin | None, BeforeValidator(kinds.unless_none)] = Field(
        default_factory=Admin,
        description="The page for a browser, and the API beside it; `none` switches both off.",
    )
