"""The way in: one client's session, from its connection to the reply to its content, as it would go now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from relay.message.address import Address, AddressFault, parse_path
from relay.message.envelope import Recipient
from relay.message.reply import Reply
from relay.operate.config import Config
from relay.operate.explaining.causes import Circumstances, cause_of
from relay.operate.explaining.certificate import Pretended, pretended
from relay.operate.explaining.finding import Finding, Question, decision_of
from relay.operate.explaining.rehearsal import Rehearsal
from relay.operate.settings.receiving import Listen
from relay.policy.attempts import LONGEST_DELAY_S
from relay.policy.client import Client
from relay.policy.users import User
from relay.policy.verdict import Accepted, Verdict
from relay.receive.attendance import Attendance, client_group
from relay.receive.factory import SmtpServerFactory
from relay.receive.logins import REHEARSED_PASSWORD
from relay.receive.settings import Login
from relay.receive.visit import AS_IF_BY_TLS, Visit, VisitOver
from relay.smtp.events import LoginAttempted, Password, Proof
from relay.smtp.login import Credentials, LoggingIn, choose, exchange

CONTENT = b"From: <nobody@invalid>\r\nSubject: a rehearsal\r\n\r\n"


class WayIn:
    """One session.  A context manager, for who goes through it step by step.

    is_in       a transaction can begin
    sender      the reverse-path, once it is accepted; None is the null sender
    goes        where the mail of each recipient goes, in the order in which they were named; nowhere: it is refused
    recipients  where the mail of all that were accepted goes, after forwarding, none twice
    """

    def __init__(
        self,
        config: Config,
        listeners: Sequence[tuple[SmtpServerFactory, Listen]],
        attendance: Attendance,
        question: Question,
        user: User | None = None,
        certificate: Pretended | None = None,
    ) -> None:
        """listeners    in the order of ``listen`` in the configuration
        user         who the client is, where that is known without a login, as in a Visit
        certificate  what it shows when TLS begins; by default the one that the question names

        Raises ValueError for a listener that is not there.
        """
        self._config = config
        self._question = question
        self._number = _chosen(listeners, question)
        factory, self._listen = listeners[self._number]
        self._certificate = certificate if certificate is not None else pretended(question.certificate)
        self._rehearsal = Rehearsal(factory, attendance, self._certificate)
        self._visit: Visit
        self._known_user = self._user = user
        self.is_in = False
        self.sender: Address | None = None
        self.goes: list[Sequence[Recipient]] = []
        self.recipients: list[Recipient] = []

    async def findings(self) -> AsyncIterator[Finding]:
        """Each step, up to the first that ends it."""
        yield self._of_listener()
        with self:
            async for finding in self.entering():
                yield finding
            if self.is_in:
                async for finding in self.transaction(self._question):
                    yield finding

    def __enter__(self) -> WayIn:
        question, tls = self._question, replace(AS_IF_BY_TLS, shown=self._certificate.chain)
        begins_so = self._listen.service == "submissions" or (question.tls and self._known_user is not None)
        self._visit = Visit(
            self._rehearsal.factory,
            question.client,
            user=self._known_user,
            encryption=tls if begins_so else None,
            pretended=tls,
            helo=question.helo,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """The session is over."""
        self.is_in = False
        self._visit.leave()

    async def entering(self) -> AsyncIterator[Finding]:
        """What comes before a transaction can begin, up to the first step that ends it; then ``is_in`` tells."""
        try:
            async for finding in self._entering():
                yield finding
        except VisitOver as over:
            yield self._over(over)

    async def transaction(self, question: Question, with_content: bool = True) -> AsyncIterator[Finding]:
        """The envelope of the question, in the session that there is.

        with_content  content is sent too, if anybody is to have it; else the transaction is forgotten
        """
        self._question = question
        self.sender, self.goes, self.recipients = None, [], []
        try:
            async for finding in self._envelope():
                yield finding
            if with_content and any(self.goes):
                reply = await self._visit.content([CONTENT])
                verdict = self._verdict() if not reply.is_positive else None
                yield self._found("content", "", reply, verdict, self._limits())
            else:
                await self._visit.say("RSET")
        except VisitOver as over:
            self.is_in = False
            yield self._over(over)

    def _over(self, over: VisitOver) -> Finding:
        return Finding("in", "connection", self._client, "temporary", "the session is over", reply=str(over))

    async def _entering(self) -> AsyncIterator[Finding]:
        question = self._question
        greeted = self._of_greeting(await self._visit.greeting())
        yield greeted
        if greeted.decision != "accepted":
            return
        yield self._of_hello(await self._visit.hello())
        if question.tls and not self._visit.offered.encrypted:
            begun = self._found("tls", self._client, await self._visit.say("STARTTLS"))
            yield begun
            if begun.decision != "accepted":
                return
            yield self._of_hello(await self._visit.hello())
        if self._certificate and self._visit.offered.encrypted:
            yield self._of_certificate()
        if question.login and self._known_user is None:
            logged_in = await self._log_in()
            yield logged_in
            if logged_in.decision != "accepted":
                return
        self.is_in = True

    async def _envelope(self) -> AsyncIterator[Finding]:
        question = self._question
        sender = question.sender.removeprefix("<").removesuffix(">")
        mail = await self._visit.say(f"MAIL FROM:<{sender}>{self._parameters()}")
        begun = self._found("sender", sender or "<>", mail, self._verdict())
        yield begun
        if begun.decision != "accepted":
            return
        self.sender = _path(sender)
        for address in question.recipients:
            reply = await self._visit.say(f"RCPT TO:<{address}>")
            verdict = self._verdict()
            goes = verdict.recipients if reply.is_positive and isinstance(verdict, Accepted) else ()
            self.goes.append(goes)
            self._take(goes)
            yield self._of_recipient(address, reply, verdict)

    def _parameters(self) -> str:
        question = self._question
        said = f" SIZE={question.size}" if question.size is not None else ""
        said += " REQUIRETLS" if question.require_tls else ""
        return said + (" BODY=8BITMIME SMTPUTF8" if question.smtputf8 else "")

    def _take(self, recipients: Sequence[Recipient]) -> None:
        known = {(one.address.local, one.address.domain_key) for one in self.recipients}
        for one in recipients:
            if (one.address.local, one.address.domain_key) not in known:
                self.recipients.append(one)

    # -- logging in --------------------------------------------------------------------------

    async def _log_in(self) -> Finding:
        user = self._question.login
        offered = self._visit.offered.mechanisms
        credentials = Credentials(user, REHEARSED_PASSWORD)
        mechanism = choose(offered, (), credentials)
        if mechanism is None:
            token = Credentials(user, REHEARSED_PASSWORD, is_token=True)
            mechanism = choose(offered, (), token)
            credentials = token if mechanism is not None else credentials
        mechanism = mechanism or "PLAIN"
        logging_in = LoggingIn(exchange(mechanism, credentials, "", 0, "rehearsal"))
        reply = await self._late(self._visit.say(_line(logging_in.command()[0])))
        while reply.code == 334:
            reply = await self._late(self._visit.say(_line(logging_in.respond(reply.lines[0])[0])))
        return self._of_login(mechanism, reply)

    async def _late(self, saying: Coroutine[Any, Any, Reply]) -> Reply:
        """The reply; one that is held back comes now."""
        answer = Deferred.fromCoroutine(saying)
        if not answer.called:
            self._rehearsal.clock.advance(LONGEST_DELAY_S)
        return await answer

    def _of_login(self, mechanism: str, reply: Reply) -> Finding:
        logins, name = self._rehearsal.factory.house.logins, self._question.login
        if logins is not None:
            evidence = Proof(True) if mechanism.startswith("SCRAM") else Password("")
            whoever = logins.taken_for_right(LoginAttempted(mechanism, name, evidence))
            self._user = whoever if isinstance(whoever, User) else None
        details: dict[str, object] = {"mechanism": mechanism}
        if not reply.is_positive or self._user is None:
            return self._found("login", name, reply, details=details)
        client = self._visit.client
        # Who keeps the password elsewhere may not even have such a user.
        details["assumed"] = not self._user.secret
        details["senders"] = list(self._user.senders) if self._user.senders is not None else None
        return Finding("in", "login", name, "accepted", client.rule, client.place, str(reply), details=details)

    # -- findings ----------------------------------------------------------------------------

    @property
    def _client(self) -> str:
        return self._question.client or "this machine"

    def _verdict(self) -> Verdict | None:
        """What the policy has said since it was last looked at."""
        verdicts, self._rehearsal.policy.verdicts = self._rehearsal.policy.verdicts, []
        return verdicts[-1] if verdicts else None

    def _found(
        self,
        what: str,
        about: str,
        reply: Reply,
        verdict: Verdict | Client | None = None,
        details: Mapping[str, object] | None = None,
    ) -> Finding:
        """What became of one command.

        verdict  what the policy said to it, if it was asked
        """
        decision = decision_of(reply)
        rule, place, remedy = (verdict.rule, verdict.place, "") if verdict is not None else ("", "", "")
        if decision != "accepted":
            cause = cause_of(what, about, reply, self._circumstances())
            remedy = cause.remedy
            if not isinstance(verdict, Client) and (verdict is None or verdict.reply != reply):
                rule, place = cause.rule, cause.place
        return Finding("in", what, about, decision, rule, place, str(reply), remedy, details or {})

    def _circumstances(self) -> Circumstances:
        limit = self._rehearsal.factory.house.settings.connections_limit
        is_crowd = self._rehearsal.attendance.total > limit
        return Circumstances(self._config, self._listen, self._number, self._question, self._user, is_crowd)

    def _of_listener(self) -> Finding:
        listen, number = self._listen, self._number
        house = self._rehearsal.factory.house
        details = {
            "service": listen.service,
            "tls": house.tls is not None and (house.entrance.starttls or listen.service == "submissions"),
            "login": house.entrance.login.value if house.logins is not None else "none",
        }
        place = self._config.place(f"listen[{number}]")
        return Finding("in", "listener", listen.endpoint, place=place, details=details)

    def _of_greeting(self, reply: Reply) -> Finding:
        client, here = self._visit.client, self._rehearsal.attendance
        settings = self._rehearsal.factory.house.settings
        details = {
            "trusted": client.trusted,
            "connections": here.total,
            "connections_limit": settings.connections_limit,
            "of_client": None if client.trusted else here.of_group(client_group(client.ip)),
            "of_client_limit": settings.client_limit,
        }
        if reply.is_positive:
            return self._found("connection", self._client, reply, client, details)
        return self._found("connection", self._client, reply, details=details)

    def _of_hello(self, reply: Reply) -> Finding:
        offer = self._visit.offered
        details = {
            "helo": self._question.helo,
            "encrypted": offer.encrypted,
            "must_encrypt": offer.must_encrypt,
            "must_log_in": offer.must_log_in,
            "mechanisms": list(offer.mechanisms),
        }
        return self._found("hello", self._question.helo, reply, details=details)

    def _of_certificate(self) -> Finding:
        client, about = self._visit.client, str(self._certificate)
        if client.certified:
            details = {"is_trusted": True}
            return Finding("in", "certificate", about, "accepted", client.rule, client.place, details=details)
        place = self._config.place("accept.certificates")
        remedy = f"add it, or who has signed it, to accept.certificates in {self._config.source}"
        return Finding(
            "in", "certificate", about, "told", "not in accept.certificates", place, "", remedy, {"is_trusted": False}
        )

    def _of_recipient(self, address: str, reply: Reply, verdict: Verdict | None) -> Finding:
        details: dict[str, object] = {}
        if isinstance(verdict, Accepted) and reply.is_positive:
            details["to"] = [str(one.address) for one in verdict.recipients]
        return self._found("recipient", address, reply, verdict, details)

    def _limits(self) -> Mapping[str, object]:
        accept = self._config.accept
        return {
            "message_size": accept.message_size_octets,
            "header_size": accept.header_size_octets,
            "max_recipients": accept.max_recipients,
            "max_hops": accept.max_hops,
        }


def _chosen(listeners: Sequence[tuple[SmtpServerFactory, Listen]], question: Question) -> int:
    """Which listener: the one that is named, else the first that suits.  Raises ValueError."""
    if not listeners:
        raise ValueError("there is no listener: mail comes from within the program that relay is part of")
    endpoints = [listen.endpoint for _, listen in listeners]
    if question.listener:
        if question.listener not in endpoints:
            raise ValueError(f"there is no listener {question.listener}; there are: {', '.join(endpoints)}")
        return endpoints.index(question.listener)
    suited = (number for number, one in enumerate(listeners) if not question.login or _lets_log_in(*one, question.tls))
    return next(suited, 0)


def _lets_log_in(factory: SmtpServerFactory, listen: Listen, tls: bool) -> bool:
    """Whether a client can log in there, that begins TLS or does not."""
    house = factory.house
    in_tls = listen.service == "submissions" or (tls and house.tls is not None and house.entrance.starttls)
    may = house.logins is not None and house.entrance.login is not Login.NONE
    return may and (in_tls or house.entrance.login_in_clear)


def _line(line: bytes) -> str:
    return line.decode().removesuffix("\r\n")


def _path(text: str) -> Address | None:
    try:
        return parse_path(f"<{text}>")[0]
    except AddressFault:  # cannot be: the session has taken it
        return None
