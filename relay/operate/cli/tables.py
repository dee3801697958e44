"""Tables and rows as wide as the terminal: what does not fit side by side goes into lines of its own.

The rule that must not be broken: what is cut shows that it is.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

import click

from relay.message.reply import printable

CUT: Final = "..."
INDENT: Final = "    "
BEARABLE: Final = 18
"""A column is not made narrower than this, if it needs more: rather than that, nothing stands in columns."""
_BETWEEN: Final = 3
_SENDER: Final = 28
"""A sender gets no more, however wide the terminal is: who waits for the mail tells more."""
_ADDRESSES: Final = 36
"""With less room for both, sender and recipient do not stand beside the rest."""


def width() -> int:
    """Of the terminal, in characters."""
    return max(shutil.get_terminal_size().columns, 20)


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and ``...``, in so many characters."""
    return text if len(text) <= limit else text[: max(limit - len(CUT), 0)] + CUT


# -- small tables, which are known whole -----------------------------------------------------------


def show_table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A small table: drawn on a terminal, tab-separated for a program.

    right  columns of numbers
    """
    if not sys.stdout.isatty():
        for row in (heads, *rows):
            click.echo("\t".join(printable(cell) for cell in row))
        return
    shown = [[printable(cell) for cell in row] for row in rows]
    needed = [max(map(len, column)) for column in zip(heads, *shown, strict=True)]
    least = [min(one, BEARABLE) for one in needed]
    if sum(least) + _BETWEEN * len(heads) <= width():
        _draw(heads, shown, right, least)
    else:
        for row in shown:
            _show_in_lines(heads, row)


def _draw(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], least: Sequence[int]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(heads):
        justify = "right" if number in right else "left"
        table.add_column(head, justify=justify, overflow="fold", min_width=least[number])  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=width()).print(table)


def _show_in_lines(heads: Sequence[str], row: Sequence[str]) -> None:
    """The first cell, then each of the others with its head."""
    click.secho(row[0], bold=True)
    told = ", ".join(f"{head.lower()}: {cell}" for head, cell in zip(heads[1:], row[1:], strict=True) if cell)
    for line in textwrap.wrap(told, width(), initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False):
        click.echo(line)


# -- rows that are shown as they come --------------------------------------------------------------


class Rows:
    """Rows that begin with short cells, and end with a sender and a recipient."""

    def __init__(self, short: str, heads: Sequence[str]) -> None:
        """short  the format of the short cells
        heads  of all columns
        """
        self._short = short
        self._heads = heads
        self.width = width()
        free = self.width - len(short.format(*heads[:-2])) - 4
        self._side_by_side = free >= _ADDRESSES
        self._sender = min(_SENDER, free * 2 // 5)
        self._recipient = free - self._sender

    def head(self) -> str:
        """The heads of what stands in columns."""
        return self.lines(self._heads)[0]

    def lines(self, cells: Sequence[str]) -> list[str]:
        """One, or on a narrow terminal some: the recipient stands before the sender there."""
        *short, sender, recipient = map(printable, cells)
        begin = self._short.format(*short)
        if self._side_by_side:
            return [f"{begin}  {cut(sender, self._sender):<{self._sender}}  {cut(recipient, self._recipient)}"]
        together = f"{INDENT}{recipient} from {sender}"
        if len(together) <= self.width:
            return [begin.rstrip(), together]
        return [begin.rstrip(), *(cut(f"{INDENT}{one}", self.width) for one in (recipient, f"from {sender}"))]
