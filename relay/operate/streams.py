"""Standard input, output and error, when whoever started us has closed them, or they take nothing any more.

The rule that must not be broken: no file of ours ever gets the number of a standard stream, or what is printed would
be written into it.
"""

from __future__ import annotations

import os
import sys
from typing import Final

_NAMES: Final = ("stdin", "stdout", "stderr")


def fill_in() -> None:
    """Puts something in the place of each stream that was closed before we began; to be called before anything is
    opened.  Standard input is at its end, standard error takes everything, and writing to standard output fails, as it
    would when the disk is full: what was to be read is not lost without a word."""
    for number, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", encoding="utf-8"))


def drop_output() -> None:
    """Nobody takes our output any more: what is still buffered must not raise again when Python ends."""
    fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, sys.stdout.fileno())
    os.close(fd)


def why_not(error: OSError) -> str:
    """``No space left on device``, with the file that it is about, if it is about one."""
    why = error.strerror or str(error)
    return f"{error.filename}: {why}" if error.filename is not None else why
