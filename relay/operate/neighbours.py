"""Asking the other shards of the same relay, from within it: for the rare questions that concern the whole queue.

The rule that must not be broken: a neighbour that does not answer keeps nobody waiting; its part is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from relay.operate.asking import socket_path
from relay.operate.shards import folder_of, number_of, root_of, shards_in
from relay.queue.store import Counts, State

PATIENCE_S = 5.0

Row = dict[str, Any]


class _Question(LineOnlyReceiver):
    """One question to one shard.  ``answered`` gets the rows; none when it went wrong."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20
    transport: ITCPTransport  # what it needs of one, a unix socket has too

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rows: list[Row] = []
        self.answered: Deferred[list[Row]] = Deferred(lambda _: self.transport.abortConnection())

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def lineReceived(self, line: bytes) -> None:
        answer = json.loads(line)
        if "row" in answer:
            self._rows.append(answer["row"])
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answered.called:
            self.answered.callback(self._rows)


class Neighbours:
    """The other shards of the spool that this one belongs to."""

    def __init__(self, reactor: Any, folder: Path) -> None:
        self._reactor = reactor
        self._root = root_of(folder)
        self._own = number_of(folder)

    def are_there(self) -> bool:
        """Whether there is any other."""
        return len(shards_in(self._root)) > 1

    def ask(self, do: str, **fields: object) -> Deferred[list[Row]]:
        """The rows of all of them; does not fail."""
        request = json.dumps({"do": do, **fields}).encode() + b"\n"
        others = [folder_of(self._root, shard) for shard in shards_in(self._root) if shard != self._own]
        return gatherResults([self._ask(folder, request) for folder in others]).addCallback(_all)

    def _ask(self, folder: Path, request: bytes) -> Deferred[list[Row]]:
        endpoint = UNIXClientEndpoint(self._reactor, socket_path(folder), timeout=PATIENCE_S)
        connected: Deferred[_Question] = connectProtocol(endpoint, _Question(request))
        rows: Deferred[list[Row]] = connected.addCallback(lambda question: question.answered)
        return rows.addTimeout(PATIENCE_S, self._reactor).addErrback(_nothing)

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


def _nothing(_: Failure) -> list[Row]:
    return []
