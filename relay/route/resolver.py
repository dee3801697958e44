"""Asks the DNS: dnspython's resolver, driven by Twisted, with what was answered remembered.

What is plain in question and answer goes a shorter way (``first.py``, ``plain.py``): with a message to a thousand
domains a third of the time went into dnspython's messages.  All else goes through its resolver.

Equal questions that are under way at the same time are asked once.  Answers are kept as long as their TTL
allows, those that say there is nothing too (RFC 2308), trouble for a few seconds; at most a bounded number.
The number of questions under way is bounded, and so is the time of each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.resolver
from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.route import first, plain
from relay.route.cache import Cache
from relay.route.hosts import WatchedFile
from relay.route.names import Answer, Found, Kind, Missing, Mx, T_co, Trouble
from relay.route.records import DNS_PORT, READ, by_preference, host, in_words
from relay.route.sockets import Backend, IDnsReactor

SHORTEST_TTL_S = 5.0
"""A TTL of 0 asks not to be cached at all (RFC 1035 §3.2.1); a burst of mail must not be a burst of questions."""
LONGEST_TTL_S = 86_400.0
LONGEST_NEGATIVE_TTL_S = 300.0
"""A domain that was just set up must not stay missing for the hours that RFC 2308 §5 would allow."""
TROUBLE_TTL_S = 15.0
"""RFC 2308 §7 allows five minutes; the first retry of a message comes sooner."""
SILENT_FOR_LIMIT = 4
RECORDS_LIMIT = 64
"""How many records of one answer are kept: an answer can be 64 KiB, and strangers choose what it holds."""

_PAYLOAD_OCTETS = 1232  # what passes unfragmented nearly everywhere (DNS flag day 2020)

_Key = tuple[str, str, bool]


def parse_server(text: str) -> tuple[str, int]:
    """Address and port of a name server, written ``192.0.2.53``, ``192.0.2.53:5353`` or ``[2001:db8::53]:5353``.

    Raises ValueError, whose text says what would be right.
    """
    host, port = text.strip(), str(DNS_PORT)
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    try:
        address = str(ip_address(host))
    except ValueError:
        raise ValueError(f"{text!r}: a name server is given by its IP address, as in 127.0.0.1:53") from None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    return address, int(port)


class Resolver:
    """The DNS as our name servers tell it.  Fits ``names.Names``.

    asked       questions that went to a name server
    unanswered  of those: without an answer, as when no server can be reached
    silent_for  the names without an answer since there was the last one; a few of them, to tell a name server
                that is down from a domain that is

    servers      address and port of each; empty means those of resolv.conf, followed when it changes
    patience_s   how long a question may take, all servers and repetitions together
    cache_limit  answers remembered
    at_once      questions under way at the same time; each has a file descriptor
    trusted      addresses of validating resolvers whose word (the AD bit) counts as validation; the way to them
                 must be safe as well, so they are this machine, or behind a wire of our own (RFC 7672 §2.1.1)
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IDnsReactor,
        *,
        servers: Sequence[tuple[str, int]] = (),
        patience_s: float = 10.0,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        cache_limit: int = 20_000,
        at_once: int = 100,
        trusted: Collection[str] = (),
    ) -> None:
        self._reactor = reactor
        self._servers = tuple(servers)
        self._patience_s = patience_s
        self._resolv_conf = WatchedFile(resolv_conf, reactor)
        self._remembered: Cache[_Key, Answer[Any]] = Cache(cache_limit)
        self._waiting: dict[_Key, list[defer.Deferred[Answer[Any]]]] = {}
        self._queued: deque[tuple[_Key, plain.Question | None]] = deque()
        self._at_once = at_once
        self._under_way = 0
        self._is_going_on = False
        self._trusted = frozenset(trusted)
        self._stub = dns.asyncresolver.Resolver(configure=False)
        self._template: first.Template | None = None
        self.asked = 0
        self.unanswered = 0
        self.silent_for: set[str] = set()

    @property
    def validates(self) -> bool:
        """Whether any answer can be secure."""
        return bool(self._trusted)

    def forget(self) -> None:
        """Forget all answers; for an operator who has repaired something."""
        self._remembered.clear()

    def known(self, name: str, kind: Kind[T_co], *, search: bool = False) -> Answer[T_co] | None:
        """See names.Names."""
        return self._remembered.get((name, kind.name, search), self._reactor.seconds())

    def ask(self, name: str, kind: Kind[T_co], *, search: bool = False) -> defer.Deferred[Answer[T_co]]:
        """See names.Names.  Whoever cancels its Deferred does not stop the question for others."""
        known = self.known(name, kind, search=search)
        if known is not None:
            return defer.succeed(known)
        asked: defer.Deferred[Answer[T_co]] = defer.Deferred()
        key = (name, kind.name, search)
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(asked)
            return asked
        self._waiting[key] = [asked]
        question = None if search else plain.question(name, kind.name)
        if question is None and _dns_name(name, search) is None:
            self._tell(self._missing(LONGEST_NEGATIVE_TTL_S, name_exists=False), key)
        else:
            self._queued.append((key, question))
            self._go_on()
        return asked

    def _tell(self, answer: Answer[Any], key: _Key) -> None:
        self._remembered.put(key, answer, answer.expires_at)
        for asked in self._waiting.pop(key):
            asked.callback(answer)

    def _go_on(self) -> None:
        """Asks what waits for its turn.  In a loop: some are answered at once, and thousands may be waiting."""
        if self._is_going_on:
            return
        self._is_going_on = True
        while self._queued and self._under_way < self._at_once:
            self._under_way += 1
            self.asked += 1
            self._begin(*self._queued.popleft())
        self._is_going_on = False

    def _begin(self, key: _Key, question: plain.Question | None) -> None:
        until = self._reactor.seconds() + self._patience_s
        try:
            stub = first.in_turn(self._refreshed_stub())
            if question is None:
                self._ask_wholly(stub, until, key)
            else:
                self._template = self._template or first.Template(stub)
                patience_s = min(stub.timeout, self._patience_s)
                heard = partial(self._heard, key, question, stub, until)
                first.FirstWord(self._reactor, first.server(stub), self._template, question, patience_s, heard).ask()
        except Exception:
            self._ended(self._unexpected(Failure(), key), key)

    def _heard(
        self, key: _Key, question: plain.Question, stub: dns.asyncresolver.Resolver, until: float, word: first.Word
    ) -> None:
        try:
            said = plain.read(word, question) if isinstance(word, bytes) else None
            if said is None:
                self._ask_wholly(first.after(stub, word), until, key)
                return
            self.silent_for.clear()
            answer = self._take(said, first.server(stub).address)
        except Exception:
            answer = self._unexpected(Failure(), key)
        self._ended(answer, key)

    def _ask_wholly(self, stub: dns.asyncresolver.Resolver, until: float, key: _Key) -> None:
        answering = defer.Deferred.fromCoroutine(self._answer(stub, until, *key))
        answering.addErrback(self._unexpected, key).addCallback(self._ended, key)

    def _ended(self, answer: Answer[Any], key: _Key) -> None:
        self._under_way -= 1
        self._tell(answer, key)
        self._go_on()

    def _unexpected(self, failure: Failure, key: _Key) -> Answer[Any]:
        self._log.failure("Looking up {key} failed", failure, key=key)
        return self._trouble("the look-up failed here")

    async def _answer(
        self, stub: dns.asyncresolver.Resolver, until: float, name: str, kind: str, search: bool
    ) -> Answer[Any]:
        """By dnspython.  ``until`` by the reactor's clock."""
        asked = _dns_name(name, search)
        assert asked is not None
        left_s = max(until - self._reactor.seconds(), 0.0)
        try:
            found = await stub.resolve(
                asked,
                kind,
                raise_on_no_answer=False,
                search=search,
                lifetime=left_s,
                backend=Backend(self._reactor, left_s),
            )
            self.silent_for.clear()
            return self._read(found, kind)
        except dns.resolver.NXDOMAIN as missing:
            # CNAMEs to a name that does not exist included (RFC 6604 §3).
            self.silent_for.clear()
            responses = missing.kwargs["responses"].values()
            ttl_s = min(response.resolve_chaining().minimum_ttl for response in responses)
            return self._missing(ttl_s, name_exists=False)
        except dns.exception.DNSException as trouble:
            self.unanswered += 1
            if len(self.silent_for) < SILENT_FOR_LIMIT:
                self.silent_for.add(name)
            return self._trouble(in_words(trouble))

    def _refreshed_stub(self) -> dns.asyncresolver.Resolver:
        """dnspython's resolver with the servers as they are now."""
        if self._servers:
            if not self._stub.nameservers:
                self._stub.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in self._servers]
                self._stub.domain = dns.name.root  # no search list but that of resolv.conf
                self._prepare()
        elif self._resolv_conf.has_changed():
            self._stub = first.system_stub(self._resolv_conf.path)
            self._prepare()
        return self._stub

    def _prepare(self) -> None:
        self._template = None
        self._stub.use_edns(0, 0, _PAYLOAD_OCTETS)
        if self._trusted:
            # RFC 6840 §5.7: with AD in the question the answer tells whether it was validated, without the signatures.
            self._stub.set_flags(dns.flags.RD | dns.flags.AD)

    def _read(self, found: dns.resolver.Answer, kind: str) -> Answer[Any]:
        ttl_s = float(found.chaining_result.minimum_ttl)
        secure = self._is_secure(found)
        if found.rrset is None:
            # A server that neither knows nor recurses refers us elsewhere; that is no word about the name.
            if not found.response.flags & (dns.flags.RA | dns.flags.AA):
                return self._trouble(f"{found.nameserver} does not answer for others")
            return self._missing(ttl_s, name_exists=True, secure=secure)
        values = READ[kind](found.rrset)[:RECORDS_LIMIT]
        canonical = host(found.canonical_name) if found.canonical_name != found.qname else ""
        return Found(values, self._until(ttl_s), secure, canonical)

    def _take(self, said: plain.Said, server: str) -> Answer[Any]:
        """What a plain answer means; as ``_read``."""
        secure = said.authentic and server in self._trusted
        if said.values:
            ordered = sorted(said.values, key=by_preference) if isinstance(said.values[0], Mx) else said.values
            return Found(tuple(ordered[:RECORDS_LIMIT]), self._until(said.ttl_s), secure)
        return self._missing(said.ttl_s, name_exists=said.name_exists, secure=secure and said.name_exists)

    def _until(self, ttl_s: float) -> float:
        return self._reactor.seconds() + min(max(ttl_s, SHORTEST_TTL_S), LONGEST_TTL_S)

    def _is_secure(self, found: dns.resolver.Answer) -> bool:
        return bool(found.response.flags & dns.flags.AD) and found.nameserver in self._trusted

    def _missing(self, ttl_s: float, *, name_exists: bool, secure: bool = False) -> Missing:
        kept_s = min(max(ttl_s, SHORTEST_TTL_S), LONGEST_NEGATIVE_TTL_S)
        return Missing(name_exists, self._reactor.seconds() + kept_s, secure)

    def _trouble(self, why: str) -> Trouble:
        return Trouble(why, self._reactor.seconds() + TROUBLE_TTL_S)


def _dns_name(name: str, search: bool) -> dns.name.Name | None:
    """The name for dnspython, or None where there can be no such name in the DNS (RFC 1035 §2.3.4)."""
    if not name or not name.isascii():  # dnspython would encode it by IDNA 2003, which may be another domain
        return None
    try:
        return dns.name.from_text(name, None if search else dns.name.root)
    except dns.exception.DNSException:
        return None
