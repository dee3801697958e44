"""HTTPS to others: one request, one bounded answer; names by our own resolver, no redirects, nothing kept.

The rule that must not be broken: the certificate is verified, and what a stranger's web server sends is bounded in size
and time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, cast

from service_identity import VerificationError
from twisted.internet import defer, error
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTCP, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, FileBodyProducer, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from relay.message.address import domain_key
from relay.route.hosts import HostsFile
from relay.route.mx import UNREACHABLE, Network, acceptable, address_answer
from relay.route.names import AAAA, A, Found, Names
from relay.route.via import is_ip

LOOPBACK: Sequence[Network] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
ADDRESSES_LIMIT = 4
CONNECT_TIMEOUT_S = 10.0

_NONE: Mapping[str, str] = {}


class HttpsFault(Exception):
    """There is no answer; ``str()`` says why.

    kind  ``dns``, ``connection``, ``certificate``, ``status``, ``size`` or ``time``
    """

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status.

    kind  the media type without parameters, in lower case
    """

    status: int
    kind: str
    body: bytes


class Https:
    """See the module.

    hosts        /etc/hosts, for servers that our own configuration names
    authorities  a file of PEM certificates to trust in place of the system's
    unreachable  networks where no stranger's server may be
    port         in place of 443 where a URL names none; only in a laboratory
    """

    def __init__(
        self,
        reactor: IReactorTime,
        names: Names,
        hosts: HostsFile | None = None,
        *,
        authorities: str = "",
        unreachable: Sequence[Network] = UNREACHABLE,
        port: int = 443,
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._trust = _trust(authorities)
        self._to_ours = self._agent(names, hosts, ())
        self._to_strangers = self._agent(names, None, unreachable)

    def _agent(self, names: Names, hosts: HostsFile | None, unreachable: Sequence[Network]) -> Agent:
        factory = _Endpoints(self._reactor, names, hosts, unreachable, self._trust)
        agent: Agent = Agent.usingEndpointFactory(self._reactor, factory)
        return agent

    def request(
        self,
        method: str,
        url: str,
        *,
        limit_octets: int,
        timeout_s: float,
        body: bytes | None = None,
        kind: str = "",
        ours: bool = False,
        fields: Mapping[str, str] = _NONE,
    ) -> defer.Deferred[Fetched]:
        """One request.  Fails with HttpsFault.

        url     https, in ASCII; http too where the server is ours and on this machine
        kind    the media type of the body
        ours    the configuration names the server: it may be anywhere, and /etc/hosts may know it
        fields  more fields of the header
        """
        asked = defer.Deferred.fromCoroutine(self._request(method, url, limit_octets, body, kind, ours, fields))
        return asked.addTimeout(timeout_s, self._reactor, _too_late).addErrback(_in_words)

    async def _request(
        self,
        method: str,
        url: str,
        limit_octets: int,
        body: bytes | None,
        kind: str,
        ours: bool,
        fields: Mapping[str, str],
    ) -> Fetched:
        if not url.startswith(("https://", "http://") if ours else "https://") or not url.isascii():
            raise HttpsFault("connection", f"{url[:100]} is not an https address")
        headers = Headers({"User-Agent": ["relay"], "Accept": ["*/*"]})
        for name, value in fields.items():
            headers.addRawHeader(name, value)
        if kind:
            headers.addRawHeader("Content-Type", kind)
        sent = FileBodyProducer(_Octets(body), cooperator=_AtOnce()) if body is not None else None
        agent = self._to_ours if ours else self._to_strangers
        response = await agent.request(method.encode(), _with_port(url, self._port), headers, sent)
        said = response.headers.getRawHeaders("Content-Type", [""])[0]
        reading = _Body(response, limit_octets, ends_anyhow=ours)
        return Fetched(response.code, said.partition(";")[0].strip().lower(), await reading.done)


def _with_port(url: str, port: int) -> bytes:
    uri = URI.fromBytes(url.encode("ascii"))
    if uri.port == 443 and port != 443:
        uri.port = port
        uri.netloc = uri.host + b":%d" % port
    return bytes(uri.toBytes())


def _trust(authorities: str) -> Any:
    if not authorities:
        return platformTrust()
    pems = Path(authorities).read_bytes().split(b"-----END CERTIFICATE-----")[:-1]
    return trustRootFromCertificates([Certificate.loadPEM(pem + b"-----END CERTIFICATE-----\n") for pem in pems])


class _Octets:
    """What FileBodyProducer reads."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def read(self, size: int) -> bytes:
        piece = self._octets[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> None:
        self._at = offset if whence == 0 else len(self._octets) + offset

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        pass


class _AtOnce:
    """A cooperator for small bodies: all at once, without a reactor of its own."""

    def cooperate(self, iterator: Any) -> Any:
        for _ in iterator:
            pass
        return self

    def whenDone(self) -> defer.Deferred[None]:
        return defer.succeed(None)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def stop(self) -> None:
        pass


class _Body(Protocol):
    """Reads a body up to a limit."""

    def __init__(self, response: IResponse, limit_octets: int, ends_anyhow: bool = False) -> None:
        """ends_anyhow  one that does not tell its length is taken for whole when the connection ends, as HTTP/1.0 has
        it; a stranger's could be cut off by somebody on the way
        """
        self.done: defer.Deferred[bytes] = defer.Deferred(self._cancelled)
        self._pieces: list[bytes] = []
        self._left = limit_octets
        self._whole = (ResponseDone, PotentialDataLoss) if ends_anyhow else (ResponseDone,)
        response.deliverBody(self)

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._cut(HttpsFault("size", "the answer is too large"))
        else:
            self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(*self._whole):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(reason)

    def _cut(self, why: Exception) -> None:
        if not self.done.called:
            self.done.errback(why)
            self._drop()

    def _cancelled(self, done: object) -> None:
        self._drop()

    def _drop(self) -> None:
        """Now, and not when the peer agrees: Twisted's proxy of the transport has no word for that."""
        transport = getattr(self.transport, "_producer", None) or self.transport
        drop = getattr(transport, "abortConnection", None) or cast(Any, self.transport).loseConnection
        drop()


@implementer(IStreamClientEndpoint)
class Quiet:
    """An endpoint of which Twisted's log does not tell each connection, with the address of an object in memory."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        cast(Any, protocolFactory).noisy = False
        return self._endpoint.connect(protocolFactory)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(
        self, reactor: IReactorTime, names: Names, hosts: HostsFile | None, unreachable: Sequence[Network], trust: Any
    ) -> None:
        self._reactor = reactor
        self._names = names
        self._hosts = hosts
        self._unreachable = unreachable
        self._trust = trust

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii").strip("[]").lower()
        if uri.scheme == b"http":
            return Quiet(_ByName(self, host, uri.port, only=LOOPBACK))
        options = optionsForClientTLS(host, trustRoot=self._trust)
        return Quiet(wrapClientTLS(options, _ByName(self, host, uri.port)))

    async def addresses(self, host: str) -> tuple[str, ...]:
        if is_ip(host):
            found: Sequence[str] = (host,)
        else:
            found = self._hosts.addresses(host) if self._hosts is not None else ()
        if not found:
            answers = await defer.gatherResults([self._names.ask(domain_key(host), kind) for kind in (AAAA, A)])
            answer = address_answer(answers)
            if not isinstance(answer, Found):
                raise HttpsFault("dns", f"{host} has no address")
            found = answer.values
        usable = acceptable(found, self._unreachable)
        if not usable:
            raise HttpsFault("dns", f"{host} has no address where a web server of others can be")
        return usable[:ADDRESSES_LIMIT]

    async def connect(
        self, factory: IProtocolFactory, host: str, port: int, only: Sequence[Network] | None = None
    ) -> IProtocol:
        """only  the networks where it must be"""
        why: Exception = HttpsFault("dns", f"{host} has no address")
        for address in await self.addresses(host):
            if only is not None and not any(ip_address(address) in network for network in only):
                why = HttpsFault("connection", f"without TLS only this machine is asked, and {host} is not it")
                continue
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            try:
                endpoint = kind(cast(IReactorTCP, self._reactor), address, port, timeout=CONNECT_TIMEOUT_S)
                return await endpoint.connect(factory)
            except error.ConnectError as refused:
                why = refused
        raise why


@implementer(IStreamClientEndpoint)
class _ByName:
    """A TCP endpoint by a name that our resolver looks up."""

    def __init__(self, endpoints: _Endpoints, host: str, port: int, only: Sequence[Network] | None = None) -> None:
        self._endpoints = endpoints
        self._host = host
        self._port = port
        self._only = only

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        connecting = self._endpoints.connect(protocolFactory, self._host, self._port, self._only)
        return defer.Deferred.fromCoroutine(connecting)


def _too_late(result: object, after_s: float) -> Fetched:
    raise HttpsFault("time", f"no answer within {after_s:g} s")


def _in_words(failure: Failure) -> Failure:
    """Any failure as an HttpsFault."""
    cause: Any = failure.value
    if isinstance(cause, HttpsFault):
        return failure
    if isinstance(cause, ResponseFailed) and cause.reasons:
        cause = cause.reasons[0].value
    if type(cause).__module__.startswith(("OpenSSL", "service_identity")):
        raise HttpsFault("certificate", f"TLS failed: {_tls_words(cause)}")
    raise HttpsFault("connection", str(cause).rstrip(".") or type(cause).__name__)


def _tls_words(cause: Any) -> str:
    if isinstance(cause, VerificationError):
        return "the certificate is for another host"
    try:
        return str(cause.args[0][0][-1])  # OpenSSL's own list of what it found
    except (IndexError, TypeError):
        return str(cause)[:200] or type(cause).__name__
