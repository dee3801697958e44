"""The way in: who comes in where, whose mail is taken, who is told what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from relay.operate import kinds, values
from relay.operate.settings.section import Section
from relay.policy import forward as policy
from relay.policy.access import Domains
from relay.policy.recipients import entry_key

FORWARD_LIMIT = 1000
"""How many recipients a forward may become, as far as checking it goes."""


class Listen(Section):
    """Where clients come in."""

    endpoint: kinds.Endpoint = Field(
        description="A Twisted server endpoint: `tcp:25`, `tcp:2525:interface=127.0.0.1`, `tcp6:25`, "
        "`unix:/run/relay/smtp`, or `systemd:domain=INET:index=0` for a socket that systemd hands over.",
        examples=["tcp:25"],
    )
    service: kinds.ServiceName = Field(
        default="relay",
        description="`relay` takes mail from other servers and the LAN; `submission` is for the programs people write "
        "mail with, and adds a missing Date and Message-ID (RFC 6409); `submissions` is the same within TLS from the "
        "first octet (RFC 8314); `lmtp` answers for each recipient (RFC 2033).",
    )
    tls: Literal["none", "offered", "required"] = Field(
        default="offered",
        description="STARTTLS (RFC 3207): `offered` where there is a certificate, `required` before anything else, or "
        "`none`. `submissions` is within TLS anyway.",
    )
    tls_minimum: kinds.TlsVersion = Field(
        default="1.2",
        description="The oldest version of TLS that is spoken. `1.0` and `1.1` are for devices that know nothing "
        "newer, on a listener of their own.",
    )
    login: Literal["none", "offered", "required"] | None = Field(
        default=None,
        description="Whether clients may log in, or must; a trusted certificate counts as a login. Default: `required` "
        "for `submission` and `submissions` where there are users, `none` for `lmtp`, `offered` for `relay`.",
        examples=["required"],
    )
    login_without_tls: kinds.Flag = Field(
        default=False,
        description="Let clients log in in the clear: for devices that cannot encrypt, where nobody listens. Not with "
        "a token, which goes through TLS only.",
    )


class Certificate(Section):
    """A certificate by which clients know this host, or a list of them: a client gets the one for the name it asks
    for, else the first. The files are read again when they change.
    """

    certificate: kinds.ExistingFile = Field(
        description="The certificate, and after it those that lead to its authority (PEM).",
        examples=["/etc/relay/tls.crt"],
    )
    key: kinds.ExistingFile | None = Field(
        default=None,
        description="Its private key, without a passphrase (PEM). Default: it is in the same file.",
        examples=["/etc/relay/tls.key"],
    )


class Tokens(Section):
    """Who tells what an OAuth 2.0 access token is worth: token introspection (RFC 7662)."""

    introspection: kinds.HttpsUrl = Field(
        description="The introspection endpoint.", examples=["https://login.example.org/introspect"]
    )
    client_id: str | None = Field(default=None, description="How we are known there.", examples=["relay"])
    client_secret_file: kinds.ExistingFile | None = Field(
        default=None, description="A file with the secret that goes with it.", examples=["/etc/relay/tokens.secret"]
    )
    user: str = Field(default="username", description="The member of the answer that names the user.")
    scope: str | None = Field(
        default=None, description="What a token must be good for. Default: anything.", examples=["smtp"]
    )
    authorities: kinds.ExistingFile | None = Field(
        default=None,
        description="The authorities that vouch for the endpoint's certificate. Default: those this machine trusts.",
        examples=["/etc/relay/login-ca.pem"],
    )


class Accept(Section):
    """Whose mail is taken, and what it may be."""

    networks: tuple[kinds.Network, ...] = Field(
        default=tuple(values.parse_network(text) for text in ("127.0.0.0/8", "::1/128")),
        description="Clients from these networks may send to anywhere.",
        examples=['[127.0.0.0/8, "::1/128", 192.168.0.0/16]'],
    )
    domains: tuple[kinds.Domain, ...] = Field(
        default=(),
        description="Anybody may send to addresses of these domains. `.example.org` is everything under example.org.",
        examples=["[example.org]"],
    )
    recipients: kinds.RecipientsPath | None = Field(
        default=None,
        description="A file with the addresses that exist in `domains`, one a line; mail for others there is refused "
        "with 550 5.1.1. It is read again when it changes. Without it, every address of these domains is taken.",
        examples=["/etc/relay/recipients"],
    )
    users: kinds.UsersSource | None = Field(
        default=None,
        description="Those who log in may send to anywhere, each with the senders that are theirs. A file in the form "
        "of Dovecot's passwd-file or of htpasswd, which is read again when it changes and which `relay user` edits; or "
        "Dovecot's auth socket: `dovecot:/run/dovecot/auth-client`.",
        examples=["/etc/relay/users"],
    )
    tokens: Tokens | None = Field(default=None, description="Users who log in with a token of OAuth 2.0.")
    mechanisms: tuple[kinds.Mechanism, ...] = Field(
        default=(),
        description="By which SASL mechanisms users may log in. Default: all that can work; SCRAM-SHA-256 when every "
        "user's password is kept in its form. Naming it here offers it before: who has no such password yet gets 432.",
        examples=["[SCRAM-SHA-256, PLAIN]"],
    )
    certificates: tuple[kinds.TrustedCertificate, ...] = Field(
        default=(),
        description="Clients that show one of these certificates may send to anywhere: the fingerprint of one, or a "
        "file with the certificates of authorities that sign them.",
        examples=["[/etc/relay/clients-ca.pem]"],
    )
    add_sender: kinds.Flag = Field(
        default=False,
        description="Add a Sender field to submissions whose From is not who logged in (RFC 6409 §8.1).",
    )
    message_size_octets: kinds.Size = Field(
        default=50 << 20, alias="message_size", description="The largest message that is taken; announced as SIZE."
    )
    header_size_octets: kinds.Size = Field(
        default=256 << 10, alias="header_size", description="The largest header section; a larger one gets 552 5.3.4."
    )
    max_recipients: kinds.Count = Field(
        default=1000, description="Recipients of one message; more get 452 4.5.3. (`recipients` is the file.)"
    )
    max_hops: kinds.Count = Field(
        default=50, description="A message with more Received fields than this goes round in a circle: 554 5.4.6."
    )
    bare_line_ends: Literal["refuse", "normalise"] = Field(
        default="refuse",
        description="What to do with content that holds a CR or LF outside a CRLF: `refuse` it (550 5.5.2), or "
        "`normalise` each to a CRLF. Neither ever ends the content.",
    )


class Tell(Section):
    """Who is told what about addresses and the queue.

    Each is ``trusted`` (whoever may relay anywhere), ``anybody`` or ``nobody``.
    """

    vrfy: kinds.Exposure = Field(
        default="trusted", description="Whom VRFY tells whether an address exists; others get 252."
    )
    expn: kinds.Exposure = Field(
        default="trusted", description="Whom EXPN tells who is behind a forward; others get 502."
    )
    forwarding: kinds.Exposure = Field(
        default="trusted", description="Who is told the new address of a forwarded one (251); others get 250."
    )
    status: kinds.Exposure = Field(
        default="trusted", description="Whom HELP STATUS shows the queue's state; others get 214."
    )
    etrn: kinds.Exposure = Field(
        default="trusted", description="Who may start the queue for a domain with ETRN (RFC 1985)."
    )


class Forward(Section):
    """Where mail for one address goes instead.

    to     taken and sent on to these
    tell   a client is told the new address (251) when there is just one; None leaves it to tell.forwarding
    refer  nothing is taken: the client is told to send there itself (551)
    """

    to: kinds.Addresses = Field(
        default=(), description="Mail goes on to these addresses.", examples=["[ann@example.net]"]
    )
    tell: kinds.Flag | None = Field(
        default=None,
        description="Whether a client is told the new address: reply 251 in place of 250. Default: as "
        "`tell.forwarding` has it.",
        examples=["true"],
    )
    refer: kinds.MailAddress | None = Field(
        default=None,
        description="Take nothing, and tell the client to send there itself: reply 551. Stands alone, without `to`.",
        examples=["ann@example.net"],
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        """An address or a list of them, in place of a mapping."""
        return {"to": value} if isinstance(value, (str, list)) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> Forward:
        if (self.refer is None) is (not self.to):
            raise ValueError("either `to` says where mail goes, or `refer` where to send instead; give one of them")
        return self


class Limits(Section):
    """How much is served at once."""

    connections: kinds.Count = Field(default=2000, description="Clients connected at once; more are told 421.")
    connections_per_client: kinds.Count = Field(
        default=50, description="Connections at once from one IP address outside `accept.networks`; more are told 421."
    )
    errors: kinds.Count = Field(default=20, description="Refused commands in one session before it is ended with 421.")
    failed_logins: kinds.Count = Field(
        default=10,
        description="Failed logins of one client, or with one user's name, before more are answered 454 unheard. A "
        "client from which the user has logged in before is not shut out because of others.",
    )
    forget_failed_login_s: kinds.Duration = Field(
        default=60.0, alias="forget_failed_login", description="The time after which one failed login is forgotten."
    )


def no_endpoint_twice(listens: tuple[Listen, ...]) -> tuple[Listen, ...]:
    seen: set[str] = set()
    for listen in listens:
        if listen.endpoint in seen:
            raise ValueError(f"the endpoint {listen.endpoint} stands here twice; remove one of them")
        seen.add(listen.endpoint)
    return listens


def sound(forwards: Mapping[str, Forward]) -> Mapping[str, Forward]:
    seen: dict[str, str] = {}
    for key in forwards:
        other = seen.setdefault(entry_key(key), key)
        if other != key:
            raise ValueError(f'"{other}" and "{key}" are the same address; put the targets in one list')
    table = {key: policy.Forward(forwards[written].to, forwards[written].refer) for key, written in seen.items()}
    circles = dict(policy.Forwarding(table, Domains(()), FORWARD_LIMIT).faults())
    if circles:
        raise ValueError(f"this goes round in a circle: {'; '.join(circles.values())}; take one target out of each")
    return forwards
