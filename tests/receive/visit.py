"""A listener with a store in memory, and clients that visit it over a wire in memory."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from relay.message.address import Address
from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.journey import Entry
from relay.policy.attempts import AttemptLimits
from relay.policy.policy import Policy, PolicySettings, Service
from relay.queue.store import Draft, NewRecipient
from relay.receive.factory import SmtpServerFactory
from relay.receive.logins import Logins, Source
from relay.receive.scribe import Scribe
from relay.receive.settings import Entrance, ReceiveSettings
from relay.receive.tls import ServerTls
from tests.fakes.memory_store import MemoryStore, Stored
from tests.fakes.wire import Wire

HOSTNAME = "relay.example"
START = 1_700_000_000.0
STRANGER = "203.0.113.9"
LIMITS = AttemptLimits(failures=3, forget_s=60)
OURS = PolicySettings(HOSTNAME, domains=("ours.example",), postmaster=Address("admin", "ours.example"))


class House:
    """A listener and what it was told to.

    told      (step, fields) of every step
    expanded  recipients for whom an "expanded" report is owed
    flushed   what ETRN asked for; waiting is what it answers
    """

    def __init__(
        self,
        policy: PolicySettings | Policy = OURS,
        service: Service = Service.RELAY,
        entrance: Entrance | None = None,
        source: Source | None = None,
        tls: ServerTls | None = None,
        allowed: Sequence[str] = (),
        **settings: object,
    ) -> None:
        """source   who knows the users; without it nobody can log in
        allowed  the mechanisms by which they may
        """
        self.clock = Clock()
        self.clock.advance(START)
        self.store = MemoryStore(self.clock)
        self.told: list[tuple[str, dict[str, object]]] = []
        self.expanded: list[Recipient] = []
        self.flushed: list[tuple[str, bool]] = []
        self.waiting: Deferred[int | None] | int | None = 0
        self.names: dict[str, str] = {}
        self.room = 10**12
        self.policy = policy if isinstance(policy, Policy) else Policy(policy)
        self.factory = SmtpServerFactory(
            clock=self.clock,
            settings=ReceiveSettings(HOSTNAME, **settings),
            policy=self.policy,
            store=self.store,
            enqueue=self.enqueue,
            flush=self.flush,
            service=service,
            tell=self.tell,
            reverse_name=self.names.get,
            has_room=lambda octets: octets <= self.room,
            entrance=entrance,
            tls=tls,
            scribe=Scribe(self.store, self.clock, self.tell),
            logins=Logins([source], self.clock, self.tell, lambda: "nonce", LIMITS, allowed) if source else None,
        )

    def tell(self, step: str, /, **fields: object) -> None:
        self.told.append((step, fields))

    def steps(self, *steps: str) -> list[dict[str, object]]:
        return [fields for step, fields in self.told if step in steps]

    def enqueue(
        self,
        draft: Draft,
        envelope: Envelope,
        origin: Origin,
        head: bytes,
        recipients: Sequence[Recipient],
        expanded: Sequence[Recipient] = (),
        entries: Sequence[Entry] = (),
    ) -> Deferred[Message]:
        self.expanded += expanded
        new = [NewRecipient(recipient, "lane", self.clock.seconds()) for recipient in recipients]
        return draft.commit(envelope, origin, head, new, self.clock.seconds(), entries)

    def flush(self, domain: str, subdomains: bool) -> Deferred[int | None]:
        self.flushed.append((domain, subdomains))
        return self.waiting if isinstance(self.waiting, Deferred) else succeed(self.waiting)

    @property
    def stored(self) -> list[Stored]:
        return list(self.store.messages.values())

    @property
    def only(self) -> Stored:
        (stored,) = self.stored
        return stored

    @property
    def recipients(self) -> list[Recipient]:
        return [queued.recipient for queued in self.only.recipients.values()]

    def visit(self, ip: str = "127.0.0.1", hello: str | None = "EHLO client.example") -> Visit:
        visit = Visit(self, ip)
        if hello is not None:
            visit.heard()
            visit.says(hello)
        return visit


class Visit:
    """One client's connection.  An empty ip comes by a unix socket."""

    def __init__(self, house: House, ip: str) -> None:
        kind = IPv6Address if ":" in ip else IPv4Address
        self.wire = Wire(kind("TCP", ip, 40000) if ip else UNIXAddress(None))
        self.protocol = house.factory.buildProtocol(None)
        self.protocol.makeConnection(self.wire)

    def sends(self, data: bytes, cut: int = 0) -> None:
        """Octets as they are, cut into reads."""
        for start in range(0, len(data), cut or len(data) or 1):
            self.protocol.dataReceived(data[start : start + (cut or len(data))])

    def says(self, *lines: str) -> list[str]:
        """Command lines, pipelined; gives what was answered."""
        self.sends("".join(line + "\r\n" for line in lines).encode())
        return self.heard()

    def heard(self) -> list[str]:
        """The reply lines since the last look."""
        return self.wire.taken().decode().split("\r\n")[:-1]

    def mails(self, content: str = "Subject: x\r\n\r\nbody\r\n", *to: str, sender: str = "ann@client.example") -> str:
        """A whole message; gives the last reply."""
        commands = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{one}>" for one in to or ("bob@ours.example",)), "DATA"]
        self.says(*commands)
        self.sends((content + ".\r\n").encode())
        return (self.heard() or [""])[-1]

    def leaves(self) -> None:
        self.protocol.connectionLost()

    @property
    def is_closed(self) -> bool:
        return self.wire.disconnecting
