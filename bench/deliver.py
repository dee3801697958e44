"""The way out alone, against Postfix's smtp-sink on loopback: ``python -m bench.deliver [MESSAGES]``.

Tells messages a second and the CPU time of our own process a message, for one connection and for twenty.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

from twisted.internet import defer, task
from twisted.internet.interfaces import IReactorTime

from bench.peers import find, free_port, wait_for
from relay.deliver.deliverer import Deliverer
from relay.deliver.opening import dial_by
from relay.deliver.pump import Content
from relay.deliver.settings import DeliverySettings
from relay.message.account import Tried
from relay.message.address import Address
from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.outcome import Delivered
from relay.route.router import Addresses, Hops
from relay.route.table import Route
from relay.route.via import Hop, HopList

CONTENT = b"From: a@example.org\r\nSubject: bench\r\n\r\n" + (b"x" * 76 + b"\r\n") * 52


class OneHop:
    """A router that knows one way."""

    def __init__(self, port: int) -> None:
        self._hops = (Hop("127.0.0.1", port),)
        self._route = Route("bench", HopList(self._hops), "bench")

    def route(self, sender: Address | None, recipient: Address) -> Route:
        return self._route

    def hops_now(self, route: Route) -> Hops:
        return self._hops

    def hops(self, route: Route) -> defer.Deferred[Hops]:
        return defer.succeed(self._hops)

    def addresses_now(self, hop: Hop) -> Addresses:
        return ("127.0.0.1",)

    def addresses(self, hop: Hop) -> defer.Deferred[Addresses]:
        return defer.succeed(("127.0.0.1",))


def _none_large(message_id: str) -> Content:
    raise AssertionError(f"{message_id} is carried")


def message(number: int) -> Message:
    head = b"Received: from bench by bench with ESMTP id %d; now\r\n" % number
    envelope = Envelope(Address("sender", "example.org"))
    return Message(f"{number:x}", envelope, Origin(), 0.0, head, CONTENT, len(head) + len(CONTENT))


class Run:
    """So many messages, so many at once."""

    def __init__(self, deliverer: Deliverer, messages: int, at_once: int) -> None:
        self._deliverer = deliverer
        self._left = messages
        self._under_way = at_once
        self._recipients = (Recipient(Address("ann", "example.net")),)
        self.done: defer.Deferred[None] = defer.Deferred()
        for _ in range(at_once):
            self._next()

    def _next(self, tried: Tried | None = None) -> None:
        if tried is not None and not isinstance(tried.outcomes[0], Delivered):
            self.done.errback(SystemExit(str(tried.outcomes[0])))
            return
        if not self._left:
            self._under_way -= 1
            if not self._under_way:
                self.done.callback(None)
            return
        self._left -= 1
        self._deliverer.deliver(message(self._left), self._recipients, "bench").addCallback(self._next)


async def measure(reactor: IReactorTime, port: int, messages: int) -> None:
    for connections, at_once in ((1, 1), (1, 2), (20, 20), (10, 20)):
        settings = DeliverySettings(connections_per_hop=connections, messages_per_connection=10**9)
        deliverer = Deliverer(
            clock=reactor,
            dial=dial_by(reactor),
            router=OneHop(port),
            open_content=_none_large,
            hostname="bench.example",
            settings=settings,
        )
        await Run(deliverer, 200, at_once).done
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        await Run(deliverer, messages, at_once).done
        took, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        print(
            f"{connections:3} connections, {at_once:3} at once: {messages / took:7.0f} messages/s, "
            f"{cpu / messages * 1e6:5.0f} µs CPU a message",
            flush=True,
        )
        await deliverer.stop()


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    port = free_port()
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    sink = subprocess.Popen([find("smtp-sink"), *user, f"127.0.0.1:{port}", "200"])
    try:
        wait_for(port)
        task.react(lambda reactor: defer.Deferred.fromCoroutine(measure(reactor, port, messages)))
    finally:
        sink.terminate()
        sink.wait()


if __name__ == "__main__":
    main()
