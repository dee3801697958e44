"""What stands between a connection and its hop: TLS as the hop must have it, and then the login.

A connection without either has no guard.

The rule that must not be broken: credentials go only to who has proved to be the hop, unless the route says that
anybody may have them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.deliver.keyring import Keyring, NoCredentials
from relay.deliver.tls import OTHER_FAILURE, Evidence, Handshake, Handshakes, Judgement, UnusableAuthorities, judge
from relay.message.step import Tell
from relay.route.cache import Cache
from relay.route.tls import Level, Witness, nobody
from relay.route.via import Hop
from relay.smtp.client import ClientSession
from relay.smtp.client_events import Encryption, SessionEnded
from relay.smtp.login import Credentials, LoginFault, choose, exchange
from relay.smtp.transaction import Step

NO_STARTTLS = "starttls-not-supported"  # RFC 8460 §4.3.1

TELL_AGAIN_S = 3600.0

_log = Logger()


class Guards:
    """Makes the guards of connections."""

    def __init__(self, clock: IReactorTime, keyring: Keyring, tell: Tell, witness: Witness = nobody) -> None:
        self._clock = clock
        self._told: Cache[str, bool] = Cache(1000)
        self.keyring = keyring
        self.tell = tell
        self.witness = witness
        self.handshakes = Handshakes()
        self.failures: dict[str, int] = {}  # handshakes that did not do, by the result types of RFC 8460 §4.3

    def failed(self, failure: str) -> None:
        """A handshake, or what it showed, was not good enough."""
        self.failures[failure] = self.failures.get(failure, 0) + 1

    def guard(self, hop: Hop, label: str, *, plain: bool) -> Guard | None:
        """The guard of a connection, or None where it needs none.

        label  whom it goes to, as ``name [address]``
        plain  no TLS this time, after it failed where it was only an opportunity
        """
        wants_tls = hop.path is None and (hop.implicit_tls or hop.security.level is not Level.NONE)
        return Guard(self, hop, label, plain=plain) if wants_tls or hop.login is not None else None

    def passed_by(self, hop: Hop) -> None:
        """No connection may be made to this hop at all, for what is asked of it cannot be had."""
        security = hop.security
        if security.policed is not None and security.failure:
            self.witness(security.policed, hop.host, security.failure, security.trouble)

    def unsecured(self, label: str, why: str) -> None:
        """Mail goes to this host in plain; told once an hour."""
        now = self._clock.seconds()
        if self._told.get(label, now) is None:
            self._told.put(label, True, now + TELL_AGAIN_S)
            self.tell("unsecured", hop=label, error=why)


class Guard:
    """See the module.

    evidence   what the handshake has shown, once it is complete
    judgement  whether that is enough
    own_ip  our end of the connection, as text; its carrier says it
    """

    def __init__(self, guards: Guards, hop: Hop, label: str, *, plain: bool) -> None:
        self.hop = hop
        self.label = label
        self.own_ip = ""
        self._guards = guards
        self._plain = plain
        self.evidence: Evidence | None = None
        self.judgement: Judgement | None = None
        self._handshake: Handshake | None = None

    @property
    def tls(self) -> str:
        """Version and cipher; empty when there is no TLS, or none yet."""
        return self.evidence.how if self.evidence is not None else ""

    @property
    def begins_at_once(self) -> bool:
        """TLS comes before the first octet."""
        return self.hop.implicit_tls

    @property
    def encryption(self) -> Encryption:
        """What the session is to do about STARTTLS."""
        level = self.hop.security.level
        if self._plain or self.begins_at_once or self.hop.path is not None or level is Level.NONE:
            return Encryption.NEVER
        return Encryption.IF_OFFERED if level is Level.OPPORTUNISTIC else Encryption.MUST

    # -- TLS ---------------------------------------------------------------------------------

    def begin(self, transport: Any, session: ClientSession) -> None:
        """Begins the handshake."""
        try:
            self._handshake = self._guards.handshakes.handshake(self.hop)
        except UnusableAuthorities as fault:
            self._guards.tell("trouble", hop=self.label, error=str(fault))
            session.distrust(str(fault))
            return
        transport.startTLS(self._handshake)

    def shaken(self, session: ClientSession) -> None:
        """The handshake is complete: is it the hop?"""
        assert self._handshake is not None
        self.evidence = evidence = self._handshake.evidence()
        security = self.hop.security
        self.judgement = judgement = judge(security, self.hop.host, evidence)
        if security.level.verifies and not judgement.is_known:
            self._guards.failed(judgement.failure)
            self._witness(judgement.failure, judgement.why)
            session.distrust(judgement.why)
            return
        if security.testing and not judgement.is_known:
            self._witness(judgement.failure, judgement.why)
        else:
            self._witness(security.failure, security.whence if security.failure else "")
        session.note(f"TLS: {evidence.how}, {f'proved by {judgement.by}' if judgement.is_known else judgement.why}")
        if not self.begins_at_once:
            session.secured()

    def opened(self) -> None:
        """The session is open."""
        if self.hop.login is not None:
            self._guards.keyring.accepted(self.hop)
        if self.judgement is None and not self._plain and self.hop.security.level is Level.OPPORTUNISTIC:
            self._witness(NO_STARTTLS, "STARTTLS is not offered")
            self._guards.unsecured(self.label, "TLS is not offered")

    def ended(self, how: SessionEnded) -> bool:
        """The session has ended before it was open.  Whether to try once more without TLS."""
        why = str(how.reply or how.why)
        if how.step is Step.AUTH:
            self._guards.keyring.refused(self.hop, self.label, why)
        failed = self._handshake is not None or how.step in (Step.HANDSHAKE, Step.STARTTLS)
        if not failed or self.judgement is not None:
            return False
        failure = NO_STARTTLS if how.step is Step.STARTTLS else OTHER_FAILURE
        self._guards.failed(failure)
        self._witness(failure, why)
        if self.hop.security.level is not Level.OPPORTUNISTIC or self.begins_at_once:
            return False
        if how.step is Step.HANDSHAKE and self._handshake is None and self.hop.login is not None:
            return False  # somebody slips in replies, and would be told a password
        self._guards.unsecured(self.label, f"TLS failed, and the next connection is plain: {why}")
        return True

    def _witness(self, failure: str, why: str) -> None:
        policed = self.hop.security.policed
        if policed is not None:
            self._guards.witness(policed, self.label, failure, why, self.own_ip)

    # -- the login ---------------------------------------------------------------------------

    def log_in(self, mechanisms: frozenset[str], session: ClientSession, turn: Callable[[], None]) -> None:
        """Fetches the credentials, and gives them to the session; or tells it that there are none.

        turn  lets the session's carrier act on that
        """
        login = self.hop.login
        assert login is not None
        is_known = self.judgement is not None and self.judgement.is_known
        if not (is_known or login.unverified or self.hop.path is not None):
            why = self.judgement.why if self.judgement is not None else "there is no TLS"
            session.cannot_log_in(f"no password is given to a host that has not proved who it is: {why}")
            return

        if login.oauth is not None and self.evidence is None and self.hop.path is None:
            session.cannot_log_in("an access token goes only through TLS, whatever the route says (RFC 7628 §3)")
            return

        def have(credentials: Credentials) -> None:
            if session.step is Step.CREDENTIALS:
                self._begin_login(mechanisms, credentials, session)

        def have_none(failure: Failure) -> None:
            if failure.check(NoCredentials) is None:
                _log.failure("a defect in logging in", failure)
            session.cannot_log_in(failure.getErrorMessage())

        fetched: Deferred[Credentials] = self._guards.keyring.credentials(login)
        fetched.addCallback(have).addErrback(have_none).addCallback(lambda _: turn())

    def _begin_login(self, mechanisms: frozenset[str], credentials: Credentials, session: ClientSession) -> None:
        assert self.hop.login is not None
        mechanism = choose(mechanisms, self.hop.login.mechanisms, credentials)
        if mechanism is None:
            offered = " ".join(sorted(mechanisms)) or "none"
            session.cannot_log_in(f"the hop offers none of our mechanisms; what it offers: {offered}")
            return
        nonce = self._guards.keyring.nonce()
        try:
            session.log_in(exchange(mechanism, credentials, self.hop.host, self.hop.port, nonce))
        except LoginFault as fault:
            session.cannot_log_in(str(fault))
