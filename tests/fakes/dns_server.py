"""A real DNS server on loopback, UDP and TCP, that says what a test tells it to.

It runs in a thread of its own, so it serves tests of every kind, and programs under test that are
processes of their own.  It plays a recursive server: what nobody told it does not exist.

    with DnsServer() as dns:
        dns.mx("example.org", (10, "mx1.example.org"), (20, "mx2.example.org"))
        dns.a("mx1.example.org", "127.0.0.2")
        dns.null_mx("nomail.example")
        dns.servfail("broken.example")
        dns.silent("slow.example")
        …  # servers: [dns.address], or dns.text in a configuration
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset

NEGATIVE_TTL_S = 60
_Key = tuple[str, str]  # name in lower case without final dot, type


@dataclass
class DnsServer:
    """See the module.  ``host`` is a loopback address of either kind."""

    host: str = "127.0.0.1"
    port: int = 0
    recurses: bool = True
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, type and ``udp`` or ``tcp`` of every question, in order."""
    records: dict[_Key, tuple[int, list[str]]] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)
    behaviour: dict[str, str] = field(default_factory=dict)
    """``name`` or ``name/TYPE`` to an rcode's name, or one of the methods' names below."""
    _unanswered: list[socket.socket] = field(default_factory=list)

    # -- what it says ------------------------------------------------------------------------

    def mx(self, name: str, *hosts: tuple[int, str], ttl: int = 300) -> None:
        self.add(name, "MX", *(f"{preference} {host.rstrip('.')}." for preference, host in hosts), ttl=ttl)

    def null_mx(self, name: str, ttl: int = 300) -> None:
        self.mx(name, (0, ""), ttl=ttl)

    def a(self, name: str, *addresses: str, ttl: int = 300) -> None:
        self.add(name, "A", *addresses, ttl=ttl)

    def aaaa(self, name: str, *addresses: str, ttl: int = 300) -> None:
        self.add(name, "AAAA", *addresses, ttl=ttl)

    def cname(self, name: str, target: str, ttl: int = 300) -> None:
        self.add(name, "CNAME", target.rstrip(".") + ".", ttl=ttl)

    def ptr(self, address: str, *names: str, ttl: int = 300) -> None:
        reverse = dns.reversename.from_address(address).to_text(omit_final_dot=True)
        self.add(reverse, "PTR", *(name + "." for name in names), ttl=ttl)

    def add(self, name: str, kind: str, *texts: str, ttl: int = 300) -> None:
        """Records of any type, as a zone file writes them.  Replaces those of the same name and type."""
        self.records[name.lower().rstrip("."), kind] = (ttl, list(texts))

    def remove(self, name: str) -> None:
        """From now on the name does not exist."""
        name = name.lower().rstrip(".")
        for key in [key for key in self.records if key[0] == name]:
            del self.records[key]
        self.behaviour = {key: how for key, how in self.behaviour.items() if key.partition("/")[0] != name}

    def servfail(self, name: str, kind: str = "") -> None:
        self.behave("SERVFAIL", name, kind)

    def sign(self, *names: str) -> None:
        """Answers for these names and all below them count as validated: with the AD bit, for those who ask for it.

        An answer with a CNAME is validated when every name in it is (RFC 4035 §3.2.3).
        """
        self.signed.update(name.lower().rstrip(".") for name in names)

    def silent(self, name: str, kind: str = "") -> None:
        """No answer at all."""
        self.behave("silent", name, kind)

    def truncated(self, name: str, kind: str = "") -> None:
        """Over UDP nothing but the hint that TCP has it."""
        self.behave("truncated", name, kind)

    def mute(self, name: str, kind: str = "") -> None:
        """As ``truncated``, and over TCP the question is taken and never answered."""
        self.behave("mute", name, kind)

    def garbled(self, name: str, kind: str = "") -> None:
        """Noise and an answer with a wrong id come before the answer."""
        self.behave("garbled", name, kind)

    def forged(self, name: str, kind: str = "") -> None:
        """A stranger's answer, with the right id but from another port, says NXDOMAIN before the answer comes."""
        self.behave("forged", name, kind)

    def behave(self, how: str, name: str, kind: str = "") -> None:
        self.behaviour[name.lower().rstrip(".") + (f"/{kind}" if kind else "")] = how

    def count(self, name: str, kind: str) -> int:
        """How often this was asked."""
        return sum(1 for one in self.asked if one[:2] == (name, kind))

    # -- running -----------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def text(self) -> str:
        """As a configuration writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def start(self) -> Self:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._tcp, self._udp = _bound_pair(family, self.host, self.port)
        self.port = self._udp.getsockname()[1]
        self._stop, self._stopping = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="dns server", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.close()
        self._thread.join(5)
        for one in (*self._unanswered, self._tcp, self._udp, self._stopping):
            one.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._udp, selectors.EVENT_READ, self._serve_udp)
            waiting.register(self._tcp, selectors.EVENT_READ, self._serve_tcp)
            waiting.register(self._stopping, selectors.EVENT_READ, None)
            while True:
                for key, _ in waiting.select():
                    serve: Callable[[], None] | None = key.data
                    if serve is None:
                        return
                    with contextlib.suppress(OSError):  # the asker went away
                        serve()

    def _serve_udp(self) -> None:
        data, asker = self._udp.recvfrom(65535)
        query = dns.message.from_wire(data)
        how = self._note(query, "udp")
        if how == "garbled":
            self._udp.sendto(b"\0noise", asker)
            wrong = dns.message.from_wire(data)
            wrong.id ^= 1
            self._udp.sendto(self._answer(wrong, "NXDOMAIN").to_wire(), asker)
        elif how == "forged":
            with socket.socket(self._udp.family, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(self._answer(query, "NXDOMAIN").to_wire(), asker)
        answer = self._answer(query, how)
        if how in ("truncated", "mute"):
            answer = dns.message.make_response(query, recursion_available=True)
            answer.flags |= dns.flags.TC
        if how != "silent":
            self._udp.sendto(answer.to_wire(), asker)

    def _serve_tcp(self) -> None:
        connection, _ = self._tcp.accept()
        connection.settimeout(2)
        stream = connection.makefile("rb")
        query = dns.message.from_wire(stream.read(int.from_bytes(stream.read(2), "big")))
        how = self._note(query, "tcp")
        if how == "mute":
            self._unanswered.append(connection)
            return
        with connection:
            wire = self._answer(query, how).to_wire(max_size=65535)
            connection.sendall(len(wire).to_bytes(2, "big") + wire)

    def _note(self, query: dns.message.Message, over: str) -> str:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, over))
        return self.behaviour.get(f"{name}/{kind}") or self.behaviour.get(name, "")

    def _answer(self, query: dns.message.Message, how: str) -> dns.message.Message:
        answer = dns.message.make_response(query, recursion_available=self.recurses)
        if how.isupper():
            answer.set_rcode(dns.rcode.from_text(how))
            return answer
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        names = [name]
        for _ in range(20):  # CNAMEs, and a bound for those that go in a circle
            if self._append(answer, name, kind) or not self._append(answer, name, "CNAME"):
                break
            name = self.records[name, "CNAME"][1][0].lower().rstrip(".")
            names.append(name)
        if query.flags & dns.flags.AD and all(self._is_signed(one) for one in names):
            answer.flags |= dns.flags.AD
        if not any(one == name or one.endswith("." + name) for one, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if not any(rrset.rdtype == question.rdtype for rrset in answer.answer) and self.recurses:
            soa = f"ns.invalid. hostmaster.invalid. 1 3600 600 86400 {NEGATIVE_TTL_S}"
            answer.authority.append(dns.rrset.from_text(".", NEGATIVE_TTL_S, "IN", "SOA", soa))
        return answer

    def _is_signed(self, name: str) -> bool:
        return any(name == one or name.endswith("." + one) for one in self.signed)

    def _append(self, answer: dns.message.Message, name: str, kind: str) -> bool:
        ttl, texts = self.records.get((name, kind), (0, []))
        if texts:
            answer.answer.append(dns.rrset.from_text(name + ".", ttl, "IN", kind, *texts))
        return bool(texts)


def _bound_pair(family: socket.AddressFamily, host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A listening TCP and a UDP socket on one port."""
    for _ in range(50):
        tcp = socket.create_server((host, port), family=family)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind((host, tcp.getsockname()[1]))
        except OSError:
            tcp.close()
            udp.close()
            continue
        return tcp, udp
    raise OSError("no port is free for both UDP and TCP")
