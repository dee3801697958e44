"""A Deliverer on a clock and a network of this test's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet import defer
from twisted.internet.task import Clock

from relay.deliver.deliverer import Deliverer
from relay.deliver.settings import DeliverySettings
from relay.message.account import Account, Tried
from relay.message.address import Address, parse_mailbox
from relay.message.envelope import Body, Envelope, Message, Origin, Recipient
from relay.message.outcome import Deferred, Delivered, Failed, Outcome
from relay.route.router import Addresses, Hops
from relay.route.table import Route
from relay.route.tls import NO_TLS, Security
from relay.route.via import Hop, HopList
from tests.fakes.next_hop import MemoryNetwork, NextHop

HEAD = b"Received: from here by there; now\r\n"
CONTENT = b"Subject: hello\r\n\r\nHello.\r\n.\r\n"


class Routes:
    """A router that knows what it is told.

    hops       lane -> what the router answers for it
    addresses  host -> likewise
    later      nothing is known at once: every answer comes by a Deferred, when ``answer`` is called
    """

    def __init__(self, hops: Mapping[str, Hops], addresses: Mapping[str, Addresses], *, later: bool = False) -> None:
        self.known_hops = dict(hops)
        self.known_addresses = dict(addresses)
        self.later = later
        self.asked: list[tuple[defer.Deferred[object], object]] = []

    def route(self, sender: Address | None, recipient: Address) -> Route:
        lane = recipient.domain
        return Route(lane, HopList(()), "test")

    def hops_now(self, route: Route) -> Hops | None:
        return None if self.later else self.known_hops[route.lane]

    def hops(self, route: Route) -> defer.Deferred[Hops]:
        return self._ask(self.known_hops[route.lane])

    def addresses_now(self, hop: Hop) -> Addresses | None:
        return None if self.later else self.known_addresses[hop.host]

    def addresses(self, hop: Hop) -> defer.Deferred[Addresses]:
        return self._ask(self.known_addresses[hop.host])

    def _ask(self, answer: object) -> defer.Deferred[object]:
        asked: defer.Deferred[object] = defer.Deferred()
        self.asked.append((asked, answer))
        return asked

    def answer(self) -> None:
        asked, self.asked = self.asked, []
        for each, answer in asked:
            each.callback(answer)


class Pieces:
    """A content in pieces; each is given when ``clock`` moves.

    error        comes after the last piece
    stuck_after  so many pieces are given, then nothing happens any more
    """

    def __init__(
        self, clock: Clock, pieces: Sequence[bytes], error: Exception | None = None, stuck_after: int | None = None
    ) -> None:
        self._clock = clock
        self._pieces = list(pieces)
        self._error = error
        self._stuck_after = stuck_after
        self.given = 0
        self.is_closed = False

    def read(self) -> defer.Deferred[bytes]:
        assert not self.is_closed
        done: defer.Deferred[bytes] = defer.Deferred()
        if self.given == self._stuck_after:
            return done
        if self._pieces:
            self.given += 1
            self._clock.callLater(0, done.callback, self._pieces.pop(0))
        elif self._error is not None:
            self._clock.callLater(0, done.errback, self._error)
        else:
            self._clock.callLater(0, done.callback, b"")
        return done

    def close(self) -> None:
        self.is_closed = True


class WayOut:
    """Everything that a test of the way out needs.

    hosts  name -> hosts by their addresses; an address is of the form of the name's place: the first host's are
           10.0.0.1, 10.0.0.2 …, the second's 10.0.1.1 …
    """

    def __init__(
        self,
        *hosts: NextHop | Exception | Sequence[NextHop | Exception | None] | None,
        cut: int = 0,
        settings: DeliverySettings | None = None,
        later: bool = False,
        security: Security = NO_TLS,
    ) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock, {}, cut=cut)
        addresses: dict[str, Addresses] = {}
        hops = []
        for number, host in enumerate(hosts):
            name = f"mx{number}.example"
            listed = host if isinstance(host, (list, tuple)) else [host]
            addresses[name] = tuple(f"10.0.{number}.{place}" for place in range(1, len(listed) + 1))
            for place, one in enumerate(listed):
                if one is not None:
                    self.network.hosts[f"10.0.{number}.{place + 1}"] = one
            lmtp = any(isinstance(one, NextHop) and one.lmtp for one in listed)
            hops.append(Hop(name, 25, "lmtp" if lmtp else "smtp", security=security))
        self.routes = Routes({"example.net": tuple(hops)}, addresses, later=later)
        self.contents: dict[str, Callable[[], Pieces]] = {}
        self.opened: list[Pieces] = []
        self.told: list[tuple[str, dict[str, object]]] = []
        self.accounts: list[Account] = []
        self.deliverer = Deliverer(
            clock=self.clock,
            dial=self.network,
            router=self.routes,
            open_content=self._open,
            hostname="relay.example",
            settings=settings,
            tell=lambda step, /, **fields: self.told.append((step, fields)),
        )

    def _open(self, message_id: str) -> Pieces:
        content = self.contents[message_id]()
        self.opened.append(content)
        return content

    def start(self, message: Message, *addresses: str) -> Sending:
        wanted = [Recipient(parse_mailbox(address)) for address in addresses or ("bob@example.net",)]
        return Sending(self.deliverer.deliver(message, wanted, "example.net").addCallback(self._account_for))

    def _account_for(self, tried: Tried) -> list[Outcome]:
        self.accounts += [account for account, _ in tried.accounts]
        return list(tried.outcomes)

    def send(self, message: Message, *addresses: str, within_s: float = 0.0) -> list[Outcome]:
        """The outcomes, when they are there within this time."""
        sending = self.start(message, *addresses)
        self.run(within_s)
        return sending.outcomes

    def run(self, seconds: float = 0.0) -> None:
        """Lets everything happen that happens within this time."""
        end = self.clock.seconds() + seconds
        while True:
            due = sorted(call.getTime() for call in self.clock.getDelayedCalls())
            if not due or due[0] > end:
                break
            self.clock.advance(max(0.0, due[0] - self.clock.seconds()))
        self.clock.advance(end - self.clock.seconds())


class Sending:
    """A delivery under way."""

    def __init__(self, deferred: defer.Deferred[list[Outcome]]) -> None:
        self.results: list[list[Outcome]] = []
        deferred.addCallback(self.results.append)

    @property
    def outcomes(self) -> list[Outcome]:
        assert len(self.results) == 1, f"{len(self.results)} results"
        return self.results[0]


_numbers = iter(range(10**9))


def message(
    content: bytes | None = CONTENT,
    *,
    body: Body = Body.SEVENBIT,
    sender: str | None = "ann@example.org",
    smtputf8: bool = False,
    size: int | None = None,
) -> Message:
    envelope = Envelope(parse_mailbox(sender) if sender else None, body, smtputf8)
    size = len(HEAD) + len(content or b"") if size is None else size
    return Message(f"m{next(_numbers)}", envelope, Origin(), 0.0, HEAD, content, size)


def large(
    way_out: WayOut,
    *pieces: bytes,
    body: Body = Body.SEVENBIT,
    smtputf8: bool = False,
    error: Exception | None = None,
    stuck_after: int | None = None,
) -> Message:
    """A message that is too large to be carried, as the store has it."""
    made = message(None, body=body, smtputf8=smtputf8, size=len(HEAD) + sum(map(len, pieces)))
    way_out.contents[made.id] = lambda: Pieces(way_out.clock, pieces, error, stuck_after)
    return made


def shown(outcomes: Sequence[Outcome]) -> list[str]:
    """Outcomes in short: the kind, the code, and ``!`` whole destination, ``?`` in doubt."""
    lines = []
    for outcome in outcomes:
        assert isinstance(outcome, (Delivered, Deferred, Failed))
        marks = ""
        if isinstance(outcome, Deferred):
            marks = "!" * outcome.whole_destination + "?" * outcome.in_doubt
        lines.append(f"{type(outcome).__name__} {outcome.reply.code} {outcome.reply.enhanced}{marks}")
    return lines
