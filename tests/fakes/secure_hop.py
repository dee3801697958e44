"""A next hop over real sockets that speaks TLS and wants a login, and can be told to misbehave in both."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scramp import ScramException, ScramMechanism
from twisted.internet import protocol
from twisted.internet.interfaces import IHandshakeListener, IProtocolFactory
from zope.interface import implementer

from tests.fakes.authority import Issued
from tests.fakes.next_hop import EVERYTHING, NextHop, NextHopSession


@dataclass
class SecureHop(NextHop):
    """See the module.

    certificate  for STARTTLS, which is offered when it is there
    implicit     TLS from the first octet
    mechanisms   offered, within TLS only unless ``bare``
    password     of everybody who logs in; or the access token
    injected     octets behind the 220 to STARTTLS, in the same write
    refusal      what is said to STARTTLS in place of 220
    stripped     STARTTLS is taken out of what is offered
    broken       the handshake is answered with nonsense
    unknown_parameter  of MAIL, that is answered 555
    logins       who has logged in, by which mechanism, and whether within TLS
    handshakes   how many were begun
    asked_for    the names that clients have asked for (SNI), empty for none
    """

    certificate: Issued | None = None
    implicit: bool = False
    mechanisms: Sequence[str] = ()
    password: str = "secret"
    bare: bool = False
    injected: bytes = b""
    refusal: str = ""
    stripped: bool = False
    broken: bool = False
    requiretls: bool = False
    unknown_parameter: str = ""
    logins: list[tuple[str, str, bool]] = field(default_factory=list)
    attempts: int = 0
    handshakes: int = 0
    asked_for: list[str] = field(default_factory=list)

    def session(self) -> SecureSession:
        self.sessions += 1
        return SecureSession(self)

    def factory(self) -> IProtocolFactory:
        factory = protocol.Factory.forProtocol(lambda: SecureProtocol(self))
        factory.noisy = False
        return factory


class SecureSession(NextHopSession):
    """Its conversation.  ``wants_tls`` is set when the handshake comes next."""

    hop: SecureHop

    def __init__(self, hop: SecureHop) -> None:
        super().__init__(hop)
        self.is_secure = hop.implicit
        self.wants_tls = False
        self._login: Any = None

    def _step(self) -> bool:
        return not self.wants_tls and super()._step()

    def secured(self) -> None:
        self.is_secure = True
        self.wants_tls = False
        self._buffer = b""

    def _command(self, verb: str, argument: str) -> None:
        if self._login is not None:
            self._respond(self.hop.commands[-1])  # the verb was put in capitals
        elif verb in ("EHLO", "LHLO"):
            self._hello(verb)
        elif verb == "STARTTLS":
            self._starttls()
        elif verb == "AUTH":
            mechanism, _, initial = argument.partition(" ")
            self._begin_login(mechanism.upper(), initial)
        elif verb == "MAIL" and self.hop.unknown_parameter and self.hop.unknown_parameter in argument:
            self._say("MAIL", "555 5.5.4 parameters not recognized")
        elif verb == "MAIL" and self.hop.mechanisms and not self._is_logged_in:
            self._say("MAIL", "530 5.7.0 Authentication required")
        else:
            super()._command(verb, argument)

    @property
    def _is_logged_in(self) -> bool:
        return bool(self.hop.logins)

    def _hello(self, verb: str) -> None:
        self._forget()
        offered = ["hop.example", *(self.hop.extensions or EVERYTHING)]
        if self.hop.certificate is not None and not self.is_secure and not self.hop.stripped:
            offered.append("STARTTLS")
        if self.hop.mechanisms and (self.is_secure or self.hop.bare):
            offered.append("AUTH " + " ".join(self.hop.mechanisms))
        if self.hop.requiretls and self.is_secure:
            offered.append("REQUIRETLS")
        self._say(verb, "\n".join([f"250-{one}" for one in offered[:-1]] + [f"250 {offered[-1]}"]))

    def _starttls(self) -> None:
        if self.hop.refusal:
            self._say("STARTTLS", self.hop.refusal)
        elif self._say("STARTTLS", "220 2.0.0 go ahead"):
            self._out.append(self.hop.injected)
            self.wants_tls = True

    # -- AUTH --------------------------------------------------------------------------------

    def _begin_login(self, mechanism: str, initial: str) -> None:
        self.hop.attempts += 1
        steps = {
            "PLAIN": self._plain,
            "LOGIN": self._by_prompts,
            "SCRAM-SHA-256": self._scram,
            "XOAUTH2": self._token,
            "OAUTHBEARER": self._token,
        }
        if mechanism not in self.hop.mechanisms or mechanism not in steps:
            self._say("AUTH", "504 5.5.4 not that one")
            return
        self._mechanism = mechanism
        self._login = steps[mechanism]()
        challenge = next(self._login)
        if initial and challenge == b"":
            self._respond(initial)
        else:
            self._say("AUTH-STEP", f"334 {b64encode(challenge).decode()}")

    def _respond(self, line: str) -> None:
        if line == "*":
            self._login = None
            self._say("AUTH", "501 5.7.0 cancelled")
            return
        try:
            challenge = self._login.send(b64decode(line))
        except StopIteration as ended:
            self._login = None
            user = ended.value
            if user is not None:
                self.hop.logins.append((user, self._mechanism, self.is_secure))
            self._say("AUTH", "235 2.7.0 welcome" if user is not None else "535 5.7.8 wrong password")
        else:
            self._say("AUTH-STEP", f"334 {b64encode(challenge).decode()}")

    def _plain(self) -> Any:
        _, user, password = (yield b"").decode().split("\0")
        return user if password == self.hop.password else None

    def _by_prompts(self) -> Any:
        user = (yield b"Username:").decode()
        return user if (yield b"Password:").decode() == self.hop.password else None

    def _token(self) -> Any:
        parts = (yield b"").decode().split("\1")
        user = next(part for part in parts if "user=" in part or "a=" in part)
        if f"auth=Bearer {self.hop.password}" in parts:
            return user.removeprefix("user=").removeprefix("n,a=").rstrip(",")
        yield b'{"status":"invalid_token"}'
        return None

    def _scram(self) -> Any:
        mechanism = ScramMechanism("SCRAM-SHA-256")
        known = mechanism.make_auth_info(self.hop.password, iteration_count=4096)
        users: list[str] = []
        server = mechanism.make_server(lambda user: users.append(user) or known)
        server.set_client_first((yield b"").decode())
        final = yield server.get_server_first().encode()
        try:
            server.set_client_final(final.decode())
        except ScramException:
            return None
        yield server.get_server_final().encode()
        return users[0]


@implementer(IHandshakeListener)
class SecureProtocol(protocol.Protocol):
    """Carries a SecureSession."""

    transport: Any

    def __init__(self, hop: SecureHop) -> None:
        self._hop = hop
        self._session = hop.session()

    def connectionMade(self) -> None:
        if self._hop.implicit:
            self._hop.handshakes += 1
            self.transport.startTLS(self._hop.certificate)
        self._send(self._session.start())

    def handshakeCompleted(self) -> None:
        self._hop.asked_for.append((self.transport.getHandle().get_servername() or b"").decode())

    def dataReceived(self, data: bytes) -> None:
        if self._session.wants_tls:  # only with ``broken``
            self.transport.write(b"what is this?\r\n")
            self.transport.loseConnection()
            return
        self._send(self._session.receive(data))

    def _send(self, out: bytes) -> None:
        self.transport.write(out)
        if self._session.wants_tls and not self._hop.broken:
            self._hop.handshakes += 1
            self.transport.startTLS(self._hop.certificate)
            self._session.secured()
        if self._session.closed:
            self.transport.loseConnection()
