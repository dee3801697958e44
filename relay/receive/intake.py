"""One client's visit: answers the questions of its session.

The session has checked that a command may come and is well formed; policy decides; here it is carried out.
A question that can be answered at once is answered by a plain call; only what waits for the disk gives a
Deferred.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.message import reply
from relay.message.envelope import Origin
from relay.message.reply import Reply, printable
from relay.policy.client import Client
from relay.policy.policy import Service
from relay.policy.users import User
from relay.policy.verdict import Refused
from relay.receive import questions
from relay.receive.reception import Reception
from relay.receive.scribe import Visitor, session_of
from relay.receive.tls import Encryption
from relay.receive.transaction import Answer, Transaction
from relay.smtp.events import (
    ContentEnded,
    ContentReceived,
    ContentStarted,
    EtrnReceived,
    ExpandReceived,
    HelloReceived,
    HelpReceived,
    LoginAttempted,
    MailReceived,
    RecipientReceived,
    SecretWanted,
    SessionOpened,
    Shown,
    TlsRequested,
    TransactionAborted,
    VerifyReceived,
)
from relay.smtp.scram import ScramSecret

_UNKNOWN = "unknown"  # as a name of a client: it has none, or none is found yet


class Intake:
    """Answers one session's events.

    client     who is there
    offer      what it is offered
    group      with whom its connections are counted; empty when they are not
    turn_away  said in place of the greeting, when the client cannot be served; or None
    ended      messages brought to their end in this session, taken or not
    """

    __slots__ = (
        "_encryption",
        "_extended",
        "_has_shown",
        "_helo",
        "_house",
        "_origin",
        "_session",
        "_transaction",
        "_user",
        "client",
        "ended",
        "group",
        "offer",
        "turn_away",
    )

    def __init__(self, house: Reception, client: Client, group: str = "", turn_away: Reply | None = None) -> None:
        self._house = house
        self._helo = ""
        self._extended = False
        self._origin: Origin | None = None
        self._transaction: Transaction | None = None
        self._session: tuple[Client, Origin, str] | None = None
        self._encryption: Encryption | None = None
        self._user: User | None = None
        self._has_shown = False  # its certificate was its login
        self.client = client
        self.offer = house.offer(self.client)
        self.group = group
        self.turn_away = turn_away
        self.ended = 0

    def reconsider(self) -> None:
        """Looks at the client again, under new rules; a transaction that was begun goes on under the old."""
        house, encryption = self._house, self._encryption
        client = house.policy.client(self.client.ip)
        certificate = house.trusted_certificates.trusts(encryption.shown) if encryption is not None else None
        if certificate is not None:
            client = house.policy.certified(client, certificate)
        if self._user is not None:
            client = house.policy.logged_in(client, self._user)
        self.client = client
        self.offer = house.offer(client, encryption)
        self._origin = None

    def encrypted(self, encryption: Encryption) -> None:
        """TLS has begun, and this was agreed; who logged in before it is forgotten (RFC 3207 §4.2)."""
        self._encryption = encryption
        self._user = None
        self._has_shown = False
        self._helo = ""
        self.reconsider()
        self._house.tell("encrypted", client=self.client.ip, tls=encryption.version, cipher=encryption.cipher)

    def answer(self, event: object) -> Answer:
        """The answer to any event.  Nothing that goes wrong in it gets past here: it is trouble of ours, 451."""
        try:
            return _ANSWERS[type(event)](self, event)
        except Exception as error:
            told = self._house.trouble(type(event).__name__, error)
            return None if isinstance(event, (ContentReceived, TransactionAborted)) else told

    def leave(self, why: str = "connection lost") -> None:
        """Forgets what is not committed."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort(why)

    # -- the session -----------------------------------------------------------------------

    def _opened(self, event: SessionOpened) -> Reply:
        if self.turn_away is not None:
            return self.turn_away
        if self.client.ip:
            self._house.reverse_name(self.client.ip)  # so that it is known when a message comes
        return self._house.greeting

    def _hello(self, event: HelloReceived) -> Reply:
        self._helo, self._extended, self._origin = printable(event.name), event.extended, None
        return reply.NOTHING_DONE  # the session writes the response itself

    # -- TLS and logging in ----------------------------------------------------------------

    def _tls(self, event: TlsRequested) -> Reply:
        return reply.READY_FOR_TLS if self._house.tls is not None else reply.TLS_UNAVAILABLE

    def _secret(self, event: SecretWanted) -> tuple[ScramSecret, str] | Reply:
        logins = self._house.logins
        return logins.secret(event.user, self.client) if logins is not None else reply.LOGIN_UNAVAILABLE

    def _login(self, event: LoginAttempted) -> Answer:
        if isinstance(event.evidence, Shown):
            return self._shown(event)
        logins = self._house.logins
        if logins is None:  # taken away by a reload
            return reply.LOGIN_UNAVAILABLE
        return logins.attempt(event, self.client).addCallback(self._logged_in)

    def _shown(self, event: LoginAttempted) -> Reply:
        """A certificate names nobody but its owner, so nobody acts as somebody else by it."""
        client = self.client
        if not client.certified or event.act_as:
            told = str(reply.LOGIN_REFUSED)
            self._house.tell("refused", client=client.ip, login=event.act_as, reply=told, mechanism=event.mechanism)
            return reply.LOGIN_REFUSED
        self._has_shown, self._origin = True, None
        self._house.tell("logged_in", client=client.ip, login=client.rule, mechanism=event.mechanism)
        return reply.LOGGED_IN

    def _logged_in(self, answer: User | Reply) -> Reply:
        if isinstance(answer, Reply):
            return answer
        self.vouch(answer)
        return reply.LOGGED_IN

    def vouch(self, user: User) -> None:
        """The client is this user: it has proven that, or somebody knows it who may be believed."""
        self._user = user
        self.reconsider()

    # -- the transaction -------------------------------------------------------------------

    def _mail(self, event: MailReceived) -> Reply:
        house = self._house
        verdict = house.policy.sender(self.client, house.service, event.reverse_path)
        if isinstance(verdict, Refused):
            told = {"reply": str(verdict.reply), "rule": verdict.rule, "place": verdict.place}
            house.tell("refused", client=self.client.ip, sender=str(event.reverse_path or "<>"), **told)
            if house.scribe is not None:
                house.scribe.refused("sender", Visitor(self.client, event, None, self._told), verdict)
            return verdict.reply
        if event.declared_size is not None and not house.has_room(event.declared_size):
            return reply.NO_SPACE
        self._transaction = Transaction(house, self.client, event, verdict, self._told)
        return verdict.reply

    def _recipient(self, event: RecipientReceived) -> Reply:
        return self._begun().recipient(event)

    def _content_started(self, event: ContentStarted) -> Reply:
        return self._begun().start()

    def _content_received(self, event: ContentReceived) -> Answer:
        return self._begun().write(event.data)

    def _content_ended(self, event: ContentEnded) -> Answer:
        transaction, self._transaction = self._begun(), None
        self.ended += 1
        return transaction.finish(self._origin_of(transaction.smtputf8))

    def _aborted(self, event: TransactionAborted) -> None:
        self.leave(event.why)

    def _begun(self) -> Transaction:
        assert self._transaction is not None, "the session asks only within a transaction"
        return self._transaction

    def _origin_of(self, smtputf8: bool) -> Origin:
        """Where a message of this session comes from; the same object for all of them, as far as it is the same."""
        login = self._user.name if self._user is not None else None
        tls = self._encryption.told if self._encryption is not None else ""
        known = login is not None or self._has_shown
        protocol = protocol_name(self._house.service, self._extended, smtputf8, bool(tls), known)
        origin = self._origin
        if origin is None or origin.protocol != protocol or origin.client_name == _UNKNOWN:
            ip = self.client.ip
            name = (self._house.reverse_name(ip) if ip else "localhost") or _UNKNOWN
            if origin is None or origin.protocol != protocol or name != _UNKNOWN:
                origin = self._origin = Origin(ip, name, self._helo, protocol, login, tls)
        return origin

    def _told(self, client: Client, smtputf8: bool) -> str:
        """Who is there, for the journal; the same for all messages of this session, as far as it is the same."""
        origin, session = self._origin_of(smtputf8), self._session
        if session is None or session[0] is not client or session[1] is not origin:
            house = self._house
            tls = self._encryption.version if self._encryption is not None else ""
            text = session_of(client, origin, house.entrance.listener, house.service.value, tls)
            session = self._session = (client, origin, text)
        return session[2]

    # -- other questions -------------------------------------------------------------------

    def _verify(self, event: VerifyReceived) -> Reply:
        return self._house.policy.verify(self.client, event.text, event.smtputf8).reply

    def _expand(self, event: ExpandReceived) -> Reply:
        return self._house.policy.expand(self.client, event.text, event.smtputf8).reply

    def _help(self, event: HelpReceived) -> Answer:
        house = self._house
        if not house.policy.settings.status_for.includes(self.client.trusted):
            return reply.HELP
        counts, now = house.counts(), house.clock.seconds()
        if isinstance(counts, Deferred):  # others have parts of the queue
            return counts.addCallback(questions.status, now)
        return questions.status(counts, now)

    def _etrn(self, event: EtrnReceived) -> Answer:
        house, asked = self._house, questions.etrn_domain(event.node)
        if isinstance(asked, Reply):
            return asked
        domain, subdomains = asked
        refusal = questions.etrn_refusal(house.policy, self.client, domain)
        if refusal is not None:
            return refusal
        waiting = house.flush(domain, subdomains)
        return waiting.addCallbacks(lambda count: questions.etrn_answer(domain, count), self._not_flushed)

    def _not_flushed(self, failure: Failure) -> Reply:
        self._house.trouble("flush", failure)
        return questions.ETRN_UNABLE


_ANSWERS: dict[type, Callable[[Intake, Any], Answer]] = {
    SessionOpened: Intake._opened,
    HelloReceived: Intake._hello,
    MailReceived: Intake._mail,
    RecipientReceived: Intake._recipient,
    ContentStarted: Intake._content_started,
    ContentReceived: Intake._content_received,
    ContentEnded: Intake._content_ended,
    TransactionAborted: Intake._aborted,
    VerifyReceived: Intake._verify,
    ExpandReceived: Intake._expand,
    HelpReceived: Intake._help,
    EtrnReceived: Intake._etrn,
    TlsRequested: Intake._tls,
    SecretWanted: Intake._secret,
    LoginAttempted: Intake._login,
}


def protocol_name(service: Service, extended: bool, smtputf8: bool, tls: bool = False, login: bool = False) -> str:
    """The ``with`` of a Received field (RFC 3848, RFC 6531 §4.3)."""
    if service is Service.LOCAL:
        return "local"  # no protocol brought it, and who it was stands beside
    if service is Service.LMTP:
        name = "UTF8LMTP" if smtputf8 else "LMTP"
    elif not extended:
        return "SMTP"
    else:
        name = "UTF8SMTP" if smtputf8 else "ESMTP"
    return f"{name}{'S' if tls else ''}{'A' if login else ''}"
