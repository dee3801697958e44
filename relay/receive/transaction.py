"""One message on its way in: from MAIL to the answer to its last octet.

The rules that must not be broken: 250 is answered only when the queue says that the message is on disk;
trouble of ours is answered 4yz, and whatever becomes of the transaction, its draft is committed or aborted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.message import reply, trace
from relay.message.address import AddressFault, parse_mailbox
from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.journey import Entry
from relay.message.reply import Reply
from relay.policy.client import Client
from relay.policy.content import HeaderWatch
from relay.policy.policy import Service
from relay.policy.verdict import Accepted, Refused
from relay.queue.store import Draft
from relay.receive.reception import Reception
from relay.receive.scribe import Named, Told, Visitor
from relay.smtp.events import MailReceived, RecipientReceived
from relay.smtp.scram import ScramSecret

Answer = Reply | Deferred[Reply | None] | tuple[ScramSecret, str] | None
"""A reply at once, a reply later, or nothing to say.  A Deferred that fires with None was only waited for.  Within a
login by SCRAM, what is kept of a password, and a nonce."""


class Transaction:
    """What a client said since MAIL, and the draft of its content.

    told  what the journal is to know of who is there
    """

    __slots__ = (
        "_client",
        "_draft",
        "_expanded",
        "_house",
        "_mail",
        "_message_id",
        "_named",
        "_octets",
        "_recipients",
        "_refused",
        "_trouble",
        "_visit",
        "_watch",
    )

    def __init__(self, house: Reception, client: Client, mail: MailReceived, verdict: Accepted, told: Told) -> None:
        self._house = house
        self._client = client
        self._mail = mail
        self._visit = Visitor(client, mail, verdict, told)
        self._octets = 0
        self._message_id = ""
        self._named: list[Named] = []
        self._refused: list[Named] = []
        self._recipients: list[Recipient] = []
        self._expanded: list[Recipient] = []
        self._draft: Draft | None = None
        self._watch: HeaderWatch | None = None
        self._trouble: Reply | None = None

    def recipient(self, event: RecipientReceived) -> Reply:
        """Answers RCPT."""
        house = self._house
        verdict = house.policy.recipient(
            self._client, house.service, event.address, event.notify, event.orcpt, self._mail.smtputf8
        )
        if isinstance(verdict, Refused):
            house.tell(
                "refused",
                client=self._client.ip,
                sender=self.sender,
                recipient=str(event.address),
                reply=str(verdict.reply),
                rule=verdict.rule,
                place=verdict.place,
            )
            self._refused.append((event, verdict))
            self._journal_refusal("recipient", verdict, self._refused[-1:])
            return verdict.reply
        if self._recipients and len(self._recipients) + len(verdict.recipients) > house.settings.recipients_limit:
            # RFC 5321 §4.5.3.1.10: the client sends to the others in a transaction of their own.
            return reply.TOO_MANY_RECIPIENTS
        self._named.append((event, verdict))
        self._recipients += verdict.recipients
        if verdict.expanded is not None:
            self._expanded.append(verdict.expanded)
        return verdict.reply

    @property
    def smtputf8(self) -> bool:
        """Whether the client asked for it (RFC 6531 §3.4)."""
        return self._mail.smtputf8

    @property
    def sender(self) -> str:
        """The reverse-path as the logs show it."""
        return str(self._mail.reverse_path) if self._mail.reverse_path is not None else "<>"

    # -- the content -----------------------------------------------------------------------

    def start(self) -> Reply:
        """Answers DATA, or the first BDAT: shall the content come?"""
        try:
            self._draft = self._house.store.begin()
        except Exception as error:
            return self._house.trouble("begin", error)
        self._watch = HeaderWatch(self._house.policy.settings.content.header_octets)
        return reply.START_INPUT

    def write(self, data: bytes) -> Deferred[Reply | None] | None:
        """Takes a piece of the content.  A Deferred: stop reading from the client until it fires."""
        draft, watch = self._draft, self._watch
        if draft is None or watch is None:
            return None  # refused already; the rest is read only to find the end
        try:
            watch.feed(data)
            self._octets += len(data)
            written = draft.write(data)
        except Exception as error:
            self._fail(error)
            return None
        if watch.too_big:
            self.forget()
        if written is None:
            return None
        return written.addCallbacks(_nothing, self._write_failed)

    def _write_failed(self, failure: Failure) -> None:
        if self._draft is not None:  # else it was given up, and that is why
            self._fail(failure)

    def _fail(self, error: BaseException | Failure) -> None:
        self._trouble = self._house.trouble("write", error)
        self.forget()

    def abort(self, why: str) -> None:
        """The client or the session gave it up; what of its content came is forgotten."""
        if self._draft is not None:
            self._house.tell("refused", client=self._client.ip, sender=self.sender, error=why)
            self.forget()

    def forget(self) -> None:
        """Gives the draft up."""
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.abort()

    # -- the end ---------------------------------------------------------------------------

    def finish(self, origin: Origin) -> Answer:
        """Answers the end of the content."""
        if self._trouble is not None:
            return self._trouble
        try:
            return self._judge_and_queue(origin)
        except Exception as error:
            self.forget()
            return self._house.trouble("content", error)

    def _judge_and_queue(self, origin: Origin) -> Answer:
        house, watch, draft = self._house, self._watch, self._draft
        assert watch is not None
        verdict = house.policy.content(watch)
        if isinstance(verdict, Refused):
            self.forget()
            told = {"reply": str(verdict.reply), "rule": verdict.rule, "place": verdict.place}
            house.tell("refused", client=self._client.ip, sender=self.sender, message_id=watch.message_id, **told)
            self._journal_refusal("content", verdict, self._named)
            return verdict.reply
        assert draft is not None
        self._message_id = watch.message_id
        recipients = self._recipients if len(self._recipients) == 1 else _none_twice(self._recipients)
        head = self._head(watch, draft.id, origin)
        mail = self._mail
        auth = mail.auth
        if auth is not None and not house.policy.believes(self._client, auth):
            auth = None  # RFC 4954 §5: it counts as <>
        envelope = Envelope(mail.reverse_path, mail.body, mail.smtputf8, mail.ret, mail.envid, auth, mail.require_tls)
        entries = self._entries(len(recipients), len(head))
        queued = house.enqueue(draft, envelope, origin, head, recipients, self._expanded, entries)
        self._draft = None
        return queued.addCallbacks(self._queued, self._not_queued, (len(recipients),), {}, (draft,))

    def _head(self, watch: HeaderWatch, message_id: str, origin: Origin) -> bytes:
        house = self._house
        hostname, now = house.settings.hostname, house.clock.seconds()
        # With several, "for" would tell each of the others (RFC 5321 §4.4, §7.2).
        only = self._named[0][0].address if len(self._named) == 1 else None
        if only is not None and not only.is_ascii and any(to.address.is_ascii for to in self._recipients):
            only = None  # it would be all that asks for SMTPUTF8, and RFC 5321 §4.4 does not ask for it
        head = trace.received(origin, hostname, message_id, now, only)
        if house.service in (Service.SUBMISSION, Service.LOCAL):
            self._message_id = self._message_id or f"<{message_id}@{hostname}>"
            head += watch.missing(
                message_id, hostname, trace.date(now), self._mail.reverse_path, self._submitter(origin)
            )
        return head + watch.separator

    def _submitter(self, origin: Origin) -> str | None:
        """Whom a Sender field is to name, if it is to: a login that is a mailbox, or the reverse-path it may use."""
        if not self._house.policy.settings.add_sender or origin.login is None:
            return None
        try:
            return str(parse_mailbox(origin.login))
        except AddressFault:
            return str(self._mail.reverse_path) if self._mail.reverse_path is not None else None

    # -- the journal -----------------------------------------------------------------------

    def _entries(self, recipients: int, head_octets: int) -> Sequence[Entry]:
        """The beginning of the message's journey."""
        scribe, watch = self._house.scribe, self._watch
        if scribe is None or watch is None or not scribe.is_writing:
            return ()
        octets = head_octets + self._octets
        named = [*self._named, *self._refused] if self._refused else self._named
        return scribe.accepted(self._visit, named, recipients, octets, self._message_id)

    def _journal_refusal(self, stage: str, refusal: Refused, named: Sequence[Named]) -> None:
        scribe, watch = self._house.scribe, self._watch
        if scribe is not None and watch is not None:
            scribe.refused(stage, self._visit, refusal, named, self._octets, watch.message_id)
        elif scribe is not None:
            scribe.refused(stage, self._visit, refusal, named)

    # -- the answer ------------------------------------------------------------------------

    def _queued(self, message: Message, recipients: int) -> Reply:
        origin = message.origin
        self._house.tell(
            "accepted",
            id=message.id,
            client=origin.client_ip,
            helo=origin.helo,
            protocol=origin.protocol,
            sender=self.sender,
            recipients=recipients,
            size=message.size,
            message_id=self._message_id,
        )
        return Reply(250, "2.0.0", (f"OK {message.id}",))

    def _not_queued(self, failure: Failure, draft: Draft) -> Reply:
        draft.abort()
        return self._house.trouble("commit", failure)


def _nothing(_: object) -> None:
    return None


def _none_twice(recipients: Iterable[Recipient]) -> list[Recipient]:
    """Each address once, as it was first given.  The case of a local part may mean something (RFC 5321 §2.4)."""
    first: dict[tuple[str, str], Recipient] = {}
    for recipient in recipients:
        address = recipient.address
        first.setdefault((address.local, address.domain_key), recipient)
    return list(first.values())
