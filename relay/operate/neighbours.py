"""Asking the other shards of the same relay, from within it: for the rare questions that concern the whole queue.

The rule that must not be broken: a neighbour that does not answer keeps nobody waiting; its part is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.inquirer import Inquirer
from relay.operate.merging import Row
from relay.operate.shards import number_of, root_of, shards_in
from relay.queue.store import Counts, State

PATIENCE_S = 5.0


class Neighbours:
    """The other shards of the spool that this one belongs to."""

    def __init__(self, reactor: Any, folder: Path) -> None:
        self._root = root_of(folder)
        self._own = number_of(folder)
        self._inquirer = Inquirer(reactor, folder, PATIENCE_S)

    def are_there(self) -> bool:
        """Whether there is any other."""
        return len(shards_in(self._root)) > 1

    def ask(self, do: str, **fields: object) -> Deferred[list[Row]]:
        """The rows of all of them; does not fail."""
        others = [shard for shard in shards_in(self._root) if shard != self._own]
        asked = [Deferred.fromCoroutine(self._ask(shard, do, fields)) for shard in others]
        return gatherResults(asked).addCallback(_all)

    async def _ask(self, shard: int, do: str, fields: dict[str, object]) -> list[Row]:
        try:
            return await self._inquirer.ask_shard(shard, do, **fields)
        except (NotRunning, CannotAsk, Refusal):
            return []

    def changed(self, do: str, **fields: object) -> Deferred[int]:
        """How much a change changed there."""
        return self.ask(do, **fields).addCallback(lambda rows: sum(row["changed"] for row in rows))

    def counts(self, own: Counts) -> Deferred[Counts]:
        """The queue in numbers: our own, and theirs."""
        return self.ask("status").addCallback(lambda rows: summed(own, [row["queue"] for row in rows]))


def summed(own: Counts, others: Sequence[Row]) -> Counts:
    """One count of several; the others as the control socket tells them."""
    oldest = [at for at in (own.oldest_at, *(other["oldest_at"] for other in others)) if at is not None]
    return Counts(
        messages=own.messages + sum(other["messages"] for other in others),
        octets=own.octets + sum(other["octets"] for other in others),
        recipients={
            state: own.recipients.get(state, 0) + sum(other["recipients"][state.value] for other in others)
            for state in State
        },
        oldest_at=min(oldest, default=None),
        set_aside=own.set_aside + sum(other["set_aside"] for other in others),
    )


def _all(lists: list[list[Row]]) -> list[Row]:
    return [row for rows in lists for row in rows]
