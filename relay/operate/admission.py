"""Who is let in by what it knows or shows: certificates, users and tokens, as the configuration names them.

Files are watched, and a reload puts others in their place; sessions that are open go on.  The rule that must not be
broken: what cannot be read changes nothing, and is told.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from cryptography import x509
from OpenSSL import crypto
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from relay.message.step import Tell
from relay.operate import rules
from relay.operate.config import Config
from relay.operate.settings.receiving import Listen, Tokens
from relay.operate.shards import root_of
from relay.operate.surroundings import Surroundings
from relay.operate.users.dovecot import DovecotUsers
from relay.operate.users.file import UserFile
from relay.operate.users.tokens import Introspection, TokenUsers
from relay.operate.values import DovecotSocket
from relay.policy.users import User
from relay.receive.logins import Logins, Source
from relay.receive.tls import (
    Certificates,
    Loaded,
    ServerTls,
    TlsFault,
    TrustedCertificates,
    load,
    load_authorities,
)
from relay.receive.watched import Watched
from relay.route.https import Quiet

KEY_NAME = "login.key"
KEY_OCTETS = 32


class RunningSource(Source, Protocol):
    """A source that is begun and ended."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class FromFiles:
    """What the files of the configuration hold.

    own      the certificates by which clients know us
    trusted  those by which we know clients
    """

    own: tuple[Loaded, ...]
    trusted: TrustedCertificates


def read_files(config: Config) -> FromFiles:
    """Reads all certificates that the configuration names.  Raises TlsFault."""
    trusted = read_trusted(config)
    return FromFiles(load(rules.key_pairs(config)), trusted)


def read_trusted(config: Config) -> TrustedCertificates:
    """Those by which clients are known.  Raises TlsFault."""
    authorities: list[x509.Certificate] = []
    for path in config.accept.certificates:
        if isinstance(path, Path):
            authorities += load_authorities(path)
    fingerprints = frozenset(one.removeprefix("sha256:") for one in config.accept.certificates if isinstance(one, str))
    return TrustedCertificates(fingerprints, tuple(authorities))


class Admission:
    """The certificates and logins of one relay.

    logins   for all listeners; None when nobody can log in
    trusted  certificates of clients
    """

    def __init__(self, config: Config, around: Surroundings, tell: Tell) -> None:
        """Reads the certificates, as the user who may read the keys.  Raises TlsFault."""
        self._around = around
        self._tell = tell
        self._config = config
        found = read_files(config)
        self.trusted = found.trusted
        self._certificates = Certificates(found.own) if found.own else None
        self._watched: Watched[tuple[Loaded, ...]] | None = None
        self._unread: list[str] = []
        self._listeners: dict[str, ServerTls] = {}
        self._sources: list[RunningSource] = []
        self.logins: Logins | None = None

    def start(self) -> None:
        """Begins to watch the files, as the user who works here."""
        self._watch_certificates()
        self._ask(self._made_sources(self._config))

    def stop(self) -> None:
        """Watches no more."""
        if self._watched is not None:
            self._watched.stop()
        for source in self._sources:
            source.stop()

    def use(self, config: Config) -> None:
        """From now on as this configuration has it.  Certificates that cannot be read are told, and the old stay."""
        older, self._config = self._config, config
        self._unread = []
        try:
            self.trusted = read_trusted(config)
        except TlsFault as fault:
            self._stays("accept.certificates", fault)
        self._use_own()
        for tls in self._listeners.values():
            tls.asks = bool(self.trusted)
        accept, before = config.accept, older.accept
        # A source that did not change goes on: made anew, it would have to learn everything again.
        is_same = (accept.users, accept.tokens, accept.mechanisms) == (before.users, before.tokens, before.mechanisms)
        self._ask(self._sources if is_same else self._made_sources(config))

    def _use_own(self) -> None:
        """The certificates by which clients know us, as the configuration has them now."""
        if self._watched is not None:
            self._watched.stop()
        is_read = False
        try:
            own = load(rules.key_pairs(self._config))
        except TlsFault as fault:
            if self._certificates is None:
                self._stays("tls", fault)
        else:
            is_read = True
            if not own:
                self._certificates = None
            elif self._certificates is not None:
                self._certificates.replace(own)
            else:
                self._certificates, self._listeners = Certificates(own), {}
        # What could not be read, the watcher reads again and tells: so it knows of the trouble, and of its end.
        self._watch_certificates(is_read)

    def _stays(self, key: str, fault: TlsFault) -> None:
        """Of what nobody watches: it is complained of until a reload can read it."""
        self._unread.append(str(fault))
        self._tell("trouble", place=self._config.place(key), error=f"the old certificates stay in force: {fault}")

    # -- how they do -----------------------------------------------------------------------

    def expiries(self) -> list[tuple[str, float]]:
        """Our certificates: the file, and when it runs out (seconds since the epoch)."""
        own = self._certificates.loaded if self._certificates is not None else ()
        pairs = rules.key_pairs(self._config)
        return [
            (str(pair.certificate), one.chain[0].not_valid_after_utc.timestamp())
            for pair, one in zip(pairs, own, strict=False)
        ]

    def troubles(self) -> list[str]:
        """Why what is watched cannot be read as it is now; empty for what can."""
        certificates = self._watched.trouble if self._watched is not None else ""
        return [certificates, *(source.trouble for source in self._sources if isinstance(source, UserFile))]

    def unread(self) -> list[str]:
        """Why the last reload could not read what is not watched."""
        return self._unread

    # -- TLS -------------------------------------------------------------------------------

    def tls(self, listen: Listen) -> ServerTls | None:
        """TLS as this listener does it, now and after reloads; None without a certificate."""
        if self._certificates is None:
            return None
        found = self._listeners.get(listen.endpoint)
        if found is None:
            found = self._listeners[listen.endpoint] = ServerTls(
                self._certificates, listen.tls_minimum, asks=bool(self.trusted)
            )
        return found

    def tls_of_page(self) -> ServerTls | None:
        """TLS for browsers, who are never asked for a certificate; None without one of our own."""
        return ServerTls(self._certificates) if self._certificates is not None else None

    def _watch_certificates(self, is_read: bool = True) -> None:
        pairs, certificates = rules.key_pairs(self._config), self._certificates
        self._watched = None
        if pairs and certificates is not None:
            paths = list(dict.fromkeys(path for pair in pairs for path in (pair.certificate, pair.key)))
            self._watched = Watched(
                paths,
                lambda: load(pairs),
                certificates.replace,
                self._around.reactor,
                self._tell,
                what="the certificate",
            )
            self._watched.start(known=is_read)

    # -- users -----------------------------------------------------------------------------

    def _made_sources(self, config: Config) -> list[RunningSource]:
        return sources_of(config, self._around, self._tell, login_key)

    def _ask(self, sources: list[RunningSource]) -> None:
        """From now on these."""
        older, self._sources = self._sources, sources
        if sources is not older:
            for source in older:
                source.stop()
            for source in sources:
                source.start()
        limits, allowed = rules.attempt_limits(self._config), self._config.accept.mechanisms
        if not sources:
            self.logins = None
        elif self.logins is not None:
            self.logins.reconfigure(sources, limits, allowed)
        else:
            clock, nonce = self._around.reactor, secrets.token_urlsafe
            self.logins = Logins(sources, clock, self._tell, nonce, limits, allowed)
        if self.logins is not None:
            tokens = self._config.accept.tokens
            self.logins.token_scope = (tokens.scope or "") if tokens is not None else ""


def sources_of(
    config: Config, around: Surroundings, tell: Tell, key_of: Callable[[Path], bytes]
) -> list[RunningSource]:
    """Whom to ask about users, not yet begun.

    key_of  gives the key of a spool, see ``login_key``
    """
    accept = config.accept
    if accept.users is None and accept.tokens is None:
        return []
    key = key_of(root_of(config.spool))  # what it hides must look the same at every worker
    sources: list[RunningSource] = []
    file: UserFile | None = None
    if isinstance(accept.users, DovecotSocket):
        endpoint = UNIXClientEndpoint(cast(Any, around.reactor), str(accept.users.path))
        sources.append(DovecotUsers(endpoint, around.reactor, tell, str(accept.users)))
    elif accept.users is not None:
        always = any(name.startswith("SCRAM") for name in accept.mechanisms)
        file = UserFile(accept.users, around.reactor, tell, key, around.in_thread, always)
        sources.append(file)
    if accept.tokens is not None:
        settings, agent = _introspection(accept.tokens), _agent(accept.tokens, around)
        sources.append(TokenUsers(settings, agent, around.reactor, tell, key, _finder(file)))
    return sources


class _Finder(Protocol):
    def __call__(self, name: str, /) -> User | None: ...


def _finder(file: UserFile | None) -> _Finder:
    return lambda name: file.users.find(name) if file is not None and file.users is not None else None


def _introspection(tokens: Tokens) -> Introspection:
    path = tokens.client_secret_file
    return Introspection(
        tokens.introspection,
        tokens.client_id or "",
        lambda: path.read_text(encoding="utf-8").strip() if path is not None else "",
        tokens.user,
        tokens.scope or "",
    )


def _agent(tokens: Tokens, around: Surroundings) -> Agent:
    """Verifies certificate and name (RFC 9525); follows no redirection, for a token goes where it was meant to go."""
    trusted = None
    if tokens.authorities is not None:
        authorities = map(crypto.X509.from_cryptography, load_authorities(tokens.authorities))
        trusted = trustRootFromCertificates([Certificate(one) for one in authorities])
    reactor, policy = cast(Any, around.reactor), BrowserLikePolicyForHTTPS(trusted)
    agent: Agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, policy))
    return agent


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Those that Agent makes for https, and quiet."""

    def __init__(self, reactor: Any, policy: BrowserLikePolicyForHTTPS) -> None:
        self._reactor = reactor
        self._policy = policy

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        plain = HostnameEndpoint(self._reactor, uri.host.decode("ascii").strip("[]"), uri.port, timeout=10)
        return Quiet(wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), plain))


def login_key(spool: Path) -> bytes:
    """What is random and stays the same from start to start, so that what is made up for unknown users does too.

    Raises OSError.
    """
    path = spool / KEY_NAME
    found = _read_key(path)
    if found is not None:
        return found
    key = secrets.token_bytes(KEY_OCTETS)
    fresh = path.with_name(f"{KEY_NAME}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:  # noqa: PTH123 - by mode
        stream.write(key)
    with suppress(FileExistsError):
        path.hardlink_to(fresh)  # several workers begin together: the first one's holds
    found = _read_key(path)
    if found is None:
        fresh.replace(path)
        return key
    fresh.unlink()
    return found


def _read_key(path: Path) -> bytes | None:
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return None
    return found if len(found) == KEY_OCTETS else None
