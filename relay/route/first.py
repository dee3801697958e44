"""The first word on a question: one datagram to a name server, and the first that it says to it.

Most questions end with it.  What comes is not read here, and what went wrong is not mended: that is for dnspython, who
is told of it (``Told``) as if it had asked itself, and goes on from there: over TCP, with the next server, once more.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.nameserver
import dns.resolver
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.route.plain import Question, is_answer
from relay.route.records import DNS_PORT
from relay.route.sockets import IDnsReactor

_timeout: Callable[[], Exception] = dns.exception.Timeout  # it has no types of its own

Word = bytes | Exception
"""A datagram; or what kept it from coming, as dnspython would raise it."""


@implementer(IReadDescriptor)
class FirstWord:
    """See the module.

    said  is called once, with a Word, when the socket is gone

    The socket is connected and its own: the kernel picks its port at random, and lets in only what the server sends
    (RFC 5452 §9.2).
    """

    def __init__(
        self,
        reactor: IDnsReactor,
        server: dns.nameserver.Do53Nameserver,
        template: Template,
        asked: Question,
        patience_s: float,
        said: Callable[[Word], None],
    ) -> None:
        self._reactor = reactor
        self._server = server
        self._query = template.query(asked)
        self._asked = asked
        self._patience_s = patience_s
        self._said: Callable[[Word], None] | None = said

    def ask(self) -> None:
        try:
            family, address = _where(self._server.address, self._server.port)
            self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._say(error)
            return
        try:
            self._socket.connect(address)
            self._socket.send(self._query)
        except OSError as error:
            self._socket.close()
            self._say(error)
            return
        self._reactor.addReader(self)
        self._bound = self._reactor.callLater(self._patience_s, self._too_late)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "dns"

    def doRead(self) -> None:
        try:
            data = self._socket.recv(65535)
        except BlockingIOError:
            return
        except OSError as refused:  # by ICMP: nobody listens there
            self._end(refused)
            return
        if is_answer(data, self._query, self._asked):
            self._end(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # The reactor saw an error and not what it is; reading tells.
        if self._said is not None:
            self.doRead()
            self._end(EOFError("socket lost"))

    def _too_late(self) -> None:
        self._end(_timeout())

    def _end(self, word: Word) -> None:
        if self._said is None:
            return
        self._reactor.removeReader(self)
        self._socket.close()
        if self._bound.active():
            self._bound.cancel()
        self._say(word)

    def _say(self, word: Word) -> None:
        said, self._said = self._said, None
        if said is not None:
            said(word)


@lru_cache(maxsize=16)
def _where(address: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """The family of a server's socket, and its address for ``connect``."""
    family = socket.AddressFamily(dns.inet.af_for_address(address))
    return family, dns.inet.low_level_address_tuple((address, port), family)


class Template:
    """What all queries of a resolver have in common, as dnspython writes it: flags, counts, EDNS."""

    def __init__(self, stub: dns.asyncresolver.Resolver) -> None:
        query = dns.message.make_query(dns.name.root, "A")
        query.use_edns(stub.edns, stub.ednsflags, stub.payload, options=stub.ednsoptions)
        if stub.flags is not None:
            query.flags = dns.flags.Flag(stub.flags)
        wire = query.to_wire()
        self._head = wire[2:12]  # behind the id
        self._tail = wire[17:]  # behind the question: the root, type and class

    def query(self, asked: Question) -> bytes:
        """With an id of its own, at random (RFC 5452 §9.2)."""
        return b"".join((os.urandom(2), self._head, asked.octets, self._tail))


class Told(dns.nameserver.Do53Nameserver):
    """A name server whose first word is there already.  ``async_query`` is what dnspython wants of all."""

    def __init__(self, server: dns.nameserver.Do53Nameserver, word: Word) -> None:
        super().__init__(server.address, server.port)
        self._word: Word | None = word

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        word, self._word = self._word, None
        if word is None or max_size:
            return await super().async_query(
                request, timeout, source, source_port, max_size, backend, one_rr_per_rrset, ignore_trailing
            )
        if isinstance(word, Exception):
            raise word
        return dns.message.from_wire(word, raise_on_truncation=True)


def system_stub(resolv_conf: Path) -> dns.asyncresolver.Resolver:
    """dnspython's resolver as resolv.conf(5) has it."""
    stub = dns.asyncresolver.Resolver(configure=False)
    try:
        stub.read_resolv_conf(str(resolv_conf))  # a path is taken from dnspython 2.9 on
    except (dns.resolver.NoResolverConfiguration, ValueError):
        stub.nameservers = ["127.0.0.1"]  # resolv.conf(5): with no file, the server on this machine
    stub.nameservers = [dns.nameserver.Do53Nameserver(str(address), DNS_PORT) for address in stub.nameservers]
    return stub


def in_turn(stub: dns.asyncresolver.Resolver) -> dns.asyncresolver.Resolver:
    """The resolver with its servers in the order for one question: ``rotate`` of resolv.conf(5)."""
    if not stub.rotate:
        return stub
    turned = copy(stub)
    turned.nameservers = random.sample(stub.nameservers, len(stub.nameservers))
    return turned


def server(stub: dns.asyncresolver.Resolver) -> dns.nameserver.Do53Nameserver:
    """The first of its servers."""
    first = stub.nameservers[0]
    assert isinstance(first, dns.nameserver.Do53Nameserver)  # not text: the resolver has made them so
    return first


def after(stub: dns.asyncresolver.Resolver, word: Word) -> dns.asyncresolver.Resolver:
    """dnspython's resolver, to go on from where its first server has said this."""
    told = copy(stub)
    told.nameservers = [Told(server(stub), word), *stub.nameservers[1:]]
    told.rotate = False
    return told
