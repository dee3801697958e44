"""A world in memory with a real relay in it: its own clock, network, DNS and disk, and next hops that misbehave.

The relay is the one that runs in earnest, with its queue, its SQLite and its protocol; only what it stands on is of
this world.  Time passes when a test says so, at once, and all of it hangs on one seed: what failed once fails again.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from relay.embed import NotTaken, Relay, Taken, prepared
from relay.operate.config import Config
from relay.operate.surroundings import Surroundings
from relay.policy.policy import Policy
from relay.queue.store import QueueRow
from relay.receive.visit import Visit
from relay.testing import certificates
from relay.testing.arrived import Arrived
from relay.testing.bridge import Bridge
from relay.testing.clock import WorldClock
from relay.testing.database import checkpoints_unheard
from relay.testing.disk import Disk, in_memory
from relay.testing.hop import NextHop
from relay.testing.link import Weather
from relay.testing.names import SeededNames, Zone
from relay.testing.network import Network
from relay.testing.process import Process
from relay.testing.step import Step

T = TypeVar("T")

CLIENT = "192.0.2.1"
RELAY_IP = "192.0.2.25"
PATIENCE_S = 3600.0
"""How long an answer may take, in the world's time."""


class RelayWorld:
    """See the module.  A context manager; the fixture ``relay_world`` is one.

    The relay starts with the first thing that is asked of it, so that a test can ``configure`` it before.

    clock    of the world: ``clock.now``, and IReactorTime for a Twisted program that is tested in it
    names    the DNS: ``names.mx`` and ``names.addresses``
    network  who answers at which address
    disk     what the queue is on: ``disk.capacity`` octets
    log      every step that the relay told, in order
    folder   where its files are
    """

    def __init__(self, seed: int | str = 0) -> None:
        self.clock = WorldClock()
        self.names = Zone()
        self.log: list[Step] = []
        self.folder = Path(tempfile.mkdtemp(prefix="relay-world-", dir=in_memory()))
        self.disk = Disk(self.folder / "spool", Random(f"{seed}/disk"))
        self.network = Network(self.clock, Random(f"{seed}/network"), lambda ip: Weather())
        self.lock = threading.RLock()
        self._chance = Random(f"{seed}/relay")
        self._hops: list[NextHop] = []
        self._config: dict[str, Any] = {}
        self._parts: dict[str, Any] = {}
        self._make: Callable[..., Relay] = lambda **around: Relay(self._whole(), **self._parts, **around)
        self._relay: Relay | None = None
        self._process: Process | None = None
        self._bridge: Bridge | None = None
        self._is_names_down = False
        self._left = ExitStack()

    def __enter__(self) -> RelayWorld:
        self._left.enter_context(checkpoints_unheard())
        return self

    def __exit__(self, *_: object) -> None:
        """Raises what broke on behalf of a client on a real socket, where nobody else could."""
        with self.lock:
            if self._bridge is not None:
                self._bridge.close()
            if self._process is not None:
                self._process.die()
            self._left.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            if self._bridge is not None and self._bridge.failures:
                raise self._bridge.failures[0]

    # -- who lives in it ------------------------------------------------------------------------

    def next_hop(
        self, name: str, *, domain: str | Iterable[str] = (), preference: int = 10, lmtp: bool = False
    ) -> NextHop:
        """A host that takes mail; by default it is well, and has an address in the DNS.

        domain      whose mail host it is by MX, or several
        preference  of that MX
        lmtp        it speaks LMTP; there must be a route to it then: ``via: lmtp://NAME``
        """
        with self.lock:
            address = f"203.0.113.{len(self._hops) + 1}"
            hop = NextHop(name, address, self.clock, lmtp=lmtp, secure=certificates.server)
            self._hops.append(hop)
            self.network.hosts[address] = hop.answer
            self.names.addresses[name] = [address]
            for one in [domain] if isinstance(domain, str) else domain:
                self.names.mx.setdefault(one, []).append((preference, name))
            return hop

    def names_are_down(self, down: bool = True) -> None:
        """The DNS does not answer, or does again.  What the relay has learned it may remember."""
        self._is_names_down = down

    @property
    def authority(self) -> Path:
        """A file with the certificate of the world's authority, for ``authorities:`` of a route."""
        file = self.folder / "authority.crt"
        file.write_bytes(certificates.pair(certificates.AUTHORITY).certificate_pem)
        return file

    def certificate(self, name: str) -> dict[str, str]:
        """A certificate for the relay itself, as ``tls:`` wants it."""
        pair = certificates.pair(name)
        (self.folder / f"{name}.crt").write_bytes(pair.certificate_pem)
        (self.folder / f"{name}.key").write_bytes(pair.key_pem)
        return {"certificate": str(self.folder / f"{name}.crt"), "key": str(self.folder / f"{name}.key")}

    # -- the relay ------------------------------------------------------------------------------

    def configure(
        self,
        config: Mapping[str, Any],
        *,
        functions: Mapping[str, Any] | None = None,
        policy: type[Policy] = Policy,
    ) -> None:
        """What the relay is to do, as relay.yaml says it; what is left out is as ``defaults`` has it.

        A relay that runs takes it as by a reload; functions and policy only a restart changes.  Raises ConfigFaults.
        """
        with self.lock:
            self._config = dict(config)
            self._parts = {"functions": functions, "policy": policy}
            if self._relay is not None:
                self._relay.use(self._whole())

    def runs(self, make: Callable[..., Relay]) -> None:
        """The program under test makes the relay itself: ``make(reactor=…, surroundings=…)`` gives a relay.embed.Relay
        that was given both.  What its configuration does not say, ``defaults`` may."""
        self._make = make

    def defaults(self) -> dict[str, Any]:
        """The configuration where a test says nothing: SMTP on port 25, submission on 587, and 192.0.2.0/24 may send
        to anywhere."""
        return {
            "hostname": "relay.example",
            "spool": str(self.disk.folder),
            "listen": [{"endpoint": "tcp:25"}, {"endpoint": "tcp:587", "service": "submission"}],
            "accept": {"networks": ["127.0.0.0/8", "192.0.2.0/24"]},
        }

    def _whole(self) -> dict[str, Any]:
        return {**self.defaults(), **self._config}

    @property
    def relay(self) -> Relay:
        """The relay, running: a relay.embed.Relay."""
        with self.lock:
            if self._relay is None:
                self._begin()
            assert self._relay is not None
            return self._relay

    def _begin(self) -> None:
        process = Process(self.disk, self.network, self._chance, slow_disk_s=0.001, reclaim_s=60.0)
        names = SeededNames(process.clock, self._chance, self.names, self._mood)

        def surroundings(reactor: Any, config: Config) -> Surroundings:
            return process.surroundings(names, self.folder / "hosts")

        relay = self._make(reactor=process.clock, surroundings=surroundings)
        relay.follow(self._told)
        relay.startService()
        self._relay, self._process = relay, process

    def _mood(self, name: str) -> str:
        return "servfail" if self._is_names_down else "fine"

    def _told(self, step: str, /, **fields: object) -> None:
        self.log.append(Step(self.clock.now, step, fields))

    def stop(self) -> None:
        """The relay stops in order; it starts again with the next thing that is asked of it."""
        with self.lock:
            if self._relay is not None and self._process is not None:
                self.wait_for(self._relay.stopService())
                self._process.die()
                self._relay = self._process = None

    def crash(self, *, power: bool = True) -> None:
        """The relay is gone from one moment to the next, and starts anew.

        power  the machine's power fails: what was written and not synced is lost, in part, by chance.  Otherwise only
               the process is killed
        """
        with self.lock:
            relay, process = self.relay, self._process
            assert process is not None and relay is self._relay
            process.die()
            self.network.crash(process.clock, told=not power)
            if power:
                self.disk.lose_power()
                self.disk.restart()
            self._relay = self._process = None
            self._begin()

    # -- what is done ---------------------------------------------------------------------------

    def send(
        self,
        sender: str,
        recipients: Iterable[str],
        message: EmailMessage | bytes | str,
        *,
        client: str = CLIENT,
        endpoint: str = "tcp:25",
    ) -> Taken:
        """A client sends a message; gives its id in the queue.  Line ends are made those of SMTP.

        client    its IP address, by which the relay's rules judge it
        endpoint  of the listener that it talks to

        Raises NotTaken with the relay's reply.
        """
        octets = message.as_bytes(policy=SMTP) if isinstance(message, EmailMessage) else message
        octets = octets.encode() if isinstance(octets, str) else octets
        envelope, to, pieces, size = prepared(sender, recipients, re.sub(rb"\r?\n", b"\r\n", octets), None)
        with self.lock:
            factories = {listen.endpoint: factory for factory, listen in self.relay.inward.factories}
            with Visit(factories[endpoint], client, helo="client.example") as visit:
                sent = self.wait_for(ensureDeferred(visit.send(envelope, to, pieces, size)))
        told = zip(to, sent.recipients, strict=False)
        refused = {str(one.address): answer for one, answer in told if not answer.is_positive}
        if not sent.id:
            raise NotTaken(sent.reply, refused)
        return Taken(sent.id, refused)

    def call(self, protocol: Any, *, client: str = CLIENT, endpoint: str = "tcp:25") -> bool:
        """Connects a client's protocol to the relay, over the world's network; False when nobody listens there."""
        with self.lock:
            assert self.relay is not None
            return self.network.call_in(client, protocol, endpoint)

    @property
    def address(self) -> tuple[str, int]:
        """A real socket that leads to the relay's SMTP, for clients such as smtplib.

        Time passes while the relay owes such a client an answer, and no further.
        """
        with self.lock:
            assert self.relay is not None
            if self._bridge is None:
                self._bridge = Bridge(self, CLIENT)
            return self._bridge.address

    # -- time -----------------------------------------------------------------------------------

    def pass_time(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """So much time passes, with all that happens in it."""
        with self.lock:
            assert self.relay is not None
            self._until(self.clock.now + seconds + 60 * minutes + 3600 * hours + 86400 * days)

    def _until(self, at: float) -> None:
        while (next_at := self.clock.next_at()) is not None and next_at <= at:
            self.clock.step()
        self.clock.now = max(self.clock.now, at)

    def wait_until(self, condition: Callable[[], object], *, hours: float = 1) -> None:
        """Time passes until this is so.  Raises AssertionError when it is not so in that time."""
        with self.lock:
            assert self.relay is not None
            until = self.clock.now + hours * 3600
            while not condition():
                next_at = self.clock.next_at()
                assert next_at is not None and next_at <= until, f"not so within {hours:g} hours"
                self.clock.step()

    def wait_for(self, answer: Deferred[T]) -> T:
        """Time passes until this Deferred has its result, which is given, or raised."""
        results: list[T | Failure] = []
        answer.addBoth(results.append)
        self.wait_until(lambda: results, hours=PATIENCE_S / 3600)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    # -- what is seen ---------------------------------------------------------------------------

    @property
    def queue(self) -> list[QueueRow]:
        """What is in the queue: a row for each recipient that is not finished."""

        async def rows() -> list[QueueRow]:
            return [row async for row in self.relay.store.list()]

        with self.lock:
            return self.wait_for(ensureDeferred(rows()))

    def journey(self, message_id: str) -> list[Step]:
        """The steps of one message, in order."""
        return [step for step in self.log if step.fields.get("id") == message_id]

    @property
    def messages(self) -> list[Arrived]:
        """All that has arrived, at whichever host, in order of time."""
        return sorted((one for hop in self._hops for one in hop.messages), key=lambda one: one.at)

    @property
    def bounces(self) -> list[Arrived]:
        """The reports that have arrived: of failures, delays and successes; see ``Arrived.told``."""
        return [one for one in self.messages if one.is_report]
