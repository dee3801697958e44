"""The first word on a question: one datagram to a name server, and the first that it says to it.

Most questions end with it.  What comes is not read here, and what went wrong is not mended: that is for dnspython, who
is told of it (``Told``) as if it had asked itself, and goes on from there: over TCP, with the next server, once more.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from copy import copy
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

from relay.route.datagrams import Datagrams
from relay.route.plain import Question, is_answer
from relay.route.records import DNS_PORT
from relay.route.sockets import IDnsReactor

_timeout: Callable[[], Exception] = dns.exception.Timeout  # it has no types of its own

Word = bytes | Exception
"""A datagram; or what kept it from coming, as dnspython would raise it."""


class FirstWord:
    """See the module.

    said  is called once, with a Word, when the socket is gone
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
        self._datagrams: Datagrams | None = None

    def ask(self) -> None:
        self._bound = self._reactor.callLater(self._patience_s, self._too_late)
        try:
            self._datagrams = Datagrams(self._reactor, self._server.address, self._server.port, self._came, self._end)
            self._datagrams.send(self._query)
        except Exception as error:  # what it says goes on to dnspython
            self._end(error)

    def _came(self, data: bytes) -> None:
        if is_answer(data, self._query, self._asked):
            self._end(data)

    def _too_late(self) -> None:
        self._end(_timeout())

    def _end(self, word: Word) -> None:
        said, self._said = self._said, None
        if said is None:
            return
        if self._datagrams is not None:
            self._datagrams.close()
        if self._bound.active():
            self._bound.cancel()
        said(word)


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
    # dnspython takes a URL for a server too, which resolv.conf(5) does not.
    addresses = [str(each) for each in stub.nameservers if dns.inet.is_address(str(each))] or ["127.0.0.1"]
    stub.nameservers = [dns.nameserver.Do53Nameserver(address, DNS_PORT) for address in addresses]
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
