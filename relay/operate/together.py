"""The shards of one relay, asked as one, by plain sockets: for the command line.

Each shard has a control socket, whoever serves it: its own worker, or one that has adopted it.  What is made of their
answers is said in relay.operate.merging; relay.operate.inquirer does the same within the relay.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from relay.operate.asking import CannotAsk, Control, NotRunning, Refusal
from relay.operate.merging import Manner, Row, Rule, bound_of, order_of, rule_of
from relay.operate.shards import folder_of, number_of, shards_in


class Together:
    """Conversations with all shards.  Asked like relay.operate.asking.Control.  A context manager.

    silent  folders of shards whose process does not answer just now
    """

    def __init__(self, spool: Path) -> None:
        """Raises NotRunning when no shard answers, CannotAsk."""
        self.silent: list[Path] = []
        self._controls: list[tuple[int, Control]] = []
        try:
            for shard in shards_in(spool):
                try:
                    self._controls.append((shard, Control(folder_of(spool, shard))))
                except NotRunning:
                    self.silent.append(folder_of(spool, shard))
        except BaseException:
            self.close()
            raise
        if not self._controls:
            raise NotRunning(str(spool))

    def __enter__(self) -> Together:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for _, control in self._controls:
            control.close()

    def ask(self, do: str, /, **fields: object) -> Iterator[Row]:
        """The rows of the answer, as they come.  Raises Refusal, CannotAsk."""
        rule = rule_of(do, fields)
        match rule.manner:
            case Manner.IN_ORDER | Manner.OF_ONE:
                return of_shards(do, [control.ask(do, **fields) for _, control in self._controls], fields)
            case Manner.OF_ANY:
                return self._controls[0][1].ask(do, **fields)
            case Manner.AS_THEY_COME:
                raise CannotAsk(f"{do} cannot be followed from here")
        return iter([self._one_row(rule, do, fields)])

    def ask_one(self, do: str, /, **fields: object) -> Row:
        """The one row of the answer: that of the shard that has the message, or what is made of all."""
        found = next(iter(self.ask(do, **fields)), None)
        if found is None:
            raise CannotAsk("no row in place of one; are relay and this command of the same version?")
        return found

    def _one_row(self, rule: Rule, do: str, fields: Mapping[str, object]) -> Row:
        if rule.combine is not None:
            answers = [(shard, row) for shard, control in self._controls for row in control.ask(do, **fields)]
            if not answers:
                raise CannotAsk("no worker has an answer just now; try again soon")
            return {**rule.combine(answers), "silent": sorted(map(number_of, self.silent))}
        for folder in self.silent:
            raise silence(folder)
        return {"changed": sum(control.ask_one(do, **fields)["changed"] for _, control in self._controls)}


def of_shards(do: str, lists: Sequence[Iterator[Row]], fields: Mapping[str, object]) -> Iterator[Row]:
    """What is made of the answers of several shards to a question that is answered with rows."""
    rule = rule_of(do, fields)
    if rule.manner is Manner.OF_ONE:
        return _the_one_that_knows(lists)
    rows = heapq.merge(*lists, key=order_of(rule), reverse=rule.newest_first)
    last = bound_of(rule.lines, fields)
    return islice(rows if last is None else deque(rows, last), bound_of(rule.limit, fields, rule.most))


def _the_one_that_knows(answers: Iterable[Iterator[Row]]) -> Iterator[Row]:
    """The rows of the first answer that is no refusal.  Raises Refusal when all are."""
    refusal: Refusal | None = None
    for rows in answers:
        try:
            first = next(rows, None)
        except Refusal as no:  # another shard may have it
            refusal = no if refusal is None or no.kind != "request" else refusal
            continue
        if first is not None:
            yield first
            yield from rows
            return
    if refusal is not None:
        raise refusal


def silence(folder: Path) -> CannotAsk:
    """Why nothing was changed."""
    return CannotAsk(f"worker {number_of(folder)} does not answer just now; nothing was changed, try again soon")
