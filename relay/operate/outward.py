"""What the way out stands on besides routes and sockets: MTA-STS policies, DANE, credentials, TLS reports.

Joined here so that service.py stays the list of parts; the rule of that module holds here too: nothing else names them.
"""

from __future__ import annotations

import random

from relay.deliver.guard import Witness, nobody
from relay.deliver.keyring import Keyring
from relay.deliver.oauth import TokenSource
from relay.message.address import Address, domain_key
from relay.message.step import Tell
from relay.operate import rules
from relay.operate.config import Config
from relay.operate.shards import number_of
from relay.operate.shelf import FileShelf
from relay.operate.surroundings import Surroundings
from relay.operate.tls_reports import Enqueue, TlsReports
from relay.route.policies import Policies
from relay.route.router import Router
from relay.route.securing import Securing

POLICIES_FILE = "mta-sts.json"
REPORTS_FILE = "tls-sessions.json"


class Outward:
    """See the module.

    securing  decides what TLS a hop must have
    keyring   has what we log in with
    witness   counts sessions for TLS reports
    """

    def __init__(self, config: Config, around: Surroundings, tell: Tell, enqueue: Enqueue) -> None:
        """enqueue  puts a message of ours in the queue; called only once the relay has started"""
        clock, https = around.reactor, around.https
        self._policies: Policies | None = None
        if https is not None and config.delivery.mta_sts:
            shelf = FileShelf(config.spool / POLICIES_FILE, tell, around.in_thread)
            self._policies = Policies(clock, around.names, https.request, shelf, tell)
        self.securing = Securing(
            around.names, self._policies, validates=bool(config.dns.trusted), reports=config.tls_reports.send
        )
        tokens = TokenSource(clock, https.request, tell) if https is not None else None
        self._reports = _reports(config, around, tell, enqueue) if config.tls_reports.send else None
        self.witness: Witness = self._reports.witness if self._reports is not None else nobody
        self.keyring = Keyring(clock, random.SystemRandom(), tell, tokens)

    def start(self) -> None:
        for part in (self._policies, self._reports):
            if part is not None:
                part.start()

    def stop(self) -> None:
        for part in (self._policies, self._reports):
            if part is not None:
                part.stop()


def router_of(config: Config, around: Surroundings, securing: Securing) -> Router:
    """Answers where to, as the configuration has it."""
    return Router(
        rules.route_table(config),
        around.names,
        around.reactor,
        around.chance,
        rules.ourselves(config),
        around.hosts,
        ipv6=config.dns.ipv6,
        securing=securing,
    )


def _reports(config: Config, around: Surroundings, tell: Tell, enqueue: Enqueue) -> TlsReports:
    hostname = domain_key(config.hostname)
    return TlsReports(
        clock=around.reactor,
        chance=around.chance,
        names=around.names,
        request=around.https.request if around.https is not None else None,
        enqueue=enqueue,
        shelf=FileShelf(config.spool / REPORTS_FILE, tell, around.in_thread),
        tell=tell,
        hostname=hostname,
        sender=config.tls_reports.sender or config.postmaster or Address("postmaster", hostname),
        organization=config.tls_reports.organization or hostname,
        part=number_of(config.spool),
    )
