"""What a configuration makes of an envelope: by the very session, policy and route table that live mail meets.

The rules that must not be broken: nobody is asked and nothing is waited for; and what hangs on the hour and not on the
configuration (connections, failed logins, room on the disk) refuses nothing here.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from twisted.internet.task import Clock

from relay.message.address import Address, parse_mailbox
from relay.operate import rules
from relay.operate.config import BUILT_IN, Config
from relay.operate.explaining.certificate import NO_CERTIFICATE, Pretended, pretended
from relay.operate.explaining.finding import Finding, Question
from relay.operate.explaining.listeners import Listeners, Listening
from relay.operate.explaining.way_in import WayIn
from relay.operate.explaining.way_out import via_of
from relay.operate.local_mail import settings_for_files
from relay.operate.mail_by_http import LOGIN as BY_HTTP
from relay.operate.mail_by_http import listener_of, user_of
from relay.operate.settings.receiving import Listen
from relay.operate.surroundings import Surroundings
from relay.operate.whatif.fate import NO_FATE, End, Fate, Target
from relay.operate.whatif.past import Past, Visitor
from relay.policy.policy import Service
from relay.policy.users import User
from relay.receive.settings import Entrance
from relay.route.hosts import HostsFile
from relay.route.table import Route
from relay.route.via import ByMx, Discard, HopList, Reject

T = TypeVar("T")

MAILDROP = "maildrop"
HELO = "client.example"
"""No rule looks at what a client calls itself."""

STAYS = 200
"""Sessions that are kept for the next envelope of the same visitor."""
ENVELOPES = 90
"""Of one session: it may say no more of what brings no message nearer, as RSET (relay.smtp.patience)."""
REFUSALS = 900
"""Recipients of one session, for each of them may be refused; likewise.  One envelope may have more."""

_ENDLESS = 1 << 30
_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


class House:
    """See the module.  A context manager."""

    def __init__(self, config: Config, now: float) -> None:
        """now  seconds since the epoch; time stands still"""
        self._config = config
        clock = Clock()
        clock.advance(now)
        settings = replace(settings_for_files(rules.receive_settings(config)), client_limit=_ENDLESS)
        self._listeners = Listeners(config, _surroundings(clock), lambda octets: True, settings)
        self._table = rules.route_table(config)
        self._submitter = rules.submitters(config)
        local = Listen.model_construct(endpoint=MAILDROP, service="relay", tls="none", login="none")
        self._of_files = self._listeners.listener(Service.LOCAL, Entrance(listener=MAILDROP)), local
        self._stays: dict[Visitor, _Stay] = {}
        self._by_http: Listening | None = None
        if config.admin is not None:
            listen = listener_of(config.admin)
            self._by_http = self._listeners.listener(rules.service(listen), rules.entrance(listen)), listen

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        for stay in self._stays.values():
            stay.leave()
        self._listeners.stop()

    def fates(self, past: Past) -> Sequence[Fate]:
        """Of each recipient, in their order; where nobody is named, of the sender."""
        if past.visitor is None:  # what we write ourselves, no rule refuses
            sender = parse_mailbox(past.sender) if past.sender else None
            return [self._accepted("", "written here", "", sender, [parse_mailbox(one)]) for one in past.recipients]
        return _at_once(self._visited(past, past.visitor))

    # -- the way in --------------------------------------------------------------------------------

    async def _visited(self, past: Past, visitor: Visitor) -> Sequence[Fate]:
        units = max(1, len(past.recipients))
        stay = self._stays.pop(visitor, None)
        if stay is None or not stay.has_room(len(past.recipients)):
            if stay is not None:
                stay.leave()
            stay = await self._stay(visitor)
        self._stays[visitor] = stay  # the last in order
        if stay.way_in is None:
            return [stay.fate] * units
        fates = self._fates_of(
            stay.way_in, [one async for one in stay.transaction(self._question(past, visitor))], units
        )
        if not stay.way_in.is_in:
            self._stays.pop(visitor).leave()
        return fates

    async def _stay(self, visitor: Visitor) -> _Stay:
        """Begins a session of this visitor; for one that has no way in, what becomes of all he sends."""
        if len(self._stays) >= STAYS:
            self._stays.pop(next(iter(self._stays))).leave()
        listening = self._listening_of(visitor)
        if isinstance(listening, Fate):
            return _Stay(None, listening)
        user = self._user_of(visitor, listening)
        question = Question(
            (),
            client=visitor.client,
            helo=HELO,
            login="" if user is not None else visitor.login,
            listener=listening[1].endpoint,
            tls=bool(visitor.tls),
        )
        among = self._listeners.listeners if user is None else [listening]
        way_in = WayIn(self._config, among, self._listeners.attendance, question, user, _certificate(visitor))
        way_in.__enter__()
        findings = [one async for one in way_in.entering()]
        if way_in.is_in:
            return _Stay(way_in)
        way_in.leave()
        return _Stay(None, _not_accepted(findings[-1]))

    def _question(self, past: Past, visitor: Visitor) -> Question:
        """The envelope as a question.  A size within the limit refuses nothing, and is not said."""
        limit = self._config.accept.message_size_octets
        return Question(
            past.recipients,
            sender=past.sender,
            client=visitor.client,
            helo=HELO,
            login=visitor.login,
            size=past.size if past.size is not None and past.size > limit else None,
            smtputf8=past.smtputf8,
            tls=bool(visitor.tls),
            require_tls=past.require_tls,
        )

    def _fates_of(self, way_in: WayIn, findings: Sequence[Finding], units: int) -> Sequence[Fate]:
        said = [one for one in findings if one.what == "recipient"]
        fates = [
            self._accepted(one.reply, one.rule, one.place, way_in.sender, [goes.address for goes in to])
            if one.decision == "accepted"
            else _not_accepted(one)
            for one, to in zip(said, way_in.goes, strict=True)
        ]
        if len(fates) == units:
            return fates
        last = findings[-1]  # it came no further; or it was only the sender
        fate = Fate("accepted", *_of(last)) if last.decision == "accepted" else _not_accepted(last)
        return [*fates, *[fate] * (units - len(fates))]

    def _listening_of(self, visitor: Visitor) -> Listening | Fate:
        """Where this visitor would come in now: at the listener of that name, else at one on the same port."""
        if visitor.service == Service.LOCAL.value:
            if rules.maildrop(self._config) is None:
                return self._closed("there is no maildrop", "sendmail.maildrop")
            return self._of_files
        listeners = self._listeners.listeners
        found = next((one for one in listeners if one[1].endpoint == visitor.listener), None)
        if found is None and visitor.login == BY_HTTP and visitor.service == Service.SUBMISSION.value:
            return self._by_http or self._closed("there is no API", "admin")
        port = _port(visitor.listener)
        if found is None and port:
            found = next((one for one in listeners if _port(one[1].endpoint) == port), None)
        if found is None:
            return self._closed(f"nobody listens at {visitor.listener or 'its listener'}", "listen")
        return self._unfit(visitor, found[1]) or found

    def _unfit(self, visitor: Visitor, listen: Listen) -> Fate | None:
        """Why the TLS of this visitor does not come about there, or None."""
        number = self._config.listen.index(listen)
        if listen.service == "submissions" and not visitor.tls:
            return self._closed("TLS begins with the first octet there", f"listen[{number}].service", "tls")
        least = f"TLSv{listen.tls_minimum.removesuffix('.0')}"
        if visitor.tls in _VERSIONS and _VERSIONS.index(visitor.tls) < _VERSIONS.index(least):
            return self._closed(f"{visitor.tls} is too old", f"listen[{number}].tls_minimum", "tls")
        return None

    def _closed(self, why: str, key: str, stage: str = "listener") -> Fate:
        return Fate("refused", stage, why, key, self._config.place(key))

    def _user_of(self, visitor: Visitor, listening: Listening) -> User | None:
        """Who it is without having logged in, as the kernel or the API knows it."""
        if listening is self._of_files:
            number, _, name = visitor.login.removeprefix("uid ").partition(" ")
            uid = int(number) if number.isdigit() else _ENDLESS
            return self._submitter(uid, name.removeprefix("(").removesuffix(")")).user
        return user_of(self._config.place("admin")) if listening is self._by_http else None

    # -- the way out -------------------------------------------------------------------------------

    def _accepted(self, said: str, rule: str, place: str, sender: Address | None, goes: Sequence[Address]) -> Fate:
        targets = tuple(_target(one, self._table.route(sender, one)) for one in goes)
        return Fate("accepted", "recipient", said, rule, place, targets)


class _Stay:
    """A visitor's session, or his fate where he does not come so far."""

    def __init__(self, way_in: WayIn | None, fate: Fate = NO_FATE) -> None:
        self.way_in = way_in
        self.fate = fate
        self._envelopes = 0
        self._recipients = 0

    def has_room(self, recipients: int) -> bool:
        """Whether one more envelope is judged as if it were the first."""
        return self.way_in is None or (self._envelopes < ENVELOPES and self._recipients + recipients <= REFUSALS)

    async def transaction(self, question: Question) -> AsyncIterator[Finding]:
        assert self.way_in is not None
        self._envelopes += 1
        self._recipients += len(question.recipients)
        async for finding in self.way_in.transaction(question, with_content=False):
            yield finding

    def leave(self) -> None:
        if self.way_in is not None:
            self.way_in.leave()


def _surroundings(clock: Clock) -> Surroundings:
    """In which nobody is there to be asked."""
    return Surroundings(
        reactor=clock,
        chance=random.Random(0),
        names=cast(Any, None),
        hosts=HostsFile(clock),
        dial=cast(Any, _nobody),
        listen=_nobody,
        open_store=_nobody,
        free=_nobody,
    )


def _nobody(*_: object) -> Any:
    raise AssertionError("nobody is asked, and nothing is opened")


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """What comes of work that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    work.close()
    raise AssertionError("something waits, and time stands still")


def _certificate(visitor: Visitor) -> Pretended:
    if visitor.certificate.startswith("signed by "):
        return Pretended(authority=visitor.certificate.removeprefix("signed by "))
    return pretended(visitor.certificate) if visitor.certificate.startswith("sha256:") else NO_CERTIFICATE


def _not_accepted(finding: Finding) -> Fate:
    return Fate("temporary" if finding.decision == "temporary" else "refused", *_of(finding))


def _of(finding: Finding) -> tuple[str, str, str, str]:
    return finding.what, finding.reply, finding.rule, finding.place


def _target(address: Address, route: Route) -> Target:
    rule, _, place = route.rule.partition(", ")
    way = route.way
    ends: End = ""
    if isinstance(way, Discard):
        ends = "discarded"
    elif isinstance(way, Reject) and way.reply.is_permanent:
        ends = "rejected"
    return Target(str(address), route.lane, _via(address, route), rule, place or str(BUILT_IN), route.hold, ends)


def _via(address: Address, route: Route) -> str:
    """The way, with what its route asks for."""
    way = route.way
    text = "mx:" if isinstance(way, ByMx) and way.domain == address.domain_key else via_of(way)
    security = way.hops[0].security if isinstance(way, HopList) else getattr(way, "security", None)
    if security is not None and str(security):
        text += f", tls: {security.level.value}" + (f" by {security.authorities}" if security.authorities else "")
    login = way.hops[0].login if isinstance(way, HopList) else None
    return text + (f", as {login.user} by {login.secret_file}" if login is not None else "")


def _port(endpoint: str) -> str:
    """The port of a Twisted endpoint description; empty for one that has none of its own."""
    kind, _, rest = endpoint.partition(":")
    port = rest.partition(":")[0].removeprefix("port=")
    return port if kind in ("tcp", "tcp6", "ssl") and port.isdigit() and port != "0" else ""
