"""Taking one message of the maildrop in: by a Visit, with the rules, replies and limits that any client meets.

What is refused for good is reported to the sender, as whoever brought it by SMTP would have had to; what is refused for
now waits where it is, and is tried again.

The rule that must not be broken: the file is removed only when all that it asks for is on disk, in the queue or as the
report to its sender.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from twisted.internet.interfaces import IReactorTime

from relay.message import reply as replies
from relay.message.address import Address
from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.outcome import Action, Final
from relay.message.reply import Reply
from relay.message.step import Tell
from relay.policy.access import Domains
from relay.policy.users import User
from relay.queue.store import StoreUnavailable
from relay.receive.factory import SmtpServerFactory
from relay.receive.maildrop.drop import NotADrop
from relay.receive.maildrop.looking import Busy, Gone, Left, Maildrop, Waiting, user_name
from relay.receive.maildrop.turns import Rests
from relay.receive.visit import Sent, Visit
from relay.receive.watched import InThread

READ_OCTETS = 256 * 1024

_NO_DOMAINS = Domains(())


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who left a message, as the kernel and the configuration have it.

    user     as policy sees it; its name stands in the log and in Received
    helo     its name alone, in one word
    address  where reports go when the sender that was claimed is not one of the user's; None: always to that
    """

    user: User
    helo: str
    address: Address | None = None

    def answers_for(self, envelope: Envelope) -> Envelope:
        """The envelope with the sender that a report goes to."""
        claimed = envelope.reverse_path
        if self.address is None or claimed is None or self.user.may_send_as(claimed, _NO_DOMAINS):
            return envelope
        return replace(envelope, reverse_path=self.address)


SubmitterOf = Callable[[int, str], Submitter]
"""Who a user is, by number and name; the name is empty when the system knows none."""

Beginning = Callable[[int], Awaitable[bytes]]
"""So many octets of a content, from its start."""

TellSender = Callable[[Message, Sequence[tuple[Recipient, Final]], Beginning], Awaitable[bool]]
"""Tells the sender what failed.  True when the report is on disk, or none was wished for; False when there is nobody to
tell.  Fails with StoreUnavailable."""


@dataclass(slots=True)
class Progress:
    """How far the recipients of a message are, by their places in the file.

    left     those who have not had it, and of whom no sender was told; None: all, however many there are
    again    of these, those for whom a transaction had no room: they are next
    later    not now, and what was said
    refused  never, and what was said
    """

    left: tuple[int, ...] | None
    again: tuple[int, ...] = ()
    later: list[tuple[int, Reply]] = field(default_factory=list)
    refused: list[tuple[int, Reply]] = field(default_factory=list)

    def takes(self, places: Sequence[int], sent: Sent) -> None:
        """Takes what was said to these recipients in one transaction."""
        told = [*sent.recipients, *[sent.reply] * (len(places) - len(sent.recipients))]
        again: list[int] = []
        for place, own in zip(places, told, strict=True):
            said = own if not own.is_positive or sent.id else sent.reply
            if said.is_permanent:
                self.refused.append((place, said))
            elif sent.id and said == replies.TOO_MANY_RECIPIENTS:
                again.append(place)
            elif not said.is_positive:
                self.later.append((place, said))
        self.again = tuple(again)
        self.left = tuple(sorted([*again, *(place for place, _ in (*self.later, *self.refused))]))


class Taking:
    """Takes messages in.

    submitter   who that is
    give_up_s   what could not be taken in for so long is reported as failed
    """

    def __init__(
        self,
        *,
        factory: SmtpServerFactory,
        clock: IReactorTime,
        tell: Tell,
        submitter: SubmitterOf,
        tell_sender: TellSender,
        give_up_s: float,
        in_thread: InThread,
        rests: Rests,
    ) -> None:
        self.submitter = submitter
        self.give_up_s = give_up_s
        self._factory = factory
        self._clock = clock
        self._tell = tell
        self._tell_sender = tell_sender
        self._in_thread = in_thread
        self._rests = rests

    async def take(self, maildrop: Maildrop, waiting: Waiting) -> None:
        """Takes it in, sets it aside, or leaves it for another time.  Fails with defects of ours only."""
        name, progress = waiting.name, Progress(self._rests.left_of(waiting.name))
        try:
            await self._take(maildrop, waiting, progress)
        except Gone:
            self._rests.end(name)
        except NotADrop as why:
            self._rests.end(name)
            await self._set_aside(maildrop, waiting, str(why))
        except (Busy, OSError, StoreUnavailable) as error:
            self._rest(maildrop, waiting, progress, str(error))
        except BaseException as error:  # a defect: or it would be tried again at once, and for ever
            self._rest(maildrop, waiting, progress, repr(error))
            raise

    def _rest(self, maildrop: Maildrop, waiting: Waiting, progress: Progress, why: str) -> None:
        """Leaves it for another time; that is told once."""
        if self._rests.begin(waiting, progress.left, self._clock.seconds()):
            error = f"it waits there and is tried again: {why}"
            self._tell("trouble", place=str(maildrop.path / waiting.name), login=f"uid {waiting.uid}", error=error)

    async def _take(self, maildrop: Maildrop, waiting: Waiting, progress: Progress) -> None:
        submitter = self.submitter(waiting.uid, await self._in_thread(lambda: user_name(waiting.uid)))
        left = await self._in_thread(lambda: maildrop.open(waiting))
        try:
            await self._bring(left, submitter, progress)
            if self._clock.seconds() > waiting.since + self.give_up_s:
                progress.refused += progress.later
                progress.later = []
            if progress.refused and not await self._report(waiting, left, submitter, progress.refused):
                raise NotADrop(f"it was refused, and there is no sender to be told: {progress.refused[0][1]}")
        finally:
            left.close()
        if progress.later:
            progress.left = tuple(place for place, _ in progress.later)
            self._rest(maildrop, waiting, progress, str(progress.later[0][1]))
            return
        progress.left = ()
        await self._in_thread(lambda: maildrop.remove(waiting))
        self._rests.end(waiting.name)

    async def _bring(self, left: Left, submitter: Submitter, progress: Progress) -> None:
        """Brings it to all recipients that have not had it; in several transactions if it must."""
        recipients = left.drop.recipients
        places: Sequence[int] = progress.left if progress.left is not None else range(len(recipients))
        while places:
            with Visit(self._factory, user=submitter.user, helo=submitter.helo) as visit:
                to = [recipients[place] for place in places]
                progress.takes(places, await visit.send(left.drop.envelope, to, self._pieces(left), left.size))
            places = progress.again

    async def _pieces(self, left: Left) -> AsyncIterator[bytes]:
        for offset in range(0, left.size, READ_OCTETS):
            yield await self._in_thread(partial(left.read, READ_OCTETS, offset))

    async def _report(
        self, waiting: Waiting, left: Left, submitter: Submitter, refused: Sequence[tuple[int, Reply]]
    ) -> bool:
        now = self._clock.seconds()
        origin = Origin(client_name="localhost", helo=submitter.helo, protocol="local", login=submitter.user.name)
        envelope = submitter.answers_for(left.drop.envelope)
        message = Message(waiting.name, envelope, origin, waiting.since, b"", None, left.size)
        finals = [(left.drop.recipients[place], _final(said, now)) for place, said in refused]
        return await self._tell_sender(message, finals, lambda octets: self._in_thread(partial(left.read, octets, 0)))

    async def _set_aside(self, maildrop: Maildrop, waiting: Waiting, why: str) -> None:
        try:
            done = await self._in_thread(lambda: maildrop.set_aside(waiting))
        except OSError as error:
            self._rests.begin(waiting, None, self._clock.seconds())
            done = f"it cannot be set aside: {error.strerror}"
        self._tell(
            "set_aside", place=str(maildrop.path / waiting.name), login=f"uid {waiting.uid}", error=f"{why}; {done}"
        )


def _final(said: Reply, at: float) -> Final:
    kind = str(said.code)[0]
    status = said.enhanced if said.enhanced.startswith(kind) else f"{kind}.0.0"
    return Final(Action.FAILED, status, str(said), "", at)
