"""Asking all shards of a relay from within it, by their control sockets and without waiting: for the page, the API,
metrics and health.

What is made of the answers is said in relay.operate.merging, as for the command line.  Our own shard is asked by its
socket like the others, so that all say the same.

The rules that must not be broken: an answer of a million rows is never in memory, since no more is read than is taken;
and a shard that does not answer keeps nobody waiting for longer than ``patience_s`` at a time.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from relay.operate.asking import ANSWER_LIMIT_S, CHANGE_LIMIT_S, CHANGES, CannotAsk, NotRunning, Refusal, socket_path
from relay.operate.merging import Manner, Row, Rule, bound_of, order_of, rule_of
from relay.operate.shards import folder_of, root_of, shards_in
from relay.operate.together import silence

CONNECT_LIMIT_S = 5.0
QUICK_S = 5.0
"""Less than Prometheus and the like wait for their own answer."""
ROWS_AHEAD = 200
ROW_LIMIT_OCTETS = 1 << 26
"""A message to 100,000 recipients is one row; it comes from ourselves."""

Wake = Callable[[], None]


class Conversation(LineOnlyReceiver):
    """One question to one shard, and its rows as far as they have come.

    ended  no more rows come; ``why`` is the reason, or None when the answer is whole
    woken  called when there is something new to look at
    """

    delimiter = b"\n"
    MAX_LENGTH = ROW_LIMIT_OCTETS
    transport: Any  # what it needs of one, no interface says together

    def __init__(self, shard: int, request: bytes) -> None:
        self.shard = shard
        self.rows: deque[Row] = deque()
        self.ended = False
        self.why: Exception | None = None
        self.woken: Wake | None = None
        self._request = request
        self._paused = False

    @classmethod
    def of(cls, do: str, fields: Mapping[str, object]) -> Callable[[int], Conversation]:
        """Makes conversations with one question."""
        given = {name: value for name, value in fields.items() if value is not None}
        return partial(cls, request=json.dumps({"do": do, **given}).encode() + b"\n")

    def begin(self) -> None:
        """Asks.  Once it is connected."""
        self.transport.write(self._request)

    def lineReceived(self, line: bytes) -> None:
        if self.ended:
            return
        answer = json.loads(line)
        if "row" in answer:
            self.rows.append(answer["row"])
            if len(self.rows) >= ROWS_AHEAD and not self._paused:
                self._paused = True
                self.transport.pauseProducing()
        else:
            self._end(Refusal(answer["error"], answer.get("kind", "fault")) if "error" in answer else None)
            self.transport.loseConnection()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended:
            self._end(CannotAsk("the relay ended before its answer was whole"))
            self._wake()

    def take(self) -> Row | None:
        """The next row, or None: there is none just now."""
        if self.rows:
            return self.rows.popleft()
        if self._paused and not self.ended:
            self._paused = False
            self.transport.resumeProducing()
        return None

    def give_up(self, why: Exception | None = None) -> None:
        """Ends it from our side."""
        if not self.ended:
            self._end(why)
            self.transport.abortConnection()

    def _end(self, why: Exception | None) -> None:
        self.ended, self.why = True, why

    def _wake(self) -> None:
        if self.woken is not None:
            self.woken()


class Inquirer:
    """Asks all shards of the spool that a folder belongs to."""

    def __init__(self, reactor: Any, folder: Path, patience_s: float = ANSWER_LIMIT_S) -> None:
        """patience_s  how long each piece of an answer may take"""
        self._reactor = reactor
        self._spool = root_of(folder)
        self._patience_s = patience_s

    async def ask(self, do: str, /, **fields: object) -> list[Row]:
        """The rows of the answer.  Raises Refusal, CannotAsk, NotRunning."""
        return [row async for row in self.stream(do, **fields)]

    async def ask_one(self, do: str, /, **fields: object) -> Row:
        """The first row of the answer."""
        async with aclosing(self.stream(do, **fields)) as rows:
            async for row in rows:
                return row
        raise CannotAsk("no row in place of one")

    async def ask_shard(self, shard: int, do: str, /, **fields: object) -> list[Row]:
        """The rows of the answer of one shard alone.  Raises Refusal, CannotAsk, NotRunning."""
        talk = await connected(self._reactor, self._spool, Conversation.of(do, fields)(shard))
        try:
            talk.begin()
            return [row async for row in self._rows([talk], self._patience_s)]
        finally:
            talk.give_up()

    async def stream(self, do: str, /, **fields: object) -> AsyncGenerator[Row, None]:
        """The rows of the answer, read as fast as they are taken.  Close it (``aclosing``) when it is not read to
        its end.  Raises Refusal, CannotAsk, NotRunning."""
        rule = rule_of(do, fields)
        talks: list[Conversation] = []
        try:
            silent = await self._connect(rule, Conversation.of(do, fields), talks)
            for talk in talks:
                talk.begin()
            async for row in self._made(rule, do, fields, talks, silent):
                yield row
        finally:
            for talk in talks:
                talk.give_up()

    async def _connect(self, rule: Rule, make: Callable[[int], Conversation], talks: list[Conversation]) -> list[int]:
        """Connects to those who are to be asked.  Gives the shards that nobody serves just now."""
        silent: list[int] = []
        for shard in shards_in(self._spool):
            try:
                talks.append(await connected(self._reactor, self._spool, make(shard)))
            except NotRunning:
                silent.append(shard)
            if rule.manner is Manner.OF_ANY and talks:
                break
        if not talks:
            raise NotRunning(str(self._spool))
        if silent and rule.manner is Manner.CHANGED:
            raise silence(folder_of(self._spool, silent[0]))
        return silent

    def _made(
        self, rule: Rule, do: str, fields: Mapping[str, object], talks: list[Conversation], silent: list[int]
    ) -> AsyncIterator[Row]:
        patience_s = CHANGE_LIMIT_S if do in CHANGES else self._patience_s
        if rule.is_quick:
            patience_s = min(patience_s, QUICK_S)
        match rule.manner:
            case Manner.AS_THEY_COME:
                return self._rows(talks, None)
            case Manner.IN_ORDER:
                rows = merged([self._rows([talk], patience_s) for talk in talks], rule)
                return _bounded(rows, bound_of(rule.limit, fields, rule.most), bound_of(rule.lines, fields))
            case Manner.OF_ONE:
                return self._of_one(talks, patience_s)
            case Manner.OF_ANY:
                return self._rows(talks, patience_s)
        return self._one_row(rule, talks, silent, patience_s)

    async def _rows(self, talks: Sequence[Conversation], patience_s: float | None) -> AsyncGenerator[Row, None]:
        """What these say, as it comes.  Raises what ended one of them too early."""
        while True:
            found = False
            for talk in talks:
                while (row := talk.take()) is not None:
                    found = True
                    yield row
                if talk.ended and talk.why is not None:
                    raise talk.why
            if all(talk.ended and not talk.rows for talk in talks):
                return
            if not found:
                await self._news(talks, patience_s)

    async def _news(self, talks: Sequence[Conversation], patience_s: float | None) -> None:
        """Returns when one of them has something new."""
        news: Deferred[None] = Deferred()

        def wake() -> None:
            if not news.called:
                news.callback(None)

        for talk in talks:
            talk.woken = wake
        if patience_s is not None:
            news.addTimeout(patience_s, self._reactor)
        try:
            await news
        except TimeoutError:
            raise CannotAsk(f"worker {talks[0].shard} has not answered for {patience_s:g} s") from None
        finally:
            for talk in talks:
                talk.woken = None

    async def _of_one(self, talks: Sequence[Conversation], patience_s: float) -> AsyncGenerator[Row, None]:
        refusal: Refusal | None = None
        for talk in talks:
            found = False
            try:
                async for row in self._rows([talk], patience_s):
                    found = True
                    yield row
            except Refusal as no:
                if found:
                    raise
                refusal = no if refusal is None or no.kind != "request" else refusal  # another shard may have it
            if found:
                return
        if refusal is not None:
            raise refusal

    async def _all_rows(self, talk: Conversation, patience_s: float) -> list[Row] | CannotAsk | Refusal:
        """Or why there are none: each of several may have a reason."""
        try:
            return [row async for row in self._rows([talk], patience_s)]
        except (CannotAsk, Refusal) as error:
            return error

    async def _one_row(
        self, rule: Rule, talks: Sequence[Conversation], silent: list[int], patience_s: float
    ) -> AsyncGenerator[Row, None]:
        asked = [Deferred.fromCoroutine(self._all_rows(talk, patience_s)) for talk in talks]
        answers: list[tuple[int, Row]] = []
        for talk, found in zip(talks, await gatherResults(asked), strict=True):
            if isinstance(found, list):
                answers += [(talk.shard, row) for row in found]
            elif isinstance(found, CannotAsk) and rule.combine is not None:
                silent.append(talk.shard)
            else:
                raise found
        if rule.combine is None:
            yield {"changed": sum(row["changed"] for _, row in answers)}
        elif answers:
            yield {**rule.combine(answers), "silent": sorted(silent)}
        else:
            raise CannotAsk(f"the relay has not answered for {patience_s:g} s")


class _Quiet(Factory):
    """Its beginning and end are no lines of the log: a page asks every few seconds."""

    noisy = False


async def connected(reactor: Any, spool: Path, talk: Conversation) -> Conversation:
    """Connects a conversation to its shard.  Raises NotRunning, CannotAsk."""
    try:
        endpoint = UNIXClientEndpoint(reactor, socket_path(folder_of(spool, talk.shard)), timeout=CONNECT_LIMIT_S)
        await endpoint.connect(_Quiet.forProtocol(lambda: talk))
    except (ConnectError, ConnectingCancelledError, OSError) as error:
        raise NotRunning(f"{folder_of(spool, talk.shard)}: {error}") from None
    except ValueError as error:
        raise CannotAsk(str(error)) from None
    return talk


async def merged(lists: Sequence[AsyncIterator[Row]], rule: Rule) -> AsyncGenerator[Row, None]:
    """Rows of several lists, each in the order of the rule, in that order; one row of each is looked at ahead."""
    order = order_of(rule)
    heads = [(await _next(rows), rows) for rows in lists]
    there: list[tuple[Row, AsyncIterator[Row]]] = [(row, rows) for row, rows in heads if row is not None]
    while there:
        choose = max if rule.newest_first else min
        at = choose(range(len(there)), key=lambda at: order(there[at][0]))
        first, rest = there[at]
        yield first
        following = await _next(rest)
        if following is None:
            del there[at]
        else:
            there[at] = (following, rest)


async def _bounded(rows: AsyncIterator[Row], limit: int | None, last: int | None) -> AsyncGenerator[Row, None]:
    if last is not None:
        for row in deque([row async for row in rows], last):
            yield row
        return
    left = limit
    while left is None or left > 0:
        found = await _next(rows)
        if found is None:
            return
        yield found
        left = left - 1 if left is not None else None


async def _next(rows: AsyncIterator[Row]) -> Row | None:
    async for row in rows:
        return row
    return None
