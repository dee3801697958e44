"""The way out, as the scheduler sees it: a message and recipients in, one outcome for each out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from relay.deliver.attempt import Attempt
from relay.deliver.classify import SHUTTING_DOWN
from relay.deliver.function import Function, Functions
from relay.deliver.guard import Guards
from relay.deliver.keyring import Keyring
from relay.deliver.letter import Letter, Open
from relay.deliver.opening import Dial
from relay.deliver.pool import Pool
from relay.deliver.probe import Prober
from relay.deliver.settings import DeliverySettings
from relay.message.account import Tried
from relay.message.address import Address
from relay.message.envelope import Message, Recipient
from relay.message.outcome import Deferred, Outcome
from relay.message.step import Tell, tell_nobody
from relay.route.router import Addresses, Hops
from relay.route.table import Route
from relay.route.tls import Witness, nobody
from relay.route.via import Hop, ToFunction
from relay.wire import Switchboard

LOADED_AT_ONCE = 2
"""Large messages that are read whole, to be converted for a hop, at once: a bound on memory."""


class Routes(Protocol):
    """What the deliverer asks of the router; see relay.route.router.  None of the Deferreds fails."""

    def route(self, sender: Address | None, recipient: Address) -> Route: ...

    def hops_now(self, route: Route) -> Hops | None: ...

    def hops(self, route: Route) -> defer.Deferred[Hops]: ...

    def addresses_now(self, hop: Hop) -> Addresses | None: ...

    def addresses(self, hop: Hop) -> defer.Deferred[Addresses]: ...


class Deliverer:
    """Delivers.

    dial          how to reach an address: ``opening.dial_by(reactor)``
    router        where to
    open_content  opens the content of a message too large to be carried, by its id
    hostname      our name, in A-labels, for EHLO
    keyring       what we log in with; without one, passwords from files
    witness       is told of TLS sessions that somebody wants reports about
    functions     take mail in the place of a next hop, by the name that routes call them by
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        dial: Dial,
        router: Routes,
        open_content: Open,
        hostname: str,
        settings: DeliverySettings | None = None,
        tell: Tell = tell_nobody,
        keyring: Keyring | None = None,
        witness: Witness = nobody,
        switchboard: Switchboard | None = None,
        functions: Mapping[str, Function] | None = None,
    ) -> None:
        self.settings = settings or DeliverySettings()
        self.router = router
        self.tell = tell
        self._hostname = hostname
        self._keyring = keyring or Keyring(clock, random.SystemRandom(), tell)
        self.guards = guards = Guards(clock, self._keyring, tell, witness)
        self.pool = Pool(
            clock=clock,
            dial=dial,
            hostname=hostname,
            settings=self.settings,
            guards=guards,
            switchboard=switchboard,
        )
        self._functions = Functions(clock, functions or {}, open_content, tell)
        self._open_content = open_content
        self._loading = defer.DeferredSemaphore(LOADED_AT_ONCE)
        self._loaded: set[Letter | None] = set()

    def deliver(self, message: Message, recipients: Sequence[Recipient], lane: str) -> defer.Deferred[Tried]:
        """Tries to deliver a message to these recipients, once.

        lane  the scheduler's name for their way; what counts is the routing table as it is now

        Fires with one outcome for each recipient, in their order, and how it went; never fails.
        """
        if self.pool.is_stopping:
            return defer.succeed(Tried([Deferred(SHUTTING_DOWN) for _ in recipients]))
        if len(recipients) == 1:
            route = self.router.route(message.envelope.reverse_path, recipients[0].address)
            return self._attempt(message, recipients, route)
        ways = self._ways(message, recipients)
        if len(ways) == 1:
            ((route, _),) = ways.values()
            return self._attempt(message, recipients, route)
        return defer.Deferred.fromCoroutine(self._each_way(message, recipients, ways))

    def prober(self) -> Prober:
        """Asks hosts what they would say to a delivery, on connections that are not the pool's."""
        return Prober(
            clock=self.pool.clock,
            dial=self.pool.dial,
            hostname=self._hostname,
            settings=self.settings,
            keyring=self._keyring,
        )

    def reconfigure(self, settings: DeliverySettings) -> None:
        """Other limits hold from now on; what is under way goes on."""
        self.settings = settings
        self.pool.reconfigure(settings)

    def stop(self) -> defer.Deferred[None]:
        """Takes leave of idle hops; fires when what is under way has ended."""
        self._functions.stop()
        return self.pool.stop()

    # -- for the attempts --------------------------------------------------------------------

    def letter(self, message: Message) -> Letter:
        return Letter(message, self._open_content, self.settings.convert_limit_octets)

    async def load(self, letter: Letter) -> None:
        """Reads a large message whole, a few at once; its turn lasts until the attempt has ended.

        Raises what the store raises.
        """
        if letter not in self._loaded:
            await self._loading.acquire()
            self._loaded.add(letter)
        await letter.load()

    def ended(self, letter: Letter | None) -> None:
        """An attempt is over."""
        if letter in self._loaded:
            self._loaded.discard(letter)
            self._loading.release()

    # -- recipients whose ways have parted since they got their lane ---------------------------

    def _ways(self, message: Message, recipients: Sequence[Recipient]) -> dict[str, tuple[Route, list[int]]]:
        """The ways as the table has them now: lane -> route and places of the recipients."""
        sender = message.envelope.reverse_path
        ways: dict[str, tuple[Route, list[int]]] = {}
        for place, recipient in enumerate(recipients):
            route = self.router.route(sender, recipient.address)
            ways.setdefault(route.lane, (route, []))[1].append(place)
        return ways

    def _attempt(self, message: Message, recipients: Sequence[Recipient], route: Route) -> defer.Deferred[Tried]:
        if isinstance(route.way, ToFunction):
            return self._functions.deliver(route.way.name, route.rule, message, recipients)
        attempt = Attempt(self, message, recipients)
        done = attempt.done
        assert done is not None
        attempt.start(route)
        return done

    async def _each_way(
        self, message: Message, recipients: Sequence[Recipient], ways: dict[str, tuple[Route, list[int]]]
    ) -> Tried:
        under_way = [
            (places, self._attempt(message, [recipients[place] for place in places], route))
            for route, places in ways.values()
        ]
        outcomes: dict[int, Outcome] = {}
        accounts = []
        for places, attempt in under_way:
            tried = await attempt
            outcomes.update(zip(places, tried.outcomes, strict=True))
            accounts += [(account, places) for account, _ in tried.accounts]
        return Tried([outcomes[place] for place in range(len(recipients))], accounts)
