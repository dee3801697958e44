"""The way out over real sockets on loopback."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.internet import defer, reactor
from twisted.internet.interfaces import IListeningPort
from twisted.trial.unittest import TestCase

from relay.deliver.deliverer import Deliverer
from relay.deliver.opening import dial_by
from relay.deliver.settings import DeliverySettings
from relay.message.address import parse_mailbox
from relay.message.envelope import Message, Recipient
from relay.message.outcome import Outcome
from relay.route.via import Hop
from tests.deliver.way_out import CONTENT, HEAD, Routes, message, shown
from tests.fakes.next_hop import NextHop

LARGE = b"Subject: large\r\n\r\n" + (b"." + b"x" * 97 + b"\r\n") * 40_000


class Pieces:
    """4 MB in pieces."""

    def __init__(self) -> None:
        self._at = 0

    def read(self) -> defer.Deferred[bytes]:
        piece = LARGE[self._at : self._at + 65536]
        self._at += 65536
        return defer.succeed(piece)

    def close(self) -> None:
        pass


class OverSockets(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.routes = Routes({}, {})
        self.deliverer = Deliverer(
            clock=reactor,
            dial=dial_by(reactor),
            router=self.routes,
            open_content=lambda message_id: Pieces(),
            hostname="relay.example",
            settings=DeliverySettings(idle_s=0.5),
        )
        self.addCleanup(self.deliverer.stop)

    def listening(self, port: IListeningPort) -> None:
        self.addCleanup(port.stopListening)

    async def deliver(self, *messages: Message) -> list[str]:
        wanted = [Recipient(parse_mailbox("bob@example.net"))]
        under_way = [self.deliverer.deliver(each, wanted, "example.net") for each in messages]
        outcomes: list[Outcome] = []
        for each in under_way:
            outcomes += (await each).outcomes
        return shown(outcomes)

    def route_to(self, *hops: Hop, addresses: tuple[str, ...] = ("127.0.0.1",)) -> None:
        self.routes.known_hops = {"example.net": hops}
        self.routes.known_addresses = {hop.host: addresses for hop in hops}

    def test_over_tcp(self) -> defer.Deferred[None]:
        return defer.Deferred.fromCoroutine(self.over_tcp())

    async def over_tcp(self) -> None:
        hop = NextHop()
        port = reactor.listenTCP(0, hop.factory(), interface="127.0.0.1")
        self.listening(port)
        self.route_to(Hop("hop.example", port.getHost().port))
        assert await self.deliver(*[message() for _ in range(30)]) == ["Delivered 250 2.0.0"] * 30
        assert {taken.content for taken in hop.taken} == {HEAD + CONTENT}
        assert hop.sessions <= 10
        large = message(None, size=len(HEAD) + len(LARGE))
        assert await self.deliver(large, message()) == ["Delivered 250 2.0.0"] * 2
        assert HEAD + LARGE in [taken.content for taken in hop.taken]

    def test_past_an_address_where_nobody_listens(self) -> defer.Deferred[None]:
        return defer.Deferred.fromCoroutine(self.past_an_address())

    async def past_an_address(self) -> None:
        port = reactor.listenTCP(0, NextHop().factory(), interface="127.0.0.1")
        self.listening(port)
        self.route_to(Hop("hop.example", port.getHost().port), addresses=("::1", "127.0.0.2", "127.0.0.1"))
        assert await self.deliver(message()) == ["Delivered 250 2.0.0"]
        self.route_to(Hop("none.example", port.getHost().port), addresses=("::1", "127.0.0.2"))
        assert await self.deliver(message()) == ["Deferred 451 4.4.1!"]

    def test_lmtp_over_a_unix_socket(self) -> defer.Deferred[None]:
        return defer.Deferred.fromCoroutine(self.over_a_unix_socket())

    async def over_a_unix_socket(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = str(Path(folder) / "lmtp")
        hop = NextHop(lmtp=True)
        self.listening(reactor.listenUNIX(path, hop.factory()))
        self.route_to(Hop("", 0, "lmtp", path))
        assert await self.deliver(message(), message()) == ["Delivered 250 2.0.0"] * 2
        assert len(hop.taken) == 2
