"""A runner with everything around it made of memory: clock, store, deliverer, reporter.

house = House()
house.answers["dead.example"] = DEAD          what attempts at a lane (or of an address) get
house.send("bob@dead.example")
house.pass_time(5 * DAY)                      in steps of a minute, as a real clock would be seen to go
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from twisted.internet.defer import Deferred as Later
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from relay.message.account import Account, Tried
from relay.message.address import Address, parse_mailbox
from relay.message.envelope import Composed, Envelope, Message, Notify, Origin, Recipient, Ret
from relay.message.notify import is_undeliverable_report, wants
from relay.message.outcome import Action, Deferred, Delivered, Failed, Final, Outcome
from relay.message.reply import reply
from relay.message.tail import Said
from relay.queue.store import QueuedRecipient, State, StoreUnavailable
from relay.schedule.runner import Runner
from relay.schedule.settings import ScheduleSettings
from relay.schedule.window import WindowSettings
from tests.fakes.memory_store import MemoryStore

MINUTE, HOUR, DAY = 60, 3600, 86400
START = 1_700_000_000.0

HOP = "mx.example [192.0.2.1]"
DELIVERED = Delivered(reply(250, "2.0.0", "OK"), HOP)
DEAD = Deferred(reply(451, "4.4.1", "Connection refused"), HOP, whole_destination=True)
BUSY = Deferred(reply(450, "4.2.1", "Mailbox busy"), HOP)
UNKNOWN = Failed(reply(550, "5.1.1", "No such user"), HOP)

BROKEN_DISK = StoreUnavailable("Input/output error")

Finals = Sequence[tuple[Recipient, Final]]
Answer = Outcome | Callable[[Message, Recipient], Outcome]


class Hang:
    """No answer comes until ``House.answer``."""


HANG = Hang()


@dataclass
class Seen:
    """One attempt, as the deliverer saw it."""

    at: float
    message: Message
    lane: str
    to: list[str]
    ending: Later[Tried]
    recipients: Sequence[Recipient]


class FakeDeliverer:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.answers: dict[str, Answer | Hang | Exception] = {}
        self.tried: list[Seen] = []
        self.hanging: list[Seen] = []
        self.most_at_once: dict[str, int] = {}

    def deliver(self, message: Message, recipients: Sequence[Recipient], lane: str) -> Later[Tried]:
        to = [str(one.address) for one in recipients]
        tried = Seen(self._clock.seconds(), message, lane, to, Later(), recipients)
        self.tried.append(tried)
        answers = [self.answers.get(str(one.address), self.answers.get(lane, DELIVERED)) for one in recipients]
        outcomes: list[Outcome] = []
        for recipient, answer in zip(recipients, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, Hang):
                self.hanging.append(tried)
                at_once = sum(one.lane == lane for one in self.hanging)
                self.most_at_once[lane] = max(at_once, self.most_at_once.get(lane, 0))
                return tried.ending
            outcomes.append(answer(message, recipient) if callable(answer) else answer)
        return succeed(self.ended(recipients, outcomes))

    def ended(self, recipients: Sequence[Recipient], outcomes: Sequence[Outcome]) -> Tried:
        """With one account for all, in which each was named and heard his reply."""
        account = Account(self._clock.seconds(), "the rule")
        now = self._clock.seconds()
        for recipient, outcome in zip(recipients, outcomes, strict=False):
            command = f"RCPT TO:<{recipient.address}>\r\n".encode()
            account.add(HOP, "", [(now, command), (now, getattr(outcome, "reply", "no answer"))])
        return Tried(outcomes, ((account, range(len(outcomes))),))


@dataclass
class FakeReporter:
    """Remembers what it was asked to tell.  ``broken`` makes it raise."""

    told: list[tuple[Message, Finals, bytes | None]] = field(default_factory=list)
    said: list[list[str]] = field(default_factory=list)
    double_bounce: Literal["hold", "discard"] = "hold"
    broken: bool = False

    def content_wanted(self, message: Message, finals: Finals) -> int:
        return 100_000

    def compose(
        self,
        message: Message,
        finals: Finals,
        content: bytes | None,
        now: float,
        retry_until: float | None = None,
        said: Sequence[Said] = (),
    ) -> Composed | None:
        if self.broken:
            raise RuntimeError("a defect")
        sender = message.envelope.reverse_path
        told = [one for one in finals if wants(one[0], message.envelope, one[1].action)]
        if sender is None or not told:
            return None
        self.told.append((message, told, content))
        self.said.append([line for one in said for line in one.lines])
        return Composed(Envelope(None), (Recipient(sender, Notify.NEVER),), b"Subject: report\r\n\r\n")

    def undeliverable(
        self, message: Message, finals: Finals, content: bytes | None, now: float, said: Sequence[Said] = ()
    ) -> Composed | Literal["hold", "discard"]:
        assert all(is_undeliverable_report(message.envelope, final.action) for _, final in finals)
        return self.double_bounce

    def actions(self) -> list[list[tuple[str, Action]]]:
        """For each report: recipient and action."""
        return [[(str(one.address), final.action) for one, final in finals] for _, finals, _ in self.told]


def lane_of(sender: Address | None, recipient: Address) -> str:
    return recipient.domain


def settings(initial: int = 5, maximum: int = 20, in_flight: int = 200, active: int = 4000) -> ScheduleSettings:
    window = WindowSettings(initial=initial, maximum=maximum)
    return ScheduleSettings(window=window, in_flight=in_flight, active_recipients=active)


SMALL = ScheduleSettings(active_recipients=40, per_lease=10)


def times_tried(house: House) -> Counter[str]:
    return Counter(address for one in house.tried for address in one.to)


class House:
    def __init__(self, settings: ScheduleSettings = ScheduleSettings(), seed: int = 1) -> None:  # noqa: B008 - frozen
        self.clock = Clock()
        self.clock.advance(START)
        self.settings = settings
        self.random = Random(seed)
        self.steps: list[tuple[str, dict[str, object]]] = []
        self.store = MemoryStore(self.clock)
        self.deliverer = FakeDeliverer(self.clock)
        self.answers = self.deliverer.answers
        self.reporter = FakeReporter()
        self.runner = self.start()

    def start(self) -> Runner:
        """A new runner on the same store, as after a restart or a crash."""
        self.runner = Runner(
            store=self.store,
            clock=self.clock,
            random=self.random,
            deliverer=self.deliverer,
            lane_of=lane_of,
            reporter=self.reporter,
            settings=self.settings,
            tell=self.tell,
        )
        self.runner.start()
        self.clock.advance(0)
        return self.runner

    def crash(self) -> None:
        """The process dies: its timers with it, and what it waited for never comes."""
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        self.deliverer.hanging.clear()

    def tell(self, step: str, /, **fields: object) -> None:
        self.steps.append((step, fields))

    def told(self, step: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.steps if name == step]

    def send(
        self,
        *to: str,
        sender: str | None = "ann@client.example",
        notify: Notify | None = None,
        content: bytes = b"Subject: hello\r\n\r\nHello.\r\n",
        ret: Ret | None = None,
        expanded: Sequence[Recipient] = (),
    ) -> Later[Message]:
        draft = self.store.begin()
        draft.write(content)
        envelope = Envelope(parse_mailbox(sender) if sender else None, ret=ret)
        recipients = [Recipient(parse_mailbox(one), notify) for one in to]
        fired = self.runner.enqueue(draft, envelope, Origin(), b"Received: here\r\n", recipients, expanded)
        fired.addErrback(lambda _: None)
        return fired

    def pass_time(self, seconds: float, step: float = MINUTE) -> None:
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            self.clock.advance(min(step, until - self.clock.seconds()))
            self.clock.advance(0)

    def answer(self, outcome: Outcome, how_many: int | None = None, lane: str | None = None) -> None:
        """Ends hanging attempts, the oldest first, all of them by default."""
        ending = [one for one in self.deliverer.hanging if lane in (None, one.lane)][:how_many]
        for one in ending:
            self.deliverer.hanging.remove(one)
            one.ending.callback(self.deliverer.ended(one.recipients, [outcome] * len(one.recipients)))
        self.clock.advance(0)

    @property
    def tried(self) -> list[Seen]:
        return self.deliverer.tried

    def tries_of(self, address: str) -> list[float]:
        """When it was tried, in seconds after the start."""
        return [one.at - START for one in self.tried if address in one.to]

    def rows(self, state: State | None = None) -> list[QueuedRecipient]:
        return [
            row
            for stored in self.store.messages.values()
            for row in stored.recipients.values()
            if state in (None, row.state)
        ]
