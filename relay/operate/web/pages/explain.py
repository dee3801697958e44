"""What would happen to a message, and why; and why one is still here: the findings of relay.operate.explaining.

A question is a URL, so that it can be passed on and kept.  Asking next hops in truth is a form that is sent: nobody is
to be made to call strange hosts by a link.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar
from urllib.parse import urlencode

from relay.operate.asking import Refusal
from relay.operate.cli import finding_texts
from relay.operate.values import parse_size
from relay.operate.web.page import Call, Page, Row, Shown
from relay.operate.web.words import sentence

RECIPIENTS_LIMIT = 100

PARTS = {
    "in": "The way in",
    "out": "The way out",
    "probe": "Asked in truth",
    "queue": "In the queue",
}
ICONS = {"accepted": "good", "refused": "bad", "temporary": "warn", "told": "next"}
DECISIONS = {"accepted": "yes: ", "refused": "no: ", "temporary": "not now: ", "told": ""}

TEXTS = ("client", "login", "helo", "listener", "sender", "size", "certificate")
FLAGS = ("smtputf8", "tls")


@dataclass(frozen=True, slots=True)
class Told:
    """A finding as it is shown.

    lines  the texts of it, one at least
    rule   what decided, with its place
    """

    what: str
    decision: str
    lines: Sequence[str]
    rule: str
    reply: str
    remedy: str


class Explain(Page):
    """The form, and the answer below it."""

    name: ClassVar[str] = "explain"
    title: ClassVar[str] = "Explain"

    async def show(self, call: Call) -> Shown:
        return await self._explain({name: call.asked(name) for name in (*TEXTS, *FLAGS, "recipients", "id")}, False)

    async def change(self, call: Call) -> Shown:
        return await self._explain({name: call.said(name) for name in (*TEXTS, *FLAGS, "recipients", "id")}, True)

    async def _explain(self, said: dict[str, str], probe: bool) -> Shown:
        rows: list[Row] = []
        wrong = ""
        try:
            if said["id"]:
                rows = await self.house.asks.ask("explain.message", id=said["id"], probe=probe)
            elif said["recipients"]:
                rows = await self.house.asks.ask("explain", **question_of(said), probe=probe)
        except ValueError as fault:
            wrong = sentence(str(fault))
        except Refusal as refusal:
            if refusal.kind != "request":
                raise
            wrong = sentence(str(refusal))
        now = self.house.clock.seconds()
        verdict = next((row for row in rows if row["what"] == "verdict"), None)
        parts = groupby((row for row in rows if row["part"] in PARTS), key=lambda row: str(row["part"]))
        return Shown(
            "explain.html",
            {
                "said": said,
                "wrong": wrong,
                "listeners": [listen.endpoint for listen in self.house.config().listen],
                "verdict": told_of(verdict, now) if verdict is not None else None,
                "at": verdict["details"].get("at", "") if verdict is not None else "",
                "about": verdict["about"] if verdict is not None else "",
                "explained": [(PARTS[part], [told_of(row, now) for row in found]) for part, found in parts],
                "icons": ICONS,
                "decisions": DECISIONS,
                "probed": probe,
                "has_way": any(row["part"] == "out" for row in rows),
                "link": f"/explain?{urlencode({name: value for name, value in said.items() if value})}",
            },
        )


def question_of(said: dict[str, str]) -> dict[str, Any]:
    """What is asked, of what was filled in.  Raises ValueError for a size that is none, and for too many recipients."""
    recipients = [one.strip("<>") for one in re.split(r"[\s,;]+", said["recipients"]) if one.strip("<>")]
    if len(recipients) > RECIPIENTS_LIMIT:
        raise ValueError(f"these are {len(recipients)} recipients; ask about {RECIPIENTS_LIMIT} at most at once")
    asked: dict[str, Any] = {name: said[name] for name in TEXTS if said[name] and name != "size"}
    if said["size"]:
        asked["size"] = parse_size(said["size"])
    return {**asked, **{name: True for name in FLAGS if said[name]}, "recipients": recipients}


def told_of(row: Row, now: float) -> Told:
    """A finding in words."""
    is_long = row["what"] == "hello"  # what EHLO lists is told in words
    return Told(
        what=str(row["what"]),
        decision=str(row["decision"]),
        lines=finding_texts.of(row, now) if row["what"] != "verdict" else (),
        rule=finding_texts.rule_of(row),
        reply="" if is_long else str(row["reply"]),
        remedy=str(row["remedy"]),
    )
