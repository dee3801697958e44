"""Templates, all of them read and compiled before anything is served: the user who works may not be allowed to read
where the program lives.

The rule that must not be broken: whatever is filled in is escaped, and made printable before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from relay.operate.web import words

_BETWEEN_PARTS = re.compile(r"(?<=[@:;=/])(?=.)|(?<=.)(?=\.)")
"""Before a dot, and behind other marks: none of these but the semicolon stands in what an escaped character has become,
and that ends it."""


class Templates:
    """See the module."""

    def __init__(self, assets: Mapping[str, str]) -> None:
        """assets  name -> where a browser gets it"""
        self._templates = _compiled(tuple(assets.items()))

    def render(self, name: str, values: Mapping[str, object]) -> bytes:
        """A page as octets."""
        return self._templates[name].render(values).encode("utf-8", "backslashreplace")


@lru_cache(maxsize=1)
def _compiled(assets: tuple[tuple[str, str], ...]) -> Mapping[str, Template]:
    """All templates by name.  Once for each process: it is a third of a second's work."""
    sources = {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in (files("relay.operate.web") / "templates").iterdir()
        if entry.name.endswith(".html")
    }
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_printable,
    )
    environment.filters.update(
        age=words.age,
        away=words.away,
        moment=words.moment,
        day=words.day,
        iso=words.iso,
        octets=words.size,
        number=words.number,
        lines=_lines,
        wrapped=_wrapped,
        part=lambda text: quote(str(text), safe="", errors="replace"),
    )
    environment.globals.update(assets=dict(assets), count=words.count, meaning_of=words.STATES)
    return {name: environment.get_template(name) for name in sources}


def _printable(value: object) -> object:
    """Every value on its way into a page."""
    return words.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _wrapped(text: object) -> Markup:
    """An address or a name that is broken, where it must be, between its parts."""
    return Markup(_BETWEEN_PARTS.sub("<wbr>", str(escape(words.printable(text)))))


def _lines(text: str) -> Markup:
    """A text of several lines, as one that may stay so."""
    return Markup(escape(words.lines(text)))
