"""What the way out stands on besides routes and sockets: MTA-STS policies, DANE, credentials, TLS reports.

Joined here so that service.py stays the list of parts; the rule of that module holds here too: nothing else names them.
"""

from __future__ import annotations

import random

from relay.deliver.keyring import Keyring
from relay.deliver.oauth import TokenSource
from relay.message.step import Tell
from relay.operate.config import Config
from relay.operate.shelf import FileShelf
from relay.operate.surroundings import Surroundings
from relay.route.policies import Policies
from relay.route.securing import Securing

POLICIES_FILE = "mta-sts.json"


class Outward:
    """See the module.

    securing  decides what TLS a hop must have
    keyring   has what we log in with
    """

    def __init__(self, config: Config, around: Surroundings, tell: Tell) -> None:
        clock, https = around.reactor, around.https
        self._policies: Policies | None = None
        if https is not None and config.delivery.mta_sts:
            shelf = FileShelf(config.spool / POLICIES_FILE, tell, around.in_thread)
            self._policies = Policies(clock, around.names, https.request, shelf, tell)
        self.securing = Securing(
            around.names, self._policies, validates=bool(config.dns.trusted), reports=config.tls_reports.send
        )
        tokens = TokenSource(clock, https.request, tell) if https is not None else None
        self.keyring = Keyring(clock, random.SystemRandom(), tell, tokens)

    def start(self) -> None:
        if self._policies is not None:
            self._policies.start()

    def stop(self) -> None:
        if self._policies is not None:
            self._policies.stop()
