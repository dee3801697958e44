"""Whether it is worth a moment's wait: what comes soon can go along in the same transaction.

A transaction costs as much of the processor as half a message does, whatever is in it.  While the disk is at work
all that comes gathers by itself; but a disk is quicker than twenty clients, and one batch after the other would leave
half full.  So while several jobs come together anyway, each batch waits a millisecond for company, and another one if
few have come by then: the processor was busy with somebody else's work.  Where batches are smaller still, one or two
clients wait for their replies: nobody else would come, and the wait would only make them slower.
"""

from __future__ import annotations

from collections import deque
from typing import Final

WAIT_S: Final = 0.001
BEGIN_JOBS: Final = 3
END_JOBS: Final = 5
"""Between them lies what the wait itself adds.  (Measured: four clients make batches of 2.7 jobs, which are mail and
results, and of 7.9 when they have to wait; twenty make batches of 5.5, and of 13.4; twenty that share two workers and
two processors, of 3.1 in each.)"""
ENOUGH_JOBS: Final = 7
"""So many wait no longer."""

REMEMBERED: Final = 8


class Company:
    """How large the last batches were.

    is_near  the next one is to wait
    """

    def __init__(self) -> None:
        self._sizes: deque[int] = deque(maxlen=REMEMBERED)
        self.is_near = False

    def left(self, jobs: int) -> None:
        """A batch of so many has left."""
        sizes = self._sizes
        sizes.append(jobs)
        if len(sizes) < REMEMBERED:
            return
        is_near = sum(sizes) >= REMEMBERED * (END_JOBS if self.is_near else BEGIN_JOBS)
        if is_near is not self.is_near:
            self.is_near = is_near
            sizes.clear()  # they tell nothing of what will be from now on
