"""The listeners of a relay that is not at work: the sessions that its configuration would make, which keep nothing.

The rule that must not be broken: nothing is bound, and nothing is opened to be written.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress

from relay.message.step import tell_nobody
from relay.operate import rules
from relay.operate.admission import KEY_OCTETS, read_trusted, sources_of
from relay.operate.config import Config
from relay.operate.explaining.rehearsal import NOWHERE, enqueue_nothing, flush_nothing
from relay.operate.settings.receiving import Listen
from relay.operate.surroundings import Surroundings
from relay.policy.policy import Policy, Service
from relay.policy.recipients import RecipientList, parse_recipients
from relay.queue.store import Counts
from relay.receive.attendance import Attendance
from relay.receive.factory import SmtpServerFactory
from relay.receive.logins import Logins
from relay.receive.settings import Entrance, HasRoom, ReceiveSettings
from relay.receive.tls import Certificates, ServerTls, TlsFault, TrustedCertificates

Listening = tuple[SmtpServerFactory, Listen]


class Listeners:
    """See the module.

    attendance  nobody
    listeners   in the order of ``listen`` in the configuration
    """

    def __init__(
        self, config: Config, around: Surroundings, has_room: HasRoom, settings: ReceiveSettings | None = None
    ) -> None:
        """settings  limits of the way in, where they are not those of the configuration"""
        self._config = config
        self._around = around
        self._has_room = has_room
        self._settings = settings or rules.receive_settings(config)
        self._policy = Policy(rules.policy_settings(config), _recipients(config))
        self._sources = sources_of(config, around, tell_nobody, lambda _: secrets.token_bytes(KEY_OCTETS))
        for source in self._sources:
            source.start()
        limits, allowed = rules.attempt_limits(config), config.accept.mechanisms
        self._logins = (
            Logins(self._sources, around.reactor, tell_nobody, str, limits, allowed) if self._sources else None
        )
        self._trusted = TrustedCertificates()
        with suppress(TlsFault):  # no relay would start with it, which ``relay check`` says
            self._trusted = read_trusted(config)
        # Nobody begins TLS here in truth, and the key may be for others to read.
        self._tls = ServerTls(Certificates(())) if config.tls else None
        self.attendance = Attendance()
        self.listeners: Sequence[Listening] = [
            (self.listener(rules.service(listen), rules.entrance(listen)), listen) for listen in config.listen
        ]

    def listener(self, service: Service, entrance: Entrance) -> SmtpServerFactory:
        """One more."""
        return SmtpServerFactory(
            clock=self._around.reactor,
            settings=self._settings,
            policy=self._policy,
            store=NOWHERE,
            enqueue=enqueue_nothing,
            flush=flush_nothing,
            service=service,
            counts=lambda: Counts(0, 0, {}),
            has_room=self._has_room,
            attendance=self.attendance,
            entrance=entrance,
            tls=self._tls,
            logins=self._logins,
            trusted_certificates=self._trusted,
        )

    def stop(self) -> None:
        """Watches no files any more."""
        for source in self._sources:
            source.stop()


def _recipients(config: Config) -> RecipientList | None:
    """The list as it is now; None when it cannot be read, as the relay has it then."""
    path = config.accept.recipients
    try:
        return parse_recipients(path.read_text(encoding="utf-8-sig"), str(path)) if path is not None else None
    except (OSError, ValueError):
        return None
