"""relay as a part of another Twisted program::

    relay = Relay({"spool": "spool", "routes": [{"to": "*", "via": "smtp://smtp.provider.example:587"}]})
    relay.setServiceParent(application)
    ...
    taken = await relay.submit("me@example.org", ["ann@example.net"], message)
    taken.id                                # on disk, and in the queue until Ann has it, or the sender was told

It is the whole relay: the same queue, rules and promises, and ``relay queue``, ``relay explain`` and the other commands
work with it by its spool.  docs/embedding.md tells how to hear of outcomes, to decide by rules of one's own, and to
have mail handed to a function.

The rule that must not be broken: what ``submit`` has given an id for is on disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel

from relay.deliver.function import Function, Handed, Never, NotNow
from relay.message.address import Address, AddressFault, parse_mailbox
from relay.message.envelope import Body, Envelope, Notify, Recipient
from relay.message.outcome import Deferred as Later
from relay.message.outcome import Delivered, Failed, Outcome
from relay.message.reply import Reply, reply
from relay.message.step import Tell
from relay.operate.config import Config, ConfigFaults, configured, load
from relay.operate.logfile import Lines, LogFile
from relay.operate.places import Fault, Place
from relay.operate.service import CannotStart, RelayService
from relay.operate.settings.receiving import Listen
from relay.operate.steps import StepLog
from relay.operate.surroundings import Surroundings, real_surroundings
from relay.policy.client import Client
from relay.policy.policy import Policy, Service
from relay.policy.verdict import Accepted, Refused, Verdict
from relay.receive.factory import SmtpServerFactory
from relay.receive.visit import Visit

__all__ = [
    "Accepted",
    "Address",
    "CannotStart",
    "Client",
    "ConfigFaults",
    "Delivered",
    "Failed",
    "Function",
    "Handed",
    "Later",
    "Never",
    "NotNow",
    "NotTaken",
    "Notify",
    "Outcome",
    "Policy",
    "Refused",
    "Relay",
    "Reply",
    "Service",
    "Taken",
    "Verdict",
    "reply",
]

Message = EmailMessage | bytes | Iterable[bytes] | AsyncIterable[bytes]
"""A whole message: as Python's email package has it, or octets whose lines end with CRLF, at once or in pieces."""

_NOT_OURS = {
    "user": "the program that relay is part of decides who it is",
    "group": "the program that relay is part of decides who it is",
    "workers": "a program that relay is part of is one process; run relay by itself for several",
}
_WITHIN = Listen.model_construct(endpoint="within the program", service="submission", tls="none", login="none")


class NotTaken(Exception):
    """A message is not in the queue.

    reply         why; ``is_temporary``: the same may be taken later
    refused       address -> the reply to it, of those that were named by then
    """

    def __init__(self, why: Reply, refused: Mapping[str, Reply]) -> None:
        super().__init__(str(why))
        self.reply = why
        self.refused = refused

    @property
    def is_temporary(self) -> bool:
        return self.reply.is_temporary


@dataclass(frozen=True, slots=True)
class Taken:
    """A message is in the queue, and on disk.

    id       its name in the queue, in logs, for ``relay trace`` and for who follows the steps
    refused  address -> the reply, of recipients that will not get it
    """

    id: str
    refused: Mapping[str, Reply]


class Relay(RelayService):
    """A relay as a Twisted service: ``setServiceParent``, or ``startService`` and ``stopService``.

    Nothing is opened to the outside but what the configuration names under ``listen`` and ``admin``.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | str | Path,
        *,
        functions: Mapping[str, Function] | None = None,
        policy: type[Policy] = Policy,
        reactor: Any = None,
        surroundings: Callable[[Any, Config], Surroundings] = real_surroundings,
    ) -> None:
        """config        what relay.yaml would say, as a mapping; or the path of such a file
        functions     take the mail of routes ``via: function:NAME``
        policy        decides who may send what where: a class derived from Policy
        reactor       by default the program's
        surroundings  what it stands on; relay.testing gives others

        Raises ConfigFaults with everything that is wrong with the configuration.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._given = config
        self._names = frozenset(functions or ())
        self._inner: SmtpServerFactory | None = None
        loaded = self._read()
        around = replace(surroundings(reactor, loaded), notify=_tell_no_manager)
        log = _Log(reactor, loaded)
        super().__init__(loaded, around, log, self._read, policy=policy, functions=functions)
        self._log = log
        self.name = "relay"

    # -- what a program does with it -----------------------------------------------------------

    async def submit(
        self,
        sender: str,
        recipients: Iterable[str],
        message: Message,
        *,
        client: str = "",
        notify: Notify | None = None,
    ) -> Taken:
        """Puts a message in the queue, by the rules for submission (RFC 6409): a missing Date or Message-ID is added.

        sender      the reverse-path; empty for the null sender, who is told of no failure
        recipients  addresses; one at least
        client      the IP address on whose behalf; the rules for it hold then.  Empty: the program's own, who may
                    send to anywhere
        notify      of which outcomes the sender wants a report; by default of failure and delay (RFC 3461 §4.1)

        Gives what was taken.  Raises NotTaken, also while the relay does not run; ValueError for what is no address.
        """
        envelope, to, pieces, size = prepared(sender, recipients, message, notify)
        factory = self._inner
        if factory is None:
            raise NotTaken(reply(421, "4.3.2", "The relay does not run"), {})
        with Visit(factory, client) as visit:
            sent = await visit.send(envelope, to, pieces, size)
        told = zip(to, sent.recipients, strict=False)
        refused = {str(one.address): answer for one, answer in told if not answer.is_positive}
        if not sent.id:
            raise NotTaken(sent.reply, refused)
        return Taken(sent.id, refused)

    def follow(self, tell: Tell) -> Callable[[], None]:
        """From now on ``tell(step, **fields)`` is called for each step of each message; see relay.message.step.

        It must be quick.  What it raises is logged.  Gives a function that ends it.
        """
        return self._log.follow(tell)

    def use(self, config: Mapping[str, Any] | str | Path) -> None:
        """Takes another configuration, as a reload does: no session is dropped, and what only a restart can change
        stays as it is.  Raises ConfigFaults, and then nothing has changed.
        """
        before, self._given = self._given, config
        try:
            self._read()
        except ConfigFaults:
            self._given = before
            raise
        self.reload()

    # -- how it is a service -------------------------------------------------------------------

    def startService(self) -> None:
        """Begins to work.  Raises CannotStart."""
        super().startService()
        self._inner = self.inward.listener(_WITHIN)

    def stopService(self) -> Deferred[None]:
        """Fires when all is at rest and on disk.  It cannot be started again: make another."""
        return super().stopService()

    def _read(self) -> Config:
        given = self._given
        if isinstance(given, Mapping):
            config = configured(given, functions=self._names)
            if "listen" not in given:
                config = config.model_copy(update={"listen": ()})
            if "admin" not in given:
                config = config.model_copy(update={"admin": None})
        else:
            config = load(given, functions=self._names)
        usual = Config()
        faults = [
            Fault(Place(config.place(key)), key, f"{why}; remove this line")
            for key, why in _NOT_OURS.items()
            if getattr(config, key) != getattr(usual, key)
        ]
        if faults:
            raise ConfigFaults(faults)
        return config


class _Log(StepLog):
    """Steps go into Twisted's log, or the file that the configuration names, and to who follows them."""

    def __init__(self, reactor: Any, config: Config) -> None:
        lines: Lines = LogFile(reactor, config.log.file) if config.log.file is not None else _TwistedLog()
        super().__init__(reactor, lines, config.log.format, config.log.level)
        self._followers: list[Tell] = []

    def follow(self, tell: Tell) -> Callable[[], None]:
        follower = partial(tell)  # of its own, so that the same may follow twice
        self._followers.append(follower)

        def leave() -> None:
            if follower in self._followers:
                self._followers.remove(follower)

        return leave

    def __call__(self, step: str, /, **fields: object) -> None:
        super().__call__(step, **fields)
        for follower in tuple(self._followers):
            try:
                follower(step, **fields)
            except Exception:
                _log.failure("a follower broke at the step {step}", step=step)


class _TwistedLog:
    """Lines into Twisted's own log, which puts the time in front."""

    lost: Callable[[int], str] = str  # it loses none

    def write(self, line: str, at_once: bool = False) -> None:
        _log.emit(LogLevel.error if at_once else LogLevel.info, "{line}", line=line.partition(" ")[2])

    def reopen(self) -> None:
        """Whose log it is sees to that."""

    def close(self) -> None:
        """Likewise."""


_log = Logger("relay")


def _tell_no_manager(*states: str) -> None:
    """How the program is, is not for its relay to say."""


def prepared(
    sender: str, recipients: Iterable[str], message: Message, notify: Notify | None
) -> tuple[Envelope, list[Recipient], Iterable[bytes] | AsyncIterable[bytes], int | None]:
    """The envelope, the recipients, the content and its size where that is known.  Raises ValueError."""
    if isinstance(recipients, str):
        raise ValueError("recipients are a list of addresses, also when there is only one")
    to = [Recipient(_address(one), notify) for one in recipients]
    if not to:
        raise ValueError("a message without recipients")
    reverse_path = _address(sender) if sender else None
    addresses = [one.address for one in to] + ([reverse_path] if reverse_path is not None else [])
    is_international = not all(one.is_ascii for one in addresses)
    if isinstance(message, EmailMessage):
        message = _octets(message, is_international)
    if isinstance(message, bytes):
        body = Body.SEVENBIT if message.isascii() else Body.EIGHTBIT
        return Envelope(reverse_path, body, is_international), to, [message], len(message)
    return Envelope(reverse_path, Body.EIGHTBIT, is_international), to, message, None


def _octets(message: EmailMessage, is_international: bool) -> bytes:
    message = copy(message)
    for secret in ("Bcc", "Resent-Bcc"):  # what it says is for the envelope, and for nobody else to read
        del message[secret]
    return message.as_bytes(policy=SMTPUTF8 if is_international else SMTP)


def _address(text: str) -> Address:
    try:
        return parse_mailbox(text)
    except AddressFault as fault:
        raise ValueError(f"{text!r} is not an address: {fault}") from None
