"""Asking all shards from within: bounded, in order, and never held up by one that is silent."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from relay.operate import control
from relay.operate.asking import CannotAsk, NotRunning, Refusal, socket_path
from relay.operate.control import AT_ONCE, BadRequest, Command, Request, listen_for_control
from relay.operate.inquirer import ROWS_AHEAD, Inquirer, Row
from relay.operate.merging import RULES

T = TypeVar("T")


class Shards:
    """Control sockets with made-up answers, on a reactor of the test's own."""

    def __init__(self, spool: Path) -> None:
        self.reactor = EPollReactor()
        self.spool = spool
        self.ports: list[IListeningPort] = []

    def serve(self, shard: int, **answers: Command) -> None:
        folder = self.spool / "shards" / str(shard) if shard else self.spool
        folder.mkdir(parents=True, exist_ok=True)
        commands = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.ports.append(listen_for_control(self.reactor, folder, commands))

    def run(self, work: Callable[[Inquirer], Coroutine[Any, Any, T]], patience_s: float = 60) -> T:
        """Does this with an inquirer; gives its result, or raises what it raised."""
        results: list[T | Failure] = []

        def begin() -> None:
            done = Deferred.fromCoroutine(work(Inquirer(self.reactor, self.spool, patience_s)))
            done.addBoth(results.append).addBoth(lambda _: self.reactor.callLater(0, self.reactor.stop))

        self.reactor.callWhenRunning(begin)
        self.reactor.callLater(30, self.reactor.stop)
        self.reactor.run(installSignalHandlers=False)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        return result  # type: ignore[return-value]


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return Shards(tmp_path)


def rows(*given: Row) -> Command:
    async def answer(request: Request) -> Any:
        for row in given:
            yield row

    return answer


def refusing(why: str) -> Command:
    async def answer(request: Request) -> Any:
        raise BadRequest(why)
        yield {}

    return answer


async def hanging(request: Request) -> Any:
    yield {"row": await Deferred()}


def test_the_lists_of_all_come_in_order(shards: Shards) -> None:
    shards.serve(0, queue_list=rows({"id": "a"}, {"id": "d"}))
    shards.serve(1, queue_list=rows({"id": "b"}))
    shards.serve(2, queue_list=rows())
    found = shards.run(lambda inquirer: inquirer.ask("queue.list"))
    assert [row["id"] for row in found] == ["a", "b", "d"]


def test_the_newest_journeys_of_all_come_first_and_no_more_than_wanted(shards: Shards) -> None:
    shards.serve(0, trace_find=rows({"id": "9"}, {"id": "4"}))
    shards.serve(1, trace_find=rows({"id": "7"}, {"id": "5"}))
    found = shards.run(lambda inquirer: inquirer.ask("trace.find", limit=3))
    assert [row["id"] for row in found] == ["9", "7", "5"]


def test_the_last_lines_of_all_are_the_last_of_them_together(shards: Shards) -> None:
    shards.serve(0, log_tail=rows({"at": 1}, {"at": 4}))
    shards.serve(1, log_tail=rows({"at": 2}, {"at": 3}))
    found = shards.run(lambda inquirer: inquirer.ask("log.tail", lines=2))
    assert [row["at"] for row in found] == [3, 4]


def test_the_one_that_has_it_answers(shards: Shards) -> None:
    shards.serve(0, queue_show=refusing("there is no message x"))
    shards.serve(1, queue_show=rows({"id": "x"}))
    assert shards.run(lambda inquirer: inquirer.ask_one("queue.show", id="x")) == {"id": "x"}


def test_what_nobody_has_is_refused_in_their_words(shards: Shards) -> None:
    shards.serve(0, queue_show=refusing("there is no message x"))
    shards.serve(1, queue_show=refusing("there is no message x"))
    with pytest.raises(Refusal, match="there is no message x"):
        shards.run(lambda inquirer: inquirer.ask_one("queue.show", id="x"))


def test_a_change_reaches_all_or_nobody(shards: Shards) -> None:
    """A queue that is held by halves would surprise an operator."""
    asked: list[str] = []

    async def hold(request: Request) -> Any:
        asked.append("held")
        yield {"changed": 2}

    shards.serve(0, queue_hold=hold)
    (shards.spool / "shards" / "1").mkdir(parents=True)
    with pytest.raises(CannotAsk, match="worker 1 does not answer"):
        shards.run(lambda inquirer: inquirer.ask_one("queue.hold", all=True))
    assert asked == []


def test_a_change_that_all_refuse_is_refused_once(shards: Shards) -> None:
    events: list[dict[str, object]] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]  # any callable is an observer
    try:
        for shard in range(3):
            shards.serve(shard, queue_hold=refusing("say which"))
        with pytest.raises(Refusal, match="say which"):
            shards.run(lambda inquirer: inquirer.ask_one("queue.hold"))
        gc.collect()  # what nobody has heard of is told when it goes
    finally:
        globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]
    assert [event for event in events if event.get("log_failure")] == []


def test_changes_are_summed(shards: Shards) -> None:
    shards.serve(0, queue_hold=rows({"changed": 2}))
    shards.serve(1, queue_hold=rows({"changed": 3}))
    assert shards.run(lambda inquirer: inquirer.ask_one("queue.hold", all=True)) == {"changed": 5}


def test_who_is_silent_is_named_and_keeps_nobody_waiting(shards: Shards) -> None:
    minutes = {"every_s": 60, "from_at": 60.0, "now_at": 119.0, "steps": {"accepted": [1, 2]}}
    shards.serve(0, history=rows(minutes))
    shards.serve(1, history=hanging)
    (shards.spool / "shards" / "2").mkdir()
    found = shards.run(lambda inquirer: inquirer.ask_one("history"), patience_s=0.05)
    assert found == {**minutes, "silent": [1, 2]}


def test_several_who_are_silent_are_waited_for_together(shards: Shards) -> None:
    answered = {"complaints": []}
    shards.serve(0, health=rows(answered))
    for shard in range(1, 20):
        shards.serve(shard, health=hanging)
    found = shards.run(lambda inquirer: inquirer.ask_one("health"), patience_s=2)  # and not 38
    assert found == {**answered, "silent": list(range(1, 20))}


def test_minutes_that_were_asked_for_on_both_sides_of_a_minute_are_laid_side_by_side(shards: Shards) -> None:
    early = {"every_s": 60, "from_at": 60.0, "now_at": 179.9, "steps": {"accepted": [1, 2, 3]}}
    late = {"every_s": 60, "from_at": 120.0, "now_at": 180.1, "steps": {"accepted": [20, 30, 0], "failed": [0, 1, 0]}}
    shards.serve(0, history=rows(early))
    shards.serve(1, history=rows(late))
    found = shards.run(lambda inquirer: inquirer.ask_one("history"))
    assert (found["from_at"], found["now_at"]) == (120.0, 180.1)
    assert found["steps"] == {"accepted": [22, 33, 0], "failed": [0, 1, 0]}


def test_where_all_would_say_the_same_only_one_is_asked(shards: Shards) -> None:
    asked: list[int] = []

    def one(number: int) -> Command:
        async def answer(request: Request) -> Any:
            asked.append(number)
            yield {"source": "relay.yaml"}

        return answer

    shards.serve(0, config=one(0))
    shards.serve(1, config=one(1))
    assert shards.run(lambda inquirer: inquirer.ask("config")) == [{"source": "relay.yaml"}]
    assert asked == [0]


def test_no_relay_is_none(shards: Shards) -> None:
    with pytest.raises(NotRunning):
        shards.run(lambda inquirer: inquirer.ask("status"))


def test_a_question_that_nobody_knows_is_refused(shards: Shards) -> None:
    with pytest.raises(Refusal, match=r"nothing is known of queue\.fly"):
        shards.run(lambda inquirer: inquirer.ask("queue.fly"))


def test_no_more_is_made_than_is_taken(shards: Shards) -> None:
    """A million rows, of which somebody takes one at a time: neither end has more than a handful in memory."""
    made = [0, 0]

    def counting(number: int) -> Command:
        async def answer(request: Request) -> Any:
            for row in range(1_000_000):
                made[number] += 1
                yield {"id": f"{row:08}", "filling": "x" * 500}

        return answer

    shards.serve(0, queue_list=counting(0))
    shards.serve(1, queue_list=counting(1))

    async def take_some(inquirer: Inquirer) -> int:
        taken = 0
        async with aclosing(inquirer.stream("queue.list")) as found:
            async for _ in found:
                taken += 1
                if taken == 1:
                    await deferLater(shards.reactor, 0.5)  # who makes rows had all this time
                if taken == 4 * ROWS_AHEAD:
                    return taken
        return taken

    assert shards.run(take_some) == 4 * ROWS_AHEAD
    assert max(made) < 20 * ROWS_AHEAD


def test_who_follows_gets_each_line_when_it_comes(shards: Shards) -> None:
    more: Deferred[None] = Deferred()

    async def first(request: Request) -> Any:
        yield {"at": 1}
        yield AT_ONCE
        await more
        yield {"at": 2}
        yield AT_ONCE
        await Deferred()

    shards.serve(0, log_tail=first)
    shards.serve(1, log_tail=hanging)

    async def follow(inquirer: Inquirer) -> list[Row]:
        found: list[Row] = []
        async with aclosing(inquirer.stream("log.tail", follow=True)) as lines:
            async for line in lines:
                found.append(line)
                if len(found) == 2:
                    break
                more.callback(None)
        return found

    assert [row["at"] for row in shards.run(follow)] == [1, 2]


def test_an_answer_that_breaks_off_is_no_answer(shards: Shards) -> None:
    class Dying(Protocol):
        def dataReceived(self, data: bytes) -> None:
            assert json.loads(data) == {"do": "queue.list"}  # what is None is not asked
            self.transport.write(b'{"row":{"id":"a"}}\n')  # type: ignore[union-attr]
            self.transport.loseConnection()  # type: ignore[union-attr]

    shards.reactor.listenUNIX(socket_path(shards.spool), Factory.forProtocol(Dying))
    with pytest.raises(CannotAsk, match="before its answer was whole"):
        shards.run(lambda inquirer: inquirer.ask("queue.list", sender=None))


def test_every_question_has_a_rule() -> None:
    """What the control socket answers, the command line and the page can ask of several workers."""
    answers = Path(control.__file__).parent / "answers"
    tables = [source.read_text().partition("def by_name")[2].partition("def ")[0] for source in answers.glob("*.py")]
    names = {name for table in tables for name in re.findall(r'"([a-z.]+)": self\.', table)}
    assert {"queue.list", "status", "config", "log.tail"} <= names
    assert names <= set(RULES)
