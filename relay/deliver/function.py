"""A destination within the program: a function that takes mail in the place of a next hop.

It is tried again, bounded and reported as any destination is.  What it gives back decides:

    nothing             every recipient has got it
    outcomes            one for each recipient, in their order
    ``NotNow`` raised   for all of them: later
    ``Never`` raised    for all of them: the sender is told

The rule that must not be broken: a defect of the function never fails a recipient, and what it has not said in time is
in doubt, as with a host that does not answer (RFC 1047).
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.internet import defer, task
from twisted.internet.interfaces import IReactorTime

from relay.deliver.classify import NO_ANSWER, our_trouble, to_keep
from relay.deliver.letter import Open
from relay.message.account import Account, Tried
from relay.message.address import Address
from relay.message.envelope import Envelope, Message, Recipient
from relay.message.outcome import Deferred, Delivered, Failed, Outcome
from relay.message.reply import Reply, printable, reply
from relay.message.step import Tell

PATIENCE_S = 600.0
"""As long as a host may take to answer to the end of a message (RFC 5321 §4.5.3.2.6)."""

TAKEN = reply(250, "2.0.0", "Taken")
NOT_NOW = reply(451, "4.3.0", "Not now")
NEVER = reply(554, "5.0.0", "Refused")


class NotNow(Exception):
    """Raised by a function: it is to be tried again later.  Its text is what the queue shows."""


class Never(Exception):
    """Raised by a function: it never will take this.  Its text is what the sender is told."""


class Handed:
    """A message as a function gets it.  What it says can be read until the function has ended.

    id          of the queue
    recipients  those that the function is to take it for
    size        octets of the whole, with the header fields that the relay has put in front
    """

    def __init__(self, message: Message, recipients: Sequence[Recipient], open_content: Open) -> None:
        self.id = message.id
        self.envelope: Envelope = message.envelope
        self.recipients = tuple(recipients)
        self.accepted_at = message.accepted_at
        self.size = message.size
        self._message = message
        self._open = open_content

    @property
    def sender(self) -> Address | None:
        """The reverse-path; None is the null sender, whom nobody must answer."""
        return self.envelope.reverse_path

    async def pieces(self) -> AsyncIterator[bytes]:
        """The message, from its first header field on, in pieces: as little of it in memory as can be.

        Raises what the store raises; to let it pass is right, for it is tried again then.
        """
        message = self._message
        yield message.head
        if message.content is not None:
            yield message.content
            return
        content = self._open(message.id)
        try:
            while piece := await content.read():
                yield piece
        finally:
            content.close()

    async def whole(self) -> bytes:
        """The message in one.  Raises what ``pieces`` raises."""
        return b"".join([piece async for piece in self.pieces()])


Function = Callable[[Handed], Awaitable[Sequence[Outcome] | None]]
"""Takes a message.  See the module."""


class Functions:
    """The functions of this program, by name."""

    def __init__(self, clock: IReactorTime, functions: Mapping[str, Function], open_content: Open, tell: Tell) -> None:
        self._clock = clock
        self._functions = functions
        self._open = open_content
        self._tell = tell
        self._under_way: set[defer.Deferred[Any]] = set()

    def deliver(self, name: str, rule: str, message: Message, recipients: Sequence[Recipient]) -> defer.Deferred[Tried]:
        """Has the function of this name take it.

        rule  what has decided that

        Fires with one outcome for each recipient, in their order, and an account; never fails.
        """
        account = Account(self._clock.seconds(), rule)
        asked: defer.Deferred[list[Outcome]] = defer.Deferred()
        working = defer.Deferred.fromCoroutine(self._ask(name, message, recipients))
        self._under_way.add(working)
        late = self._clock.callLater(PATIENCE_S, self._too_late, working, asked, len(recipients))

        def ended(outcomes: list[Outcome]) -> None:
            self._under_way.discard(working)
            if late.active():
                late.cancel()
                asked.callback(outcomes)

        def accounted(outcomes: list[Outcome]) -> Tried:
            return Tried(outcomes, ((account, range(len(outcomes))),))

        working.addCallback(ended)
        return asked.addCallback(accounted)

    def stop(self) -> None:
        """What is under way is broken off."""
        for working in tuple(self._under_way):
            working.cancel()

    def _too_late(self, working: defer.Deferred[Any], asked: defer.Deferred[list[Outcome]], count: int) -> None:
        asked.callback([Deferred(NO_ANSWER.saying("the function has not answered in time"), in_doubt=True)] * count)
        working.cancel()

    async def _ask(self, name: str, message: Message, recipients: Sequence[Recipient]) -> list[Outcome]:
        lane = f"function:{name}"
        function = self._functions.get(name)
        if function is None:
            return [our_trouble(f"there is no {lane}")] * len(recipients)
        try:
            # Never within the very call that has put the message in the queue: what comes of that is told first.
            await task.deferLater(self._clock, 0)
            told = await function(Handed(message, recipients, self._open))
        except NotNow as why:
            return [Deferred(_saying(NOT_NOW, why))] * len(recipients)
        except Never as why:
            return [Failed(_saying(NEVER, why))] * len(recipients)
        except defer.CancelledError:
            return [Deferred(NO_ANSWER.saying("the function was broken off"), in_doubt=True)] * len(recipients)
        except Exception as defect:
            shown = "".join(traceback.format_exception(defect))
            self._tell("trouble", id=message.id, place=lane, error=repr(defect), traceback=shown)
            return [our_trouble(f"{lane} broke")] * len(recipients)
        if told is None:
            return [Delivered(TAKEN, "", final=True)] * len(recipients)
        if len(told) != len(recipients):
            self._tell("trouble", id=message.id, place=lane, error=f"{len(told)} outcomes for {len(recipients)}")
            return [our_trouble(f"{lane} gave too few or too many outcomes")] * len(recipients)
        return list(told)


def _saying(of: Reply, why: Exception) -> Reply:
    words = printable(str(why))
    return to_keep(of.saying(words)) if words else of
