"""An operator who asks and orders over the control sockets, in the midst of everything.

Each order goes to every shard, as the command line sends it.  When its answer has come, the shard's queue on disk is
held against it; when none comes, for the process died, the order may have been done, in part, or not at all.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from relay.operate.asking import socket_path
from relay.operate.shards import folder_of, shards_in
from relay.queue.store import EVERYTHING, Selection
from tests.simulate import queue
from tests.simulate.laws import KIND, SHY
from tests.simulate.ledger import Key, key_of, letter_of
from tests.simulate.queue import Queue, Row

if TYPE_CHECKING:
    from relay.testing.link import Transport
    from tests.simulate.world import World

ANSWERED_WITHIN_S = 900.0
NONSENSE = (b"hold everything\n", b'{"do": "queue.hold"}\n', b'{"do": "queue.explode"}\n', b'{"do": 7}\n', b"[]\n",
            b'{"do": "queue.list", "colour": "blue"}\n', b'{"do": "queue.show", "id": "nobody"}\n')  # fmt: skip


@dataclass
class Order:
    """One question or order to one shard.

    before  its queue as it was when the order was given
    rows    of the answer
    end     its last line, when that has come
    """

    do: str
    selection: Selection
    shard: int
    folder: Path
    before: Queue
    rows: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None

    def meant(self) -> Iterator[tuple[Key, Row]]:
        """The recipients of letters that the selection has."""
        for key, row in self.before.rows.items():
            if self._has(row):
                yield key, row

    def _has(self, row: Row) -> bool:
        chosen = self.selection
        return (
            (not chosen.ids or row.message_id in chosen.ids)
            and chosen.sender in (None, row.sender)
            and chosen.recipient in (None, row.recipient)
            and chosen.recipient_domain in (None, row.recipient.partition("@")[2])
            and (chosen.state is None or chosen.state.value == row.state)
        )

    def request(self) -> bytes:
        chosen = self.selection
        fields: dict[str, object] = {
            "do": self.do,
            "ids": list(chosen.ids),
            "sender": chosen.sender,
            "recipient": chosen.recipient,
            "domain": chosen.recipient_domain,
            "state": chosen.state.value if chosen.state else None,
        }
        if self.do in ("queue.show", "queue.content"):
            fields = {"do": self.do, "id": chosen.ids[0]}
        elif self.do in ("queue.flush", "status"):
            fields = {"do": self.do}
        elif self.do != "queue.list" and chosen == EVERYTHING:
            fields["all"] = True
        return json.dumps({name: value for name, value in fields.items() if value}).encode() + b"\n"


class Conversation:
    """A connection to a control socket: one request, and its answer."""

    def __init__(self, world: World, request: bytes, ended: Callable[[list[dict[str, Any]], Any], None]) -> None:
        self._world = world
        self._request = request
        self._ended = ended
        self._buffer = b""
        self._rows: list[dict[str, Any]] = []
        self._limit = world.clock.callLater(ANSWERED_WITHIN_S, self._too_late)

    def makeConnection(self, end: Transport) -> None:
        self._end = end
        end.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "row" in answer:
                self._rows.append(answer["row"])
                continue
            self._over(answer)
            self._end.loseConnection()

    def connectionLost(self, reason: object) -> None:
        self._over(None)

    def _too_late(self) -> None:
        self._world.violated(f"{self._request!r} has no answer for {ANSWERED_WITHIN_S:g} s")

    def _over(self, end: Any) -> None:
        if self._limit.active():
            self._limit.cancel()
            self._ended(self._rows, end)


class Operator:
    """See the module.  One order at a time."""

    def __init__(self, world: World, chance: Random) -> None:
        self._world = world
        self._chance = chance
        self._under_way = 0

    # -- what he does ---------------------------------------------------------------------------

    def act(self) -> None:
        """Something, by chance."""
        chance = self._chance
        do = chance.choice(
            (
                *("hold", "hold", "release", "retry", "remove", "list", "list", "show", "content", "flush", "status"),
                *("rest", "wake", ""),
            )
        )
        if do in ("rest", "wake"):
            self._wish(f"destination.{do}")
        elif do:
            self._order(f"queue.{do}" if do != "status" else do, self._some)
        else:
            self._talk_nonsense()

    def flush(self) -> None:
        """As ``relay queue flush``: everything is tried now."""
        self._order("queue.flush", lambda do, there: EVERYTHING)

    def release_all(self) -> None:
        """As ``relay queue release --all``, when there is anything to release."""
        if self._world.climate.orders:
            self._order("queue.release", lambda do, there: EVERYTHING)

    def _some(self, do: str, there: Queue) -> Selection | None:
        """Whom he means; None when there is nothing."""
        chance = self._chance
        if do in ("queue.flush", "status"):
            return EVERYTHING
        if not there.rows:
            return None
        key = chance.choice(sorted(there.rows))
        row = there.rows[key]
        ids = sorted({row.message_id, there.rows[chance.choice(sorted(there.rows))].message_id})
        if do in ("queue.show", "queue.content"):
            return Selection(ids=(row.message_id,))
        choices = [Selection(ids=tuple(ids)), Selection(ids=(row.message_id,)), Selection(recipient=row.recipient)]
        if do != "queue.remove":  # what is removed that way might be reports, of which nobody keeps books
            choices += [Selection(sender=row.sender), Selection(recipient_domain=row.recipient.partition("@")[2])]
        if do in ("queue.list", "queue.release", "queue.retry"):
            choices.append(EVERYTHING)
        return chance.choice(choices)

    def _order(self, do: str, choose: Callable[[str, Queue], Selection | None]) -> None:
        world = self._world
        if self._under_way or not world.all_up():
            return
        selection = choose(do, queue.read(world.disk.folder, set()))
        if selection is None:
            return
        world.note(f"the operator says {do} {selection}")
        for shard in shards_in(world.disk.folder):
            folder = folder_of(world.disk.folder, shard)
            order = Order(do, selection, shard, folder, queue.read_shard(folder, set()))
            self._begins(order)
            self._under_way += 1
            self._ask(folder, Conversation(world, order.request(), partial(self._ended, order)))

    def _wish(self, do: str) -> None:
        """A destination is to rest, or to rest no more; what comes of it is for the laws of destinations to see."""
        world = self._world
        if not world.all_up():
            return
        waiting = queue.read(world.disk.folder, set()).rows.values()
        lanes = sorted({row.lane for row in waiting if not row.lane.endswith((KIND, SHY))})
        if not lanes:
            return
        wish: dict[str, object] = {"do": do, "destination": self._chance.choice(lanes)}
        if do == "destination.rest":
            wish["seconds"] = self._chance.choice((60, 600, 3600))
        world.note(f"the operator says {wish}")

        def ended(rows: list[dict[str, Any]], end: Any) -> None:
            if end is not None and rows != [{"changed": 1}]:
                world.violated(f"{wish} was answered {rows} {end}")

        for shard in shards_in(world.disk.folder):
            folder = folder_of(world.disk.folder, shard)
            self._ask(folder, Conversation(world, json.dumps(wish).encode() + b"\n", ended))

    def _talk_nonsense(self) -> None:
        """Asked wrongly: that is said, and nothing is done."""
        world, said = self._world, self._chance.choice(NONSENSE)

        def ended(rows: list[dict[str, Any]], end: Any) -> None:
            if end is not None and (rows or end.get("kind") != "request"):
                world.violated(f"{said!r} was answered {rows} {end}")

        self._ask(world.disk.folder, Conversation(world, said, ended))

    def _ask(self, folder: Path, conversation: Conversation) -> None:
        if not self._world.network.ask(socket_path(folder), conversation):
            conversation.connectionLost(None)  # nobody is there

    # -- what has to come of it -----------------------------------------------------------------

    def _begins(self, order: Order) -> None:
        """From now on it may be done, even if no answer comes."""
        laws, ledger = self._world.laws, self._world.ledger
        meant = list(order.meant())
        if order.do in ("queue.flush", "queue.retry", "queue.release"):
            laws.retry_begins(key for key, row in meant if (row.state == "held") is (order.do == "queue.release"))
        for key, row in meant:
            fate = ledger.fate(key)
            if order.do == "queue.hold":
                fate.was_held = True
            elif order.do == "queue.remove":
                fate.may_be_removed = True
                fate.removal_asked_at = self._world.clock.now
            elif order.do == "queue.release" and row.state == "held":
                fate.is_held = False
                fate.released_at = self._world.clock.now

    def _ended(self, order: Order, rows: list[dict[str, Any]], end: Any) -> None:
        world = self._world
        self._under_way -= 1
        order.rows, order.end = rows, end
        is_done = end is not None and "error" not in end
        if order.do in ("queue.flush", "queue.retry", "queue.release"):
            world.laws.retry_ended(is_done)
        world.note(f"shard {order.shard} answers {order.do}: {end} {rows if len(rows) == 1 else len(rows)}")
        if end is None:
            return
        if not is_done:
            self._is_excused(order, end)
            return
        after = queue.read_shard(order.folder, set())
        check = getattr(self, "_after_" + order.do.rpartition(".")[2])
        for fault in check(order, after):
            world.violated(f"after {order.do} of {order.selection}: {fault}")

    def _is_excused(self, order: Order, end: dict[str, Any]) -> None:
        """Not done, and that was said: for trouble with the disk, or as the message has gone meanwhile."""
        world = self._world
        gone = order.do in ("queue.show", "queue.content") and end["kind"] == "request"
        troubled = end["kind"] == "unavailable" and (world.disk.failed or order.folder not in world.folders_open())
        if not (gone or troubled):
            world.violated(f"{order.request()!r} was answered {end}")

    def _after_hold(self, order: Order, after: Queue) -> Iterator[str]:
        for key, row in order.meant():
            now = after.rows.get(key)
            if row.state == "waiting" and now is not None and now.state == "waiting":
                yield f"m{key[0]}r{key[1]} waits on"
            if now is not None and now.state == "held":
                self._world.ledger.fate(key).is_held = True
        yield from _changed(order)

    def _after_release(self, order: Order, after: Queue) -> Iterator[str]:
        for key, row in order.meant():
            # What failed for good and has no sender to be told of it, the relay holds, and may hold again at once.
            holds_again = self._world.ledger.letters[key[0]].sender is None
            if row.state == "held" and not holds_again and key in after.rows and after.rows[key].state == "held":
                yield f"m{key[0]}r{key[1]} still is held"
        yield from _changed(order)

    def _after_remove(self, order: Order, after: Queue) -> Iterator[str]:
        for key, _ in order.meant():
            self._world.ledger.fate(key).is_removed = True
            if key in after.rows:
                yield f"m{key[0]}r{key[1]} still is there"
        yield from _changed(order)

    def _after_retry(self, order: Order, after: Queue) -> Iterator[str]:
        yield from _changed(order)

    def _after_flush(self, order: Order, after: Queue) -> Iterator[str]:
        yield from _changed(order)

    def _after_list(self, order: Order, after: Queue) -> Iterator[str]:
        """Whoever was there all the time is listed, once."""
        keys = [key for row in order.rows if (key := key_of(row["recipient"])) is not None]
        if len(set(keys)) < len(keys):
            yield "somebody is listed twice"
        for key, _ in order.meant():
            if key in after.rows and key not in keys:
                yield f"m{key[0]}r{key[1]} is not listed"
        for key in keys:
            if key not in order.before.rows and key not in after.rows and not self._world.ledger.fate(key).shard >= 0:
                yield f"m{key[0]}r{key[1]} is listed, and was not there"

    def _after_show(self, order: Order, after: Queue) -> Iterator[str]:
        row = order.rows[0]
        if len(order.rows) != 1 or row["id"] != order.selection.ids[0]:
            yield f"{order.rows} was shown"
        there = {row.recipient for row in after.rows.values() if row.message_id == order.selection.ids[0]}
        missed = there - {one["recipient"] for one in row["recipients"]}
        if missed:
            yield f"{sorted(missed)} are not shown"

    def _after_content(self, order: Order, after: Queue) -> Iterator[str]:
        number = letter_of(str(order.rows[0]["sender"])) if order.rows else None
        letter = self._world.ledger.letters.get(number) if number is not None else None
        content = b"".join(base64.b64decode(row["data"]) for row in order.rows[1:])
        if letter is not None and letter.is_plain and not content.endswith(letter.content):
            yield "that is not its content"

    def _after_status(self, order: Order, after: Queue) -> Iterator[str]:
        (row,) = order.rows
        if min(row["queue"]["recipients"].values()) < 0 or row["queue"]["messages"] < 0:
            yield f"there cannot be {row['queue']}"


def _changed(order: Order) -> Iterator[str]:
    """How many were changed is told."""
    if len(order.rows) != 1 or order.rows[0].get("changed", -1) < 0:
        yield f"it was answered {order.rows}"
