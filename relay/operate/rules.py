"""From the configuration to what each stage is told: one function for each.

Here, and only here, the words of the configuration meet the words of the stages.  Each rule goes along
with its place (``relay.yaml:12``), so that a verdict or a route can name it.
"""

from __future__ import annotations

from relay.bounce.notify import ReportSettings
from relay.deliver.settings import DeliverySettings
from relay.message.address import domain_key
from relay.operate.config import Config
from relay.operate.interfaces import own_addresses
from relay.operate.settings.delivering import Route
from relay.operate.settings.receiving import Listen
from relay.policy.attempts import AttemptLimits
from relay.policy.content import ContentLimits
from relay.policy.directory import parse_entry
from relay.policy.forward import Forward
from relay.policy.policy import PolicySettings, Service, Whom
from relay.policy.recipients import entry_key
from relay.receive.settings import Entrance, Login, ReceiveSettings
from relay.receive.tls import KeyPair
from relay.route.credentials import Login as HopLogin
from relay.route.credentials import OAuth
from relay.route.mx import Ourselves
from relay.route.table import RouteRule, RouteTable
from relay.route.tls import Level, Security
from relay.route.via import on_terms
from relay.schedule.retry import RetrySettings
from relay.schedule.settings import ScheduleSettings
from relay.schedule.window import WindowSettings
from relay.smtp.data import BareLineEnds


def policy_settings(config: Config) -> PolicySettings:
    """Who may send what where."""
    accept, told = config.accept, config.tell
    return PolicySettings(
        hostname=config.hostname,
        networks=accept.networks,
        domains=accept.domains,
        recipients_listed=accept.recipients is not None,
        forward={
            entry_key(key): Forward(entry.to, entry.refer, entry.tell, config.place(f"forward.{key}"))
            for key, entry in config.forward.items()
        },
        directory=tuple(
            parse_entry(user, person, config.place(f"directory.{user}")) for user, person in config.directory.items()
        ),
        postmaster=config.postmaster,
        tell_forwarding=Whom(told.forwarding),
        verify_for=Whom(told.vrfy),
        expand_for=Whom(told.expn),
        status_for=Whom(told.status),
        etrn_for=Whom(told.etrn),
        add_sender=accept.add_sender,
        content=ContentLimits(accept.max_hops, accept.header_size_octets),
        place=config.place,
    )


def entrance(listen: Listen) -> Entrance:
    """What a listener asks of its clients."""
    usual = {"relay": "offered", "lmtp": "none"}.get(listen.service, "required")
    return Entrance(
        starttls=listen.tls != "none",
        must_encrypt=listen.tls == "required" or listen.service == "submissions",
        login=Login(listen.login or usual),
        login_in_clear=listen.login_without_tls,
        listener=listen.endpoint,
    )


def service(listen: Listen) -> Service:
    """What a listener is for."""
    return Service("submission" if listen.service == "submissions" else listen.service)


def key_pairs(config: Config) -> tuple[KeyPair, ...]:
    """The certificates by which clients know us."""
    return tuple(KeyPair(pair.certificate, pair.key or pair.certificate) for pair in config.tls)


def attempt_limits(config: Config) -> AttemptLimits:
    """How many failed logins are too many."""
    return AttemptLimits(config.limits.failed_logins, config.limits.forget_failed_login_s)


def receive_settings(config: Config) -> ReceiveSettings:
    """Limits and times of the way in."""
    return ReceiveSettings(
        hostname=config.hostname,
        size_limit_octets=config.accept.message_size_octets,
        recipients_limit=config.accept.max_recipients,
        bare_line_ends=BareLineEnds(config.accept.bare_line_ends),
        errors_limit=config.limits.errors,
        connections_limit=config.limits.connections,
        client_limit=config.limits.connections_per_client,
        command_timeout_s=config.timeouts.command_s,
        content_timeout_s=config.timeouts.content_s,
        transaction_limit_s=config.timeouts.transaction_s,
    )


def route_table(config: Config) -> RouteTable:
    """Where mail goes."""
    places = [f"routes[{n}], {config.place(f'routes[{n}]')}" for n in range(len(config.routes))]
    return RouteTable([_rule(route, place) for route, place in zip(config.routes, places, strict=True)])


def _rule(route: Route, place: str) -> RouteRule:
    way = on_terms(route.via, security_of(route, place), login_of(route))
    return RouteRule(route.to, way, route.sender, place)


def security_of(route: Route, place: str) -> Security | None:
    """The TLS that a route asks for; None where it leaves that to the domain, or to the default."""
    level = route.tls
    if level is None:
        # Who is given a password must be who it is, and named authorities are there to be asked.
        if route.user is None and route.authorities is None:
            return None
        level = "opportunistic" if route.login_unverified else "verify"
    authorities = str(route.authorities) if route.authorities is not None else ""
    return Security(Level(level), place, fingerprints=route.fingerprints, authorities=authorities)


def login_of(route: Route) -> HopLogin | None:
    """How a route logs in."""
    if route.user is None:
        return None
    said = route.oauth
    if said is None:
        return HopLogin(route.user, str(route.password_file), route.mechanisms, route.login_unverified)
    secret = str(said.client_secret_file) if said.client_secret_file is not None else ""
    oauth = OAuth(said.token_endpoint, said.client_id, secret, said.scope)
    return HopLogin(route.user, str(said.refresh_token_file), route.mechanisms, route.login_unverified, oauth)


def schedule_settings(config: Config) -> ScheduleSettings:
    """When it is tried, and how much at once."""
    retry = RetrySettings(
        config.retry.first_s,
        config.retry.factor,
        config.retry.longest_s,
        warn_after_s=config.retry.warn_after_s,
        give_up_after_s=config.retry.give_up_after_s,
    )
    delivery = config.delivery
    most = delivery.connections_per_destination
    return ScheduleSettings(
        retry=retry,
        window=WindowSettings(min(delivery.first_connections, most), 1, most, rest=retry),
        in_flight=delivery.connections,
        per_transaction=delivery.recipients,
    )


def delivery_settings(config: Config) -> DeliverySettings:
    """Limits of the way out."""
    delivery = config.delivery
    # Two attempts to a connection: the second message's commands go out behind the first one's final dot.
    per_hop = max(1, delivery.connections_per_destination // 2)
    return DeliverySettings(
        connect_timeout_s=config.timeouts.connect_s,
        connections=delivery.connections,
        connections_per_hop=per_hop,
        messages_per_connection=delivery.messages_per_connection,
        idle_s=delivery.idle_s,
        recipients_per_transaction=delivery.recipients,
    )


def report_settings(config: Config) -> ReportSettings:
    """How senders are told."""
    return ReportSettings(
        config.hostname, config.postmaster, config.bounce.full_limit_octets, config.bounce.double_bounce
    )


def ourselves(config: Config) -> Ourselves:
    """How this machine may stand in somebody's MX list: by its name, or the address of an interface."""
    return Ourselves((domain_key(config.hostname),), own_addresses(), config.dns.unreachable)
