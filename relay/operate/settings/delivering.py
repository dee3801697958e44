"""The way out: routes, retries, how hard next hops are worked, what senders and other domains are told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relay.operate import kinds
from relay.operate.settings.section import Section
from relay.route.mx import UNREACHABLE
from relay.route.table import ANY
from relay.route.via import ByMx, HopList
from relay.smtp.login import WITH_TOKEN


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
        examples=["https://login.microsoftonline.com/contoso.com/oauth2/v2.0/devicecode"],
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
        "`mx:` (by MX) or `mx:example.org` (by another domain's MX); `discard:`; `reject:550 5.7.1 words`; "
        "`function:name` in a program that relay is part of.",
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
    hold: kinds.Flag = Field(
        default=False,
        description="Hold this mail when it comes: it is not tried, and does not expire, until `relay queue release`.",
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


class Dkim(Section):
    """A DKIM signature for TLS reports, in the name of the domain of `tls_reports.sender` (RFC 6376)."""

    selector: kinds.Selector = Field(
        description="Names the key in the DNS: its public half stands in the TXT record SELECTOR._domainkey.DOMAIN.",
        examples=["tlsrpt"],
    )
    key: kinds.ExistingFile = Field(
        description="The private key, RSA or Ed25519, without a passphrase (PEM). It is read for each report.",
        examples=["/etc/relay/dkim.key"],
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
    dkim: Dkim | None = Field(
        default=None,
        description="Sign the reports that go by mail. Receivers ignore those without a signature (RFC 8460 §3).",
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
