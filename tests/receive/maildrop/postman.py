"""A pick-up with a store in memory, on a folder of this machine, that can die at any of its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

from relay.message.address import Address
from relay.message.envelope import Message, Recipient
from relay.message.outcome import Final
from relay.policy.policy import PolicySettings, Service
from relay.policy.users import User
from relay.receive.maildrop.looking import Maildrop, Waiting
from relay.receive.maildrop.pickup import BREATH_S, PickUp
from relay.receive.maildrop.taking import Beginning, Submitter, Taking
from relay.receive.maildrop.turns import Rests
from tests.receive.visit import OURS, House

T = TypeVar("T")

GIVE_UP_S = 5 * 86400.0


class Died(BaseException):
    """The process is gone; nothing that it began goes on."""


class Fate:
    """Counts steps, and ends the process in the midst of one.

    at     the step, or None
    after  it has been done by then
    """

    def __init__(self, at: int | None = None, after: bool = False) -> None:
        self.steps = 0
        self.is_dead = False
        self._at = at
        self._after = after

    def step(self, do: Callable[[], T]) -> T:
        if self.is_dead:
            raise Died
        self.steps += 1
        if self.steps != self._at:
            return do()
        self.is_dead = True
        if self._after:
            do()
        raise Died


class MortalMaildrop(Maildrop):
    """Every operation on the folder is a step."""

    def __init__(self, path: Path, fate: Fate) -> None:
        super().__init__(path)
        self._fate = fate

    def open(self, waiting: Waiting) -> Any:
        return self._fate.step(lambda: super(MortalMaildrop, self).open(waiting))

    def remove(self, waiting: Waiting) -> None:
        self._fate.step(lambda: super(MortalMaildrop, self).remove(waiting))

    def set_aside(self, waiting: Waiting) -> str:
        return self._fate.step(lambda: super(MortalMaildrop, self).set_aside(waiting))


class Postman:
    """One life of the relay, as far as the maildrop is concerned.

    house     with the queue, which outlives it if it is given to the next
    reported  what senders were told: (sender, recipients, the content given back)
    watched   calls when something comes
    """

    def __init__(
        self,
        folder: Path,
        policy: PolicySettings = OURS,
        submitter: Callable[[int, str], Submitter] | None = None,
        fate: Fate | None = None,
        house: House | None = None,
        watches: bool = True,
        **settings: object,
    ) -> None:
        self.house = house or House(policy, Service.LOCAL, **settings)
        self.fate = fate or Fate()
        self.reported: list[tuple[str, list[str], bytes]] = []
        self.trouble: Exception | None = None
        self.watched: list[Callable[[], None]] = []
        self._watches = watches
        rests = Rests()
        common: dict[str, Any] = {"clock": self.house.clock, "tell": self.house.tell, "in_thread": self._in_thread}
        self.taking = Taking(
            factory=self.house.factory,
            submitter=submitter or anybody,
            tell_sender=self._tell_sender,
            give_up_s=GIVE_UP_S,
            rests=rests,
            **common,
        )
        self.pick_up = PickUp(
            opened=lambda: MortalMaildrop(folder, self.fate),
            watch=self._watch,
            taking=self.taking,
            rests=rests,
            place="sendmail.maildrop",
            **common,
        )

    def _in_thread(self, work: Callable[[], T], /) -> Deferred[T]:
        return maybeDeferred(work)

    def _watch(self, came: Callable[[], None]) -> Callable[[], None] | None:
        if not self._watches:
            return None
        self.watched.append(came)
        return self.watched.clear

    async def _tell_sender(
        self, message: Message, finals: Sequence[tuple[Recipient, Final]], beginning: Beginning
    ) -> bool:
        if self.trouble is not None:
            raise self.trouble
        content = await beginning(1000)
        if message.envelope.reverse_path is None:
            return False
        told = [f"{recipient.address} {final.reply}" for recipient, final in finals]
        self.fate.step(lambda: self.reported.append((str(message.envelope.reverse_path), told, content)))
        return True

    def come(self) -> None:
        """Something has come."""
        for told in list(self.watched):
            told()
        self.house.clock.advance(BREATH_S)

    @property
    def queued(self) -> list[str]:
        """Recipients in the queue, one for each time that they are in it."""
        return [str(row.recipient.address) for stored in self.house.stored for row in stored.recipients.values()]


def anybody(uid: int, name: str) -> Submitter:
    return Submitter(User(f"uid {uid} ({name})", senders=("*",)), name or f"uid-{uid}")


def ann_only(uid: int, name: str) -> Submitter:
    ann = Address("ann", "ours.example")
    return Submitter(User(f"uid {uid} ({name})", senders=(str(ann),)), name, ann)
