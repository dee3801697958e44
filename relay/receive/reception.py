"""What all sessions of one listener share: the rules in force and the neighbours they ask."""

from __future__ import annotations

import traceback

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.message import reply
from relay.message.reply import Reply
from relay.message.step import Tell
from relay.policy.client import Client
from relay.policy.policy import Policy, Service
from relay.queue.store import Store, StoreFull, StoreUnavailable
from relay.receive.logins import Logins
from relay.receive.scribe import Scribe
from relay.receive.settings import (
    Enqueue,
    Entrance,
    Flush,
    HasRoom,
    Login,
    ReceiveSettings,
    ReverseName,
    TellCounts,
)
from relay.receive.tls import Encryption, ServerTls, TrustedCertificates
from relay.smtp.auth import EXTERNAL
from relay.smtp.extensions import ServerOffer
from relay.smtp.login import WITH_TOKEN


class Reception:
    """One listener's neighbours.  ``settings`` and ``policy`` are replaced when the configuration is read again:
    sessions go on, with the offer that they were made, and their next question is judged by the new rules."""

    __slots__ = (
        "_offers",
        "clock",
        "counts",
        "enqueue",
        "entrance",
        "flush",
        "greeting",
        "has_room",
        "logins",
        "policy",
        "reverse_name",
        "scribe",
        "service",
        "settings",
        "store",
        "tell",
        "tls",
        "trusted_certificates",
    )

    def __init__(
        self,
        clock: IReactorTime,
        settings: ReceiveSettings,
        policy: Policy,
        store: Store,
        enqueue: Enqueue,
        tell: Tell,
        service: Service,
        reverse_name: ReverseName,
        counts: TellCounts,
        flush: Flush,
        has_room: HasRoom,
        entrance: Entrance,
        tls: ServerTls | None,
        logins: Logins | None,
        trusted_certificates: TrustedCertificates,
        scribe: Scribe | None = None,
    ) -> None:
        """tls     None when there is no certificate
        logins  None when nobody can log in
        scribe  None when nothing is journaled
        """
        self.clock = clock
        self.service = service
        self.entrance = entrance
        self.tls = tls
        self.logins = logins
        self.trusted_certificates = trusted_certificates
        self.scribe = scribe
        self._offers: dict[object, ServerOffer] = {}
        self.reconfigure(settings, policy)
        self.store = store
        self.enqueue = enqueue
        self.tell = tell
        self.reverse_name = reverse_name
        self.counts = counts
        self.flush = flush
        self.has_room = has_room

    def reconfigure(self, settings: ReceiveSettings, policy: Policy) -> None:
        """These are in force from now on."""
        self.settings = settings
        self.policy = policy
        self.greeting = reply.greeting(settings.hostname)
        self._offers.clear()

    def offer(self, client: Client, encryption: Encryption | None = None) -> ServerOffer:
        """The extensions and limits for this client's session.  Made once for all clients that are offered the same."""
        mechanisms = self.logins.mechanisms if self.logins is not None else ()
        bound = encryption is not None and bool(encryption.bindings)
        known = (client.trusted, client.is_known_by_name, client.certified)
        key = (known, encryption is not None, bound, mechanisms)
        offer = self._offers.get(key)
        if offer is None:
            offer = self._offers[key] = self._offer(client, encryption is not None, bound, mechanisms)
        return offer

    def _offer(self, client: Client, encrypted: bool, bound: bool, mechanisms: tuple[str, ...]) -> ServerOffer:
        settings, told, entrance = self.settings, self.policy.settings, self.entrance
        exposed = {"VRFY": told.verify_for, "EXPN": told.expand_for}
        # RFC 5321 §4.2.4: what will be refused must not be announced.
        off = {keyword for keyword, whom in exposed.items() if not whom.includes(client.trusted)}
        if self.service is Service.SUBMISSION:
            off.add("ETRN")  # RFC 6409 §7
        may_log_in = bool(mechanisms) and entrance.login is not Login.NONE
        # In the clear nobody may log in, unless the listener says so; and with a token nobody at all (RFC 7628 §3).
        can = [name for name in mechanisms if encrypted or (entrance.login_in_clear and name not in WITH_TOKEN)]
        may_now = may_log_in and bool(can)
        offered = [name for name in can if bound or not name.endswith("-PLUS")] if may_now else []
        if client.certified and entrance.login is not Login.NONE:
            offered.insert(0, EXTERNAL)  # RFC 8314 §4.2
        # Submission is for those who are known; whom the network does not tell, the login does (RFC 6409 §4.3).
        required = entrance.login is Login.REQUIRED or (self.service is Service.SUBMISSION and not client.trusted)
        return ServerOffer(
            settings.hostname,
            lmtp=self.service is Service.LMTP,
            message_size_limit=settings.size_limit_octets,
            recipients_limit=settings.recipients_limit,
            bare_line_ends=settings.bare_line_ends,
            off=frozenset(off),
            starttls=self.tls is not None and entrance.starttls and not encrypted,
            encrypted=encrypted,
            mechanisms=tuple(offered),
            login_needs_tls=may_log_in and not may_now,
            token_scope=self.logins.token_scope if self.logins is not None else "",
            must_encrypt=entrance.must_encrypt and not encrypted,
            must_log_in=may_log_in and required and not client.is_known_by_name,
            errors_limit=settings.errors_limit,
        )

    def trouble(self, where: str, what: BaseException | Failure) -> Reply:
        """What to answer when something of ours failed; whoever watches is told, the peer sees none of its text."""
        error = what.value if isinstance(what, Failure) else what
        if isinstance(error, StoreUnavailable):
            self.tell("trouble", place=where, error=str(error))
            return reply.NO_SPACE if isinstance(error, StoreFull) else reply.LOCAL_ERROR
        self.tell("trouble", place=where, error=repr(error), traceback="".join(traceback.format_exception(error)))
        return reply.LOCAL_ERROR
