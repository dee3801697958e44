"""Mail that programs send through the API, brought to the relay as by a client that has logged in."""

from __future__ import annotations

from collections.abc import Sequence

from relay.message.envelope import Envelope, Recipient
from relay.operate.settings.operating import Admin
from relay.operate.settings.receiving import Listen
from relay.policy.users import ANY_SENDER, User
from relay.receive.factory import SmtpServerFactory
from relay.receive.visit import AS_IF_BY_TLS, Pieces, Sent, Visit

LOGIN = "api"


def listener_of(admin: Admin) -> Listen:
    """The listener that the API is, as far as rules go: one for submission."""
    return Listen.model_construct(endpoint=admin.http, service="submission", tls="none", login="none")


def user_of(place: str) -> User:
    """Whom a program counts as, that may use the API."""
    return User(LOGIN, senders=(ANY_SENDER,), place=place)


class MailByHttp:
    """See the module.  Fits relay.operate.web.api.messages.Submit.

    factory  makes its sessions
    place    where the configuration lets them in
    is_tls   the API is within TLS
    """

    def __init__(self, factory: SmtpServerFactory, place: str, is_tls: bool) -> None:
        self.factory = factory
        self._user = user_of(place)
        self._encryption = AS_IF_BY_TLS if is_tls else None

    async def __call__(
        self, ip: str, envelope: Envelope, recipients: Sequence[Recipient], pieces: Pieces, size: int | None
    ) -> Sent:
        """Raises what ``pieces`` raises."""
        helo = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]" if ip else "localhost"
        with Visit(self.factory, ip, user=self._user, encryption=self._encryption, helo=helo) as visit:
            return await visit.send(envelope, recipients, pieces, size)
