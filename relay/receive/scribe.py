"""What comes to the door, as the journal has it: what was taken, and what policy has refused.

What was taken is written with the message, in its commit.  Refusals belong to no message: they are gathered for a
second and written together, so many at most; who hammers at the door does not fill the journal, nor make the disk work.
Of the others it is told how many they were.

The rule that must not be broken: no mail waits for the journal or is refused for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.message import journey, reply
from relay.message.envelope import Body, Origin
from relay.message.journey import Entry
from relay.message.step import Tell
from relay.policy.client import Client
from relay.policy.verdict import Accepted, Refused, Verdict
from relay.queue.store import Store
from relay.smtp.events import MailReceived, RecipientReceived

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

GATHERED_S = 1.0
KEPT = 20
"""Refusals of a second that are kept."""
MORE_TOLD_EVERY_S = 60.0

Told = Callable[[Client, bool], str]
"""Who is there, as ``session_of`` has it, for a client and whether the transaction is SMTPUTF8."""

Named = tuple[RecipientReceived, Verdict]

_wishes = lru_cache(256)(journey.wishes)


class Visitor(NamedTuple):
    """Who sends what.

    verdict  on the sender; None when it is he who was refused
    """

    client: Client
    mail: MailReceived
    verdict: Verdict | None
    told: Told

    @property
    def session(self) -> str:
        return self.told(self.client, self.mail.smtputf8)

    @property
    def sender(self) -> str:
        return "<>" if self.mail.reverse_path is None else str(self.mail.reverse_path)

    @property
    def check(self) -> str:
        client, verdict = self.client, self.verdict
        if verdict is None or (verdict.rule == client.rule and verdict.place == client.place):
            return "null"
        return journey.check(verdict.rule, verdict.place)

    @property
    def wishes(self) -> str:
        mail = self.mail
        if mail.body is Body.SEVENBIT and not (
            mail.smtputf8 or mail.ret or mail.envid or mail.auth or mail.require_tls
        ):
            return "null"
        ret = mail.ret.value if mail.ret is not None else None
        return _wishes(mail.body.value, mail.smtputf8, ret, mail.envid, mail.auth, mail.require_tls)


class Scribe:
    """Writes for all listeners of a store."""

    def __init__(self, store: Store, clock: IReactorTime, tell: Tell) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell
        self._gathered: list[Entry] = []
        self._more = 0
        self._more_since = 0.0
        self._call: IDelayedCall | None = None

    @property
    def is_writing(self) -> bool:
        return self._store.journals

    # -- what was taken --------------------------------------------------------------------------

    def accepted(
        self, visitor: Visitor, named: Sequence[Named], recipient_count: int, size: int, message_id: str
    ) -> Sequence[Entry]:
        """The entry of a message that is about to be committed; none when it cannot be made.

        named            in RCPT, those that were refused too
        recipient_count  in the queue
        """
        try:
            text = journey.accepted(
                visitor.session,
                visitor.sender,
                size,
                message_id,
                recipient_count,
                [recipient_of(visitor.client, *one) for one in named],
                visitor.check,
                visitor.wishes,
            )
        except Exception as error:  # a defect; mail goes on
            self._tell("trouble", error=f"cannot be journaled: {error!r}")
            return ()
        return ((self._clock.seconds(), text),)

    # -- what was not ----------------------------------------------------------------------------

    def refused(
        self,
        stage: str,
        visitor: Visitor,
        refusal: Refused,
        named: Sequence[Named] = (),
        size: int | None = None,
        message_id: str = "",
    ) -> None:
        """Policy has refused a sender, a recipient or a content (``stage``)."""
        if not self._store.journals:
            return
        now = self._clock.seconds()
        if len(self._gathered) >= KEPT:
            self._more_since = self._more_since or now
            self._more += 1
            return
        try:
            text = journey.refused(
                visitor.session,
                visitor.sender,
                visitor.mail.declared_size if size is None else size,
                message_id,
                stage,
                str(refusal.reply),
                refusal.rule,
                refusal.place,
                [recipient_of(visitor.client, *one) for one in named],
                visitor.check,
                visitor.wishes,
            )
        except Exception as error:  # a defect; the client has its answer
            self._tell("trouble", error=f"cannot be journaled: {error!r}")
            return
        self._gathered.append((now, text))
        if self._call is None:
            self._call = self._clock.callLater(GATHERED_S, self._write)

    def _write(self) -> None:
        self._call = None
        if self._more and self._clock.seconds() - self._more_since >= MORE_TOLD_EVERY_S:
            self._tell_more()
        if self._gathered:
            self.flush()
        if self._more:
            self._call = self._clock.callLater(GATHERED_S, self._write)

    def _tell_more(self) -> None:
        self._gathered.append((self._clock.seconds(), journey.refused_more(self._more, self._more_since)))
        self._more, self._more_since = 0, 0.0

    def flush(self) -> Deferred[Sequence[str]]:
        """Writes what is gathered."""
        entries, self._gathered = self._gathered, []
        return self._store.note(entries).addErrback(lambda _: ())  # what is lost is told by the store

    def stop(self) -> Deferred[Sequence[str]]:
        """Writes what is left, and nothing more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._more:
            self._tell_more()
        return self.flush()


def session_of(client: Client, origin: Origin, listener: str, service: str, tls: str) -> str:
    """Who is there, for the journal.

    listener  its endpoint
    tls       the version, empty when there is none
    """
    return journey.session(
        client.ip,
        origin.client_name,
        origin.helo,
        origin.protocol,
        origin.login,
        listener,
        service,
        tls,
        client.certified,
        client.rule,
        client.place,
    )


def recipient_of(client: Client, event: RecipientReceived, verdict: Verdict) -> str:
    """A recipient as RCPT named it, and what became of that."""
    address = str(event.address)
    if isinstance(verdict, Accepted):
        goes = verdict.recipients
        is_changed = len(goes) != 1 or goes[0].address is not event.address
        if (
            verdict.rule == client.rule
            and verdict.reply is reply.RECIPIENT_OK
            and event.notify is None
            and event.orcpt is None
            and not is_changed
        ):
            return journey.named(address)
        to = [str(one.address) for one in goes] if is_changed else None
    else:
        to = []
    return journey.judged(address, str(verdict.reply), verdict.rule, verdict.place, to, event.notify, event.orcpt)
