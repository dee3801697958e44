"""Finding the journey of a message, also of one that has left long ago."""

from __future__ import annotations

import re
from typing import ClassVar
from urllib.parse import urlencode

from relay.operate.asking import Refusal
from relay.operate.web.page import Call, Elsewhere, Page, Row, Shown, no_in_words

SHOWN_ON_A_PAGE = 50
WITHIN = (("", "at any time"), ("3600", "in the last hour"), ("86400", "in the last day"), ("259200", "in 3 days"))


class Trace(Page):
    """The search, and what it found, newest first."""

    name: ClassVar[str] = "trace"
    title: ClassVar[str] = "Trace"

    async def show(self, call: Call) -> Shown | Elsewhere:
        words, within, before = call.asked("for"), call.asked("within"), call.asked("before")
        found: list[Row] = []
        why = ""
        wanted = wanted_of(words)
        if "id" in wanted:
            return Elsewhere(f"/message/{wanted['id']}")
        since = self.house.clock.seconds() - float(within) if within.isdecimal() else None
        try:
            found = await self.house.asks.ask(
                "trace.find", **wanted, since=since, before=before or None, limit=SHOWN_ON_A_PAGE + 1
            )
        except Refusal as refusal:
            if refusal.kind != "request":
                raise
            why = no_in_words(refusal)
        following = ""
        if len(found) > SHOWN_ON_A_PAGE:
            del found[SHOWN_ON_A_PAGE:]
            following = "/trace?" + urlencode({"for": words, "within": within, "before": found[-1]["id"]})
        return Shown(
            "trace.html",
            {
                "words": words,
                "within": within,
                "choices": WITHIN,
                "found": found,
                "why": why,
                "following": following,
                "before": before,
            },
        )


def wanted_of(words: str) -> Row:
    """What somebody looks for, by its looks: an id of ours, a Message-ID in angle brackets, or an address or domain."""
    if re.fullmatch(r"[0-9a-hjkmnp-tv-zA-HJKMNP-TV-Z]{12}", words):
        return {"id": words}
    if words.startswith("<") and words != "<>":
        return {"message_id": words}
    return {"address": words} if words else {}
