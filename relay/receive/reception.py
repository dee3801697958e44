"""What all sessions of one listener share: the rules in force and the neighbours they ask."""

from __future__ import annotations

import traceback

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.message import reply
from relay.message.reply import Reply
from relay.message.step import Tell
from relay.policy.access import Client
from relay.policy.policy import Policy, Service
from relay.queue.store import Store, StoreFull, StoreUnavailable
from relay.receive.settings import Enqueue, Flush, HasRoom, ReceiveSettings, ReverseName, TellCounts
from relay.smtp.extensions import ServerOffer


class Reception:
    """One listener's neighbours.  ``settings`` and ``policy`` are replaced when the configuration is read again:
    sessions go on, with the offer that they were made, and their next question is judged by the new rules."""

    __slots__ = (
        "clock",
        "counts",
        "enqueue",
        "flush",
        "greeting",
        "has_room",
        "offer_to_others",
        "offer_to_trusted",
        "policy",
        "reverse_name",
        "service",
        "settings",
        "store",
        "tell",
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
    ) -> None:
        self.clock = clock
        self.service = service
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
        self.offer_to_trusted = self._offer(trusted=True)
        self.offer_to_others = self._offer(trusted=False)

    def offer(self, client: Client) -> ServerOffer:
        """The extensions and limits for this client's session."""
        return self.offer_to_trusted if client.trusted else self.offer_to_others

    def _offer(self, trusted: bool) -> ServerOffer:
        settings, told = self.settings, self.policy.settings
        exposed = {"VRFY": told.verify_for, "EXPN": told.expand_for}
        # RFC 5321 §4.2.4: what will be refused must not be announced.
        off = {keyword for keyword, whom in exposed.items() if not whom.includes(trusted)}
        return ServerOffer(
            settings.hostname,
            lmtp=self.service is Service.LMTP,
            message_size_limit=settings.size_limit_octets,
            recipients_limit=settings.recipients_limit,
            bare_line_ends=settings.bare_line_ends,
            off=frozenset(off),
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
