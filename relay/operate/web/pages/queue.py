"""The queue: found by what a message is, shown a page at a time in one of several orders, and changed.

The list is of messages, each with those of its recipients that fit the search; what is done is done to these.
By age the store has them in order, and a page is read where it begins, however long the queue.  For any other order the
messages are looked through, as far as ``LOOKED_THROUGH`` goes; the page says so when that was not all.
The rule that must not be broken: what cannot be taken back is asked about first, and nothing is done to the whole queue
by leaving something out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from math import inf
from typing import Any, ClassVar, cast
from urllib.parse import quote, urlencode

from relay.operate.web.meant import meant
from relay.operate.web.page import Call, Elsewhere, Page, Row, Shown, error, local_path
from relay.operate.web.words import count

SHOWN_ON_A_PAGE = 50
RECIPIENTS_SHOWN = 3
ROWS_READ = 5000
"""Of one page: a message to more recipients than that is shown as far as it was read."""
COUNTED = 5000
LOOKED_THROUGH = 10_000
"""Recipients, for an order that the store does not have: less than a second."""

SEARCHES = ("sender", "recipient", "domain", "destination", "state")
STATES = ("waiting", "held", "owing")


@dataclass(frozen=True, slots=True)
class Wish:
    """What can be done to messages.

    button    its name on a button
    done      what was done, after "3 recipients"
    is_final  it cannot be taken back
    """

    button: str
    done: str
    is_final: bool = False


WISHES: Mapping[str, Wish] = {
    "retry": Wish("Try now", "tried now"),
    "hold": Wish("Hold", "held: not tried, and not given up"),
    "release": Wish("Release", "released, and tried now"),
    "remove": Wish("Remove", "removed", is_final=True),
}


@dataclass(frozen=True, slots=True)
class Order:
    """How the messages are ordered.

    words         for a person: which come first
    newest_first  by age, as the store has it either way
    key           of any other order: the least comes first; of equals the oldest
    """

    words: str
    newest_first: bool = False
    key: Callable[[Listed], float] | None = None


@dataclass(slots=True)
class Listed:
    """A message of the list, and those of its recipients that fit.

    rows   the first of them
    total  how many there are
    """

    id: str
    rows: list[Row] = field(default_factory=list)
    total: int = 0
    states: set[str] = field(default_factory=set)
    next_at: float | None = None
    attempts: int = 0
    error: str = ""

    def add(self, row: Row) -> None:
        self.total += 1
        self.states.add(row["state"])
        self.attempts = max(self.attempts, row["attempts"])
        self.error = self.error or row["error"]
        if row["next_at"] is not None:
            self.next_at = min(self.next_at or row["next_at"], row["next_at"])
        if len(self.rows) < RECIPIENTS_SHOWN:
            self.rows.append(row)


ORDERS: Mapping[str, Order] = {
    "": Order("oldest first"),
    "newest": Order("newest first", newest_first=True),
    "next": Order("next attempt first", key=lambda one: one.next_at if one.next_at is not None else inf),
    "tried": Order("most attempts first", key=lambda one: -one.attempts),
    "size": Order("largest first", key=lambda one: -one.rows[0]["size"]),
}
"""By the name that a URL has for them."""


class Queue(Page):
    """The list, and what is done to what it shows."""

    name: ClassVar[str] = "queue"
    title: ClassVar[str] = "Queue"

    async def show(self, call: Call) -> Shown | Elsewhere:
        if call.asked("id"):
            return Elsewhere(f"/message/{quote(call.asked('id'), safe='')}")
        search = {name: call.asked(name) for name in SEARCHES if call.asked(name)}
        order = call.asked("order") if call.asked("order") in ORDERS else ""
        asked = {**search, **({"order": order} if order else {})}
        after, is_partial = call.asked("after"), False
        if ORDERS[order].key is None:
            messages, is_more = await self._page(search, after, ORDERS[order].newest_first)
            following = messages[-1].id if is_more else ""
        else:
            begin = int(after) if after.isdecimal() and len(after) < 6 else 0
            ordered, is_partial = await self._ordered(search, ORDERS[order])
            messages = ordered[begin : begin + SHOWN_ON_A_PAGE]
            following = str(begin + SHOWN_ON_A_PAGE) if len(ordered) > begin + SHOWN_ON_A_PAGE else ""
        return Shown(
            "queue.html",
            {
                "search": search,
                "states": STATES,
                "order": order,
                "orders": ORDERS,
                "by": {name: address_of({**search, "order": name}) for name in ORDERS},
                "messages": messages,
                "wishes": WISHES,
                "after": after,
                "first": address_of(asked),
                "following": address_of({**asked, "after": following}) if following else "",
                "recipients_shown": RECIPIENTS_SHOWN,
                "looked_through": LOOKED_THROUGH if is_partial else 0,
            },
        )

    async def _page(self, search: Row, after: str, newest_first: bool) -> tuple[Sequence[Listed], bool]:
        """A page of messages, and whether there are more behind it."""
        found: list[Listed] = []
        read = 0
        async with aclosing(await self._rows(search, after, newest_first)) as rows:
            async for row in rows:
                read += 1
                if not found or found[-1].id != row["id"]:
                    if len(found) == SHOWN_ON_A_PAGE or (found and read > ROWS_READ):
                        return found, True
                    found.append(Listed(row["id"]))
                found[-1].add(row)
        return found, False

    async def _ordered(self, search: Row, order: Order) -> tuple[Sequence[Listed], bool]:
        """The messages in an order that the store does not have, and whether some were not looked at."""
        found: dict[str, Listed] = {}
        read = 0
        async with aclosing(await self._rows(search)) as rows:
            async for row in rows:
                read += 1
                if read > LOOKED_THROUGH:
                    break
                found.setdefault(row["id"], Listed(row["id"])).add(row)
        return sorted(found.values(), key=cast(Any, order.key)), read > LOOKED_THROUGH

    async def _rows(self, search: Row, after: str = "", newest_first: bool = False) -> Any:
        fields = await meant(self.house.asks, search)
        rows: AsyncIterator[Row] = self.house.asks.stream(
            "queue.list", **fields, after=after or None, newest_first=newest_first or None
        )
        return cast(Any, rows)

    # -- changes -----------------------------------------------------------------------------

    async def change(self, call: Call) -> Shown | Elsewhere:
        do, ids = call.said("do"), call.all_said("id")
        wish = WISHES.get(do)
        if wish is None:
            return error(HTTPStatus.BAD_REQUEST, "Say what is to be done.")
        search = {name: call.said(name) for name in SEARCHES if call.said(name)}
        everything = call.said("scope") == "all"
        back = local_path(call.said("back") or "/queue")
        if not everything and not ids:
            return Elsewhere(back, "Nothing was done: no message was chosen.")
        chosen: Row = search if everything else {**search, "ids": ids}
        if call.said("agreed") != "yes" and (wish.is_final or everything):
            return await self._ask(do, wish, chosen, everything, back)
        if everything and not search:
            chosen = {"all": True}
        done = await self.house.asks.ask_one(f"queue.{do}", **await meant(self.house.asks, chosen))
        return Elsewhere(back, _told(int(done["changed"]), wish))

    async def _ask(self, do: str, wish: Wish, chosen: Row, everything: bool, back: str) -> Shown:
        """The page that asks whether it is really meant, and says of what."""
        recipients, messages = 0, set[str]()
        first: list[Row] = []
        ids = set(chosen.get("ids", ()))
        search = {name: chosen[name] for name in SEARCHES if name in chosen}
        async with aclosing(await self._rows(search)) as rows:
            async for row in rows:
                if ids and row["id"] not in ids:
                    continue
                recipients += 1
                messages.add(row["id"])
                if len(first) < 5:
                    first.append(row)
                if recipients >= COUNTED:
                    break
        lanes = (await meant(self.house.asks, chosen)).get("destinations", ())
        values = {
            "title": f"{wish.button}?",
            "do": do,
            "wish": wish,
            "search": search,
            "lanes": [lane for lane in lanes if lane != search["destination"]],
            "ids": sorted(ids),
            "everything": everything,
            "back": back,
            "messages": len(messages),
            "recipients": recipients,
            "or_more": recipients >= COUNTED,
            "first": first,
        }
        return Shown("confirm.html", values)


def address_of(asked: Row) -> str:
    """Where the list is that was asked for so."""
    said = urlencode({name: value for name, value in asked.items() if value})
    return f"/queue?{said}" if said else "/queue"


def _told(changed: int, wish: Wish) -> str:
    if not changed:
        return "Nothing was changed: nothing of that was in the queue any more, or it was so already."
    return f"{count(changed, 'recipient is', 'recipients are')} {wish.done}."
