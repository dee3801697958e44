"""Pages in the language of man(7): what a text needs so that it comes out as it went in.

The rule that must not be broken: no text is taken for a macro.  A line that begins with a dot or an apostrophe gets a
character of no width in front, and every backslash is doubled.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

_LONG_WORD = re.compile(r"\S{48,}")
_MAY_BREAK = "\u200b"

_STYLED = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|(?<![\w*])\*([^*\s][^*]*)\*|\[([^]]+)\]\(([^)]+)\)")


def escaped(text: str) -> str:
    """Plain text, of any number of lines.  A word too long for a line may be broken in it."""
    text = _LONG_WORD.sub(lambda word: _MAY_BREAK.join(textwrap.wrap(word[0], 16)), text)
    text = text.replace("\\", r"\e").replace("^", r"\(ha").replace("~", r"\(ti").replace("`", r"\(ga")
    return _no_macros(text.replace(_MAY_BREAK, r"\:"))


def _no_macros(text: str) -> str:
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.MULTILINE)


def literal(text: str) -> str:
    """What somebody types: a minus stays a minus."""
    return escaped(text).replace("-", r"\-")


def bold(text: str) -> str:
    return rf"\fB{literal(text)}\fR"


def italic(text: str) -> str:
    return rf"\fI{literal(text)}\fR"


def prose(text: str) -> str:
    """Text with `code`, **strong**, *emphasis* and [links](where), as Markdown has them."""
    pieces: list[str] = []
    at = 0
    for found in _STYLED.finditer(text):
        pieces.append(escaped(text[at : found.start()]))
        code, strong, emphasis, name, where = found.groups()
        if code is not None or strong is not None:
            pieces.append(bold(code or strong))
        elif emphasis is not None:
            pieces.append(italic(emphasis))
        else:
            pieces.append(f"{escaped(name)} ({literal(where)})")
        at = found.end()
    pieces.append(escaped(text[at:]))
    return filled("".join(pieces))


def filled(text: str) -> str:
    """Text in roff, in lines of a length that an editor likes."""
    lines = textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False)
    return _no_macros("\n".join(lines))


def quoted(text: str) -> str:
    """An argument of a macro."""
    return '"' + escaped(text).replace('"', r"\(dq") + '"'


def page(pieces: Iterable[str]) -> str:
    """A page of these macros and texts.  A paragraph that follows a heading needs no beginning of its own."""
    return re.sub(r"^(\.S[HS] .*\n)\.PP\n", r"\1", "\n".join(pieces) + "\n", flags=re.MULTILINE)


def head(name: str, section: int, version: str) -> str:
    """The beginning of a page.  It has no date: what it says is as old as its version."""
    return f".TH {quoted(name)} {section} {quoted('')} {quoted(f'relay {version}')} {quoted('relay')}"


def heading(text: str) -> str:
    return f".SH {quoted(text.upper())}"


def subheading(text: str) -> str:
    return f".SS {quoted(text)}"


def tagged(tag: str, body: str) -> str:
    """A paragraph that hangs on its tag; both are in roff already."""
    return f".TP\n{tag}\n{body}" if body else f".TP\n{tag}\n\\&"


def example(lines: Iterable[str]) -> str:
    """Lines as they are."""
    kept = "\n".join(literal(line) or r"\&" for line in lines)
    return f".PP\n.RS 4\n.nf\n{kept}\n.fi\n.RE"


def markdown(text: str) -> Iterator[str]:
    """Paragraphs, headings, fenced blocks and lists of our own pages, one macro or text after the other."""
    for block in _blocks(text):
        first = block[0]
        if first.startswith("```"):
            yield example(block[1:-1])
        elif first.startswith("## "):
            yield heading(first[3:])
        elif first.startswith("# "):
            continue  # the page has a title
        elif first.startswith("- "):
            for item in re.split(r"^- ", "\n".join(block), flags=re.MULTILINE)[1:]:
                yield f".IP \\(bu 2\n{prose(item)}"
        else:
            yield f".PP\n{prose(chr(10).join(block))}"


def _blocks(text: str) -> Iterator[list[str]]:
    """Parts of a page that blank lines part, but for those in fenced blocks."""
    block: list[str] = []
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        if line or fenced:
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block
