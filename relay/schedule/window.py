"""How many attempts may go to one destination at once.

The window opens with success and closes with trouble of the destination.  When as much trouble has come
in a row as the window was wide, the destination rests; after the rest one attempt, the probe, goes
alone until it succeeds.  A single "too many connections" thus narrows the window, and only a host that
takes nothing at all is left in peace.  (After the concurrency feedback of Postfix's queue manager.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.schedule.retry import RetrySettings


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """initial, minimum, maximum: attempts at once to one destination; 1 or more.

    rest  the back-off of a destination as a whole; of it only first_s, factor, longest_s and spread count
    """

    initial: int = 5
    minimum: int = 1
    maximum: int = 20
    rest: RetrySettings = field(default_factory=RetrySettings)


class Window:
    """The window of one destination.

    size           attempts that may go on at once: 0 while it rests
    rests          rests in a row without a success; while it is not 0 and the rest is over, the
                   destination is *on probation*: one attempt at a time
    troubles       trouble of the destination in a row
    resting_until  seconds since the epoch; means something while size is 0
    is_wished      it rests because an operator wants it to: no success of what was begun before ends that
    """

    __slots__ = ("_spent", "is_wished", "resting_until", "rests", "settings", "size", "troubles")

    def __init__(self, settings: WindowSettings) -> None:
        self.settings = settings
        self.size = settings.initial
        self.rests = 0
        self.troubles = 0
        self.resting_until = 0.0
        self.is_wished = False
        self._spent = 0.0  # how much of a window's width has failed in a row; 1.0 is all of it

    @property
    def is_resting(self) -> bool:
        return self.size == 0

    @property
    def on_probation(self) -> bool:
        return self.rests > 0

    def succeeded(self, in_flight: int) -> None:
        """An attempt went well.

        in_flight  attempts going on, with this one: a window that is not used does not open (slow start,
                   twice as wide after each round)
        """
        self.answered()
        if in_flight >= self.size < self.settings.maximum and not self.is_wished:
            self.size += 1

    def answered(self) -> None:
        """The destination has spoken, if only to refuse: it is there."""
        if (self.troubles or self.rests) and not self.is_wished:
            self.troubles = self.rests = 0
            self._spent = 0.0
            self.size = self.size or self.settings.minimum

    def troubled(self, now: float, jitter: float, *, lasting: bool = False) -> bool:
        """The destination could not be reached or turned us away.  True: it begins to rest now.

        lasting  the next attempt would be turned away, too

        What fails while it rests was begun before and says nothing new: the rest is not drawn out.
        """
        if self.size == 0:
            return False
        self.troubles += 1
        self._spent += 1.0 / self.size
        if self._spent < 1.0 and not self.rests and not lasting:
            self.size = max(self.settings.minimum, self.size - 1)
            return False
        self.rests += 1
        self.rest(now + self.settings.rest.wait_s(self.rests, jitter))
        return True

    def rest(self, until: float, is_wished: bool = False) -> None:
        """Nothing more until then; in-flight attempts go on."""
        self.is_wished = self.is_wished or is_wished
        self.rests = max(self.rests, 1)
        self.resting_until = until
        self.size = 0

    def wake(self) -> None:
        """The rest is over: a probe may go."""
        self.is_wished = False
        if self.size == 0:
            self.size = 1

    def forgive(self) -> None:
        """As if nothing had ever happened: the way to it has changed, or an operator says so."""
        self.rests = self.troubles = 0
        self._spent = 0.0
        self.is_wished = False
        self.size = self.settings.initial

    def resettle(self, settings: WindowSettings) -> None:
        """Other settings hold from now on."""
        self.settings = settings
        if self.size:
            self.size = max(settings.minimum, min(self.size, settings.maximum))
