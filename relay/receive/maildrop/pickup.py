"""When to look into the maildrop, and whose message is next.

Whoever watches the folder tells that something came; then there is one look, however much came.  A few messages are
taken in at once, of each user in turn.  Nothing here runs through the folder again and again: what rests is looked at
when its rest is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.message.step import Tell
from relay.receive.maildrop.looking import Maildrop, MaildropUnfit, Seen, Waiting
from relay.receive.maildrop.taking import Taking
from relay.receive.maildrop.turns import Rests, in_turn
from relay.receive.watched import InThread

AT_ONCE = 8
OF_EACH_USER, USERS = 50, 500
"""What one look brings at most: so many messages of each of so many users."""

LOOK_S = 1.0
"""How often is looked where nobody tells that something came ..."""
LOOK_WATCHED_S = 60.0
"""... and where somebody does: what is broken, resting or gone is not told."""
BREATH_S = 0.05
"""Between two looks, however often something comes: a user who moves files to and fro shall not keep us busy."""
SWEEP_S = 3600.0

Open = Callable[[], Maildrop]
"""Opens the folder; raises MaildropUnfit."""

Watch = Callable[[Callable[[], None]], "Callable[[], None] | None"]
"""Calls whenever something has come into the folder; gives what ends that, or None when nobody can tell."""

_log = Logger()


def nobody_watches(came: Callable[[], None]) -> None:
    """Where there is no inotify."""


class PickUp:
    """See the module.

    place  how the folder is called where trouble with it is told
    """

    def __init__(
        self,
        *,
        opened: Open,
        watch: Watch,
        taking: Taking,
        rests: Rests,
        clock: IReactorTime,
        tell: Tell,
        in_thread: InThread,
        place: str,
    ) -> None:
        self._opened = opened
        self._watch = watch
        self._taking = taking
        self._rests = rests
        self._clock = clock
        self._tell = tell
        self._in_thread = in_thread
        self._place = place
        self._maildrop: Maildrop | None = None
        self._unwatch: Callable[[], None] | None = None
        self._todo: deque[Waiting] = deque()
        self._in_hand: set[str] = set()
        self._is_more = False
        self._is_looking = False
        self._again = False
        self._call: IDelayedCall | None = None
        self._not_before = 0.0
        self._sweep_at = 0.0
        self._said = ""
        self._ended: Deferred[None] | None = None  # there from when we are told to stop

    def start(self) -> None:
        """Looks at once, and from then on."""
        self.look()

    def stop(self) -> Deferred[None]:
        """Fires when what was being taken in is at its end."""
        self._ended = ended = Deferred[None]()
        self._todo.clear()
        self._cancel()
        self._end_if_idle()
        return ended

    def look(self) -> None:
        """Something may have come."""
        if self._todo:
            self._is_more = True  # there is enough to do: the next look is when it is done
            return
        if self._is_looking:
            self._again = True
        elif 0 < (wait_s := self._not_before - self._clock.seconds()) <= BREATH_S:
            self._look_in(wait_s)
        elif self._ended is None:
            self._cancel()
            self._is_looking = True
            Deferred.fromCoroutine(self._look()).addErrback(self._broke).addCallback(self._looked)

    # -- one look --------------------------------------------------------------------------------

    async def _look(self) -> None:
        try:
            maildrop = await self._at_hand()
        except MaildropUnfit as why:
            self._say(str(why))
            return
        if self._unwatch is None:
            self._unwatch = self._watch(self.look)
        now = self._clock.seconds()
        skip = self._rests.resting(now) | self._in_hand
        seen = await self._in_thread(lambda: self._seen(maildrop, skip, now))
        if not seen.is_more:
            self._rests.only({*self._in_hand, *(one.name for one in seen.waiting)}, now)
        if seen.strange:
            # Whoever may leave mail may leave these too, under another name at every look.
            what = "things lie in the maildrop that relay sendmail did not leave, and are passed over"
            self._say(what, f": {seen.strange}")
        self._is_more = seen.is_more
        self._todo = deque(one for one in in_turn(seen.waiting) if self._rests.may_come(one))
        self._employ(maildrop)

    async def _at_hand(self) -> Maildrop:
        """The folder; opened again when another is in its place.  Raises MaildropUnfit."""
        maildrop = self._maildrop
        if maildrop is not None and not self._in_hand and not await self._in_thread(maildrop.is_still_there):
            self._let_go()
            maildrop = None
        if maildrop is None:
            maildrop = self._maildrop = await self._in_thread(self._opened)
        return maildrop

    def _seen(self, maildrop: Maildrop, skip: frozenset[str], now: float) -> Seen:
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            maildrop.sweep(now)
        return maildrop.look(OF_EACH_USER, USERS, skip)

    def _say(self, trouble: str, more: str = "") -> None:
        """Says it once, and not with each look.

        more  what is said with it, and makes it nothing new
        """
        if trouble != self._said:
            self._said = trouble
            self._tell("trouble", place=self._place, error=trouble + more)

    def _broke(self, failure: Failure) -> None:
        if failure.check(OSError):
            self._say(failure.getErrorMessage())
        else:
            _log.failure("looking into the maildrop", failure)

    def _looked(self, _: None) -> None:
        self._is_looking = False
        self._not_before = self._clock.seconds() + BREATH_S
        if self._ended is not None:
            self._end_if_idle()
        elif self._again:
            self._again = False
            self._look_in(BREATH_S)
        else:
            self._look_later()

    def _look_later(self) -> None:
        now = self._clock.seconds()
        wait_s = LOOK_S if self._unwatch is None else LOOK_WATCHED_S
        rest_over_at = self._rests.next_at(now)
        if rest_over_at is not None:
            wait_s = min(wait_s, max(LOOK_S, rest_over_at - now))
        self._look_in(wait_s)

    def _look_in(self, wait_s: float) -> None:
        self._cancel()
        if self._ended is None:
            self._call = self._clock.callLater(wait_s, self.look)

    # -- taking in -------------------------------------------------------------------------------

    def _employ(self, maildrop: Maildrop) -> None:
        now = self._clock.seconds()
        while self._todo and len(self._in_hand) < AT_ONCE and self._ended is None:
            waiting = self._todo.popleft()
            # What was found may have been taken in, or begun to rest, since.
            if waiting.name not in self._in_hand and not self._rests.is_resting(waiting.name, now):
                self._in_hand.add(waiting.name)
                taken = Deferred.fromCoroutine(self._taking.take(maildrop, waiting))
                taken.addErrback(lambda failure: _log.failure("taking a message in", failure))
                taken.addCallback(self._taken, maildrop, waiting)

    def _taken(self, _: None, maildrop: Maildrop, waiting: Waiting) -> None:
        self._in_hand.discard(waiting.name)
        self._employ(maildrop)
        if not self._todo and self._is_more:
            self._is_more = False
            self.look()
        elif self._call is not None and self._rests.is_resting(waiting.name, self._clock.seconds()):
            self._look_later()
        if self._ended is not None:
            self._end_if_idle()

    # -- the end ---------------------------------------------------------------------------------

    def _end_if_idle(self) -> None:
        if self._ended is not None and not self._ended.called and not self._in_hand and not self._is_looking:
            self._let_go()
            self._ended.callback(None)

    def _let_go(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        if self._maildrop is not None:
            self._maildrop.close()
            self._maildrop = None

    def _cancel(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
