"""Every key of the configuration: its kind, its default, and what it means.

This is the one place that knows them: the loader checks files against it and docs/configuration.md is
written from it.  Attribute names carry the unit (``first_s``), keys do not (``first: 1m``).  There is no key
that is read and ignored: what is not built yet stands in ``LATER``, and naming it is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from relay.operate import kinds, values
from relay.policy import forward as policy
from relay.policy.access import Domains
from relay.policy.recipients import entry_key
from relay.route.mx import UNREACHABLE
from relay.route.table import ANY
from relay.route.via import ByMx, HopList
from relay.smtp.login import WITH_TOKEN

LATER: Mapping[str, str] = {
    "admin": "the admin page comes in a later version; remove this line",
    "journal": "the journal comes in a later version; remove this line",
}
"""Keys with a meaning already fixed and no code behind it yet; ``[]`` stands for any item."""

FORWARD_LIMIT = 1000
"""How many recipients a forward may become, as far as checking it goes."""


class Section(BaseModel):
    """A mapping of the file.  Does not change once it is loaded; an unknown key is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


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
        description="Let clients log in in the clear: for devices that cannot encrypt, where nobody listens.",
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


class OAuth(Section):
    """Logging in with an access token of OAuth 2.0, as Google and Microsoft want it. ``relay oauth login`` gets the
    refresh token.
    """

    token_endpoint: kinds.HttpsUrl = Field(
        description="Where a refresh token is exchanged for access tokens.",
        examples=["https://oauth2.googleapis.com/token"],
    )
    device_endpoint: kinds.HttpsUrl | None = Field(
        default=None,
        description="Where `relay oauth login` begins (RFC 8628).",
        examples=["https://oauth2.googleapis.com/device/code"],
    )
    client_id: str = Field(description="How the provider knows us.", examples=["1234.apps.googleusercontent.com"])
    client_secret_file: kinds.SecretPath | None = Field(
        default=None,
        description="A file with the secret that goes with it, or `credential:NAME`.",
        examples=["/etc/relay/oauth.secret"],
    )
    refresh_token_file: kinds.FilePath = Field(
        description="The file with the refresh token. The relay must be able to write there: providers change it.",
        examples=["/var/lib/relay/oauth.token"],
    )
    scope: str = Field(
        default="", description="What to ask for.", examples=["https://outlook.office.com/SMTP.Send offline_access"]
    )


class Route(Section):
    """A rule of the routing table.  The first that matches is followed; without one, mail goes by MX."""

    to: kinds.Pattern = Field(
        description="Which recipients: `example.org`, `.example.org` (all under it), `ann@example.org`, or `*`.",
        examples=['"*"'],
    )
    sender: kinds.SenderPattern = Field(
        default=ANY,
        alias="from",
        description="Only mail from this sender: same forms as `to`, and `<>` for the null sender.",
        examples=["example.org"],
    )
    via: kinds.Via = Field(
        description="`smtp://host:port`, `smtps://host:port` (TLS from the first octet), `lmtp://host:port`, "
        "`lmtp+unix:/path`, or a list of these, tried in order; "
        "`mx:` (by MX) or `mx:example.org` (by another domain's MX); `discard:`; `reject:550 5.7.1 words`.",
        examples=["smtp://smtp.provider.example:587"],
    )
    tls: kinds.TlsLevel | None = Field(
        default=None,
        description="What TLS the next hop must have: `none`; `opportunistic` (whatever it offers, else plain); "
        "`require` (with anybody); `verify` (a certificate that a known authority gave to its name); `dane` (one that "
        "signed TLSA records vouch for); `fingerprint` (one of `fingerprints`). Default: `verify` with a `user`, else "
        "`opportunistic`; by MX what the domain asks for: DANE, else its MTA-STS policy, else `opportunistic`.",
        examples=["verify"],
    )
    fingerprints: tuple[kinds.Fingerprint, ...] = Field(
        default=(),
        description="For `tls: fingerprint`: the SHA-256 of the next hop's certificate, or of its public key.",
        examples=[f"[sha256:{'ab' * 32}]"],
    )
    authorities: kinds.ExistingFile | None = Field(
        default=None,
        description="A file with the certificates of the authorities that may vouch for the next hop (PEM). Default: "
        "those this machine trusts.",
        examples=["/etc/relay/lan-ca.pem"],
    )
    user: str | None = Field(
        default=None, description="Log in at the next hop with this name.", examples=["me@provider.example"]
    )
    password_file: kinds.SecretPath | None = Field(
        default=None,
        description="A file whose first line is the password; or `credential:NAME`, which systemd hands over "
        "(LoadCredential=). It is read at each login.",
        examples=["/etc/relay/provider.password"],
    )
    oauth: OAuth | None = Field(default=None, description="Log in with an access token in place of a password.")
    mechanisms: tuple[kinds.ClientMechanism, ...] = Field(
        default=(),
        description="How to log in, what is to be tried first in front. Default: the safest that the next hop offers.",
        examples=["[PLAIN]"],
    )
    login_unverified: kinds.Flag = Field(
        default=False,
        description="Log in even where nobody has proved to be the next hop: whoever answers gets the password.",
    )

    @model_validator(mode="after")
    def _fitting(self) -> Route:
        fault = _fault_of_terms(self) or _fault_of_login(self)
        if fault:
            raise ValueError(fault)
        return self


def _fault_of_terms(route: Route) -> str:
    """What is wrong with what a route says of TLS; empty when nothing is."""
    said = route.tls is not None or route.fingerprints or route.authorities
    if said and not isinstance(route.via, (HopList, ByMx)):
        return "tls, fingerprints and authorities are for routes to hosts; remove them here"
    if said and isinstance(route.via, HopList) and any(hop.path is not None for hop in route.via.hops):
        return "a unix socket has no TLS; remove tls, fingerprints and authorities, or make a route of its own for it"
    if (route.tls == "fingerprint") is not bool(route.fingerprints):
        return "tls: fingerprint and fingerprints go together; give both, or neither"
    if route.authorities is not None and route.tls not in ("verify", None):
        return f"authorities are for tls: verify, not for {route.tls}"
    if route.tls == "none" and isinstance(route.via, HopList) and any(hop.implicit_tls for hop in route.via.hops):
        return "smtps:// is TLS from the first octet; write smtp://, or another tls"
    return ""


def _fault_of_login(route: Route) -> str:
    """What is wrong with what a route says of logging in; empty when nothing is."""
    if route.user is None:
        if route.password_file or route.oauth or route.mechanisms or route.login_unverified:
            return "there is no user to log in as; add the line user: me@provider.example"
        return ""
    if not isinstance(route.via, HopList):
        return "user is for a route to a host; mail by MX goes to strangers, who are given no password"
    if (route.password_file is None) is (route.oauth is None):
        return "a user needs a password_file or oauth; give one of them"
    wrong = [one for one in route.mechanisms if (one in WITH_TOKEN) is (route.oauth is None)]
    if wrong:
        return f"{wrong[0]} is for {'oauth' if route.oauth is None else 'a password'}; remove it"
    if route.tls in ("none", "opportunistic", "require") and not route.login_unverified:
        return (
            f"tls: {route.tls} lets anybody pose as the next hop, and get the password; write tls: verify, or "
            "fingerprint for a host of your own (login_unverified: true if that does not matter)"
        )
    return ""


class Retry(Section):
    """When a recipient that could not be served is tried again."""

    first_s: kinds.Duration = Field(default=60.0, alias="first", description="Wait after the first failure.")
    factor: kinds.Factor = Field(default=2.0, description="Each wait is this much longer than the one before.")
    longest_s: kinds.Duration = Field(default=3600.0, alias="longest", description="The longest wait.")
    warn_after_s: kinds.DurationOrNever = Field(
        default=14400.0, alias="warn_after", description="Tell the sender of the delay after this time, once."
    )
    give_up_after_s: kinds.Duration = Field(
        default=432000.0, alias="give_up_after", description="Give up, and send the message back, after this time."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Retry:
        if self.first_s > self.longest_s:
            raise ValueError("the first wait is longer than the longest; make `longest` at least as long as `first`")
        chosen = "warn_after_s" in self.model_fields_set  # the default simply does not come into play
        if chosen and self.warn_after_s is not None and self.warn_after_s >= self.give_up_after_s:
            raise ValueError("`warn_after` is not before `give_up_after`; make it shorter, or never")
        return self


class Delivery(Section):
    """How hard a next hop is worked."""

    connections: kinds.Count = Field(default=200, description="Connections to next hops at once, in all.")
    connections_per_destination: kinds.Count = Field(
        default=20, description="Deliveries to one destination at once, when it does well."
    )
    first_connections: kinds.Count = Field(
        default=5, description="Deliveries to one destination at once, before it has shown how it does."
    )
    recipients: kinds.Count = Field(default=100, description="Recipients in one transaction.")
    messages_per_connection: kinds.Count = Field(
        default=200, description="Messages over one connection before a new one."
    )
    idle_s: kinds.Duration = Field(default=10.0, alias="idle", description="How long an unused connection is kept.")
    mta_sts: kinds.Flag = Field(
        default=True, description="Whether the MTA-STS policies of the domains that mail goes to count (RFC 8461)."
    )


class TlsReports(Section):
    """Telling other domains how TLS with their mail hosts went, once a day, where they ask for it (RFC 8460)."""

    send: kinds.Flag = Field(default=False, description="Whether reports are sent.")
    sender: kinds.MailAddress | None = Field(
        default=None,
        description="From whom they come, and whom the receiver may write to. Default: `postmaster`.",
        examples=["tls-reports@example.org"],
    )
    organization: str | None = Field(
        default=None, description="Who we are, in the reports. Default: the hostname.", examples=["Example Inc."]
    )


class Bounce(Section):
    """How senders are told of mail that could not be delivered."""

    full_limit_octets: kinds.Size = Field(
        default=50 << 10,
        alias="full_limit",
        description="A message up to this size is returned whole when the sender asked for it; of a larger one, "
        "the header section.",
    )
    double_bounce: Literal["hold", "postmaster"] = Field(
        default="hold",
        description="A report that cannot be delivered itself is never bounced: it is held in the queue, or sent to "
        "`postmaster`.",
    )


class Dns(Section):
    """How names are looked up."""

    servers: tuple[kinds.DnsServer, ...] = Field(
        default=(),
        description="Servers to ask, in order. None: those of /etc/resolv.conf.",
        examples=["[192.0.2.53]"],
    )
    timeout_s: kinds.Duration = Field(
        default=10.0, alias="timeout", description="How long one look-up may take in all."
    )
    trusted: tuple[kinds.IpAddress, ...] = Field(
        default=(),
        description="Servers whose word it is that an answer was validated by DNSSEC (the AD bit). DANE needs one. It "
        "must validate, and nobody must be able to get in between: a resolver on this machine.",
        examples=["[127.0.0.1]"],
    )
    ipv6: kinds.Flag = Field(default=True, description="Whether next hops are looked for at IPv6 addresses too.")
    unreachable: tuple[kinds.Network, ...] = Field(
        default=UNREACHABLE,
        description="A mail host that the DNS names is not talked to at these addresses: nobody's MX record shall lead "
        "to a service of this machine. Hosts that `routes` name are free of it.",
        examples=["[127.0.0.0/8, 10.0.0.0/8]"],
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


def _no_endpoint_twice(listens: tuple[Listen, ...]) -> tuple[Listen, ...]:
    seen: set[str] = set()
    for listen in listens:
        if listen.endpoint in seen:
            raise ValueError(f"the endpoint {listen.endpoint} stands here twice; remove one of them")
        seen.add(listen.endpoint)
    return listens


def _sound(forwards: Mapping[str, Forward]) -> Mapping[str, Forward]:
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


class Settings(Section):
    """The whole configuration."""

    hostname: kinds.Hostname = Field(
        default_factory=kinds.own_hostname,
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
    listen: Annotated[tuple[Listen, ...], Field(min_length=1), AfterValidator(_no_endpoint_twice)] = Field(
        default=(Listen(endpoint="tcp:2525:interface=127.0.0.1"),), description="Where clients come in."
    )
    tls: Annotated[tuple[Certificate, ...], BeforeValidator(kinds.one_or_more)] = Field(
        default=(), description="The certificates by which clients know this host."
    )
    accept: Accept = Field(default_factory=Accept, description="Whose mail is taken, and what it may be.")
    tell: Tell = Field(default_factory=Tell, description="Who is told what about addresses and the queue.")
    forward: Annotated[Mapping[kinds.ForwardKey, Forward], AfterValidator(_sound)] = Field(
        default_factory=dict,
        description="Addresses whose mail goes elsewhere: `ann@example.org`, `ann` (in every domain of ours) or "
        "`@example.org` (whatever does not exist there). The value is an address, a list, or a mapping.",
    )
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
    log: Log = Field(default_factory=Log, description="One line for each step of a message's way.")
